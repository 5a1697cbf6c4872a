//! The versions of the specification that the plugin speaks.

use serde_json::Value;

use super::error::{CniError, Code};

/// A version of the specification. The order is the order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 0.3.1: results with interfaces.
    V0_3_1,
    /// 0.4.0: CHECK.
    V0_4_0,
    /// 1.0.0: addresses without their family's number.
    V1_0_0,
    /// 1.1.0: STATUS, GC, the MTU of interfaces.
    V1_1_0,
}

impl Version {
    /// All versions, oldest first.
    pub const ALL: [Self; 4] = [Self::V0_3_1, Self::V0_4_0, Self::V1_0_0, Self::V1_1_0];
    /// The newest.
    pub const NEWEST: Self = Self::V1_1_0;

    /// As the specification writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// All versions, for people.
    pub fn list() -> String {
        Self::ALL.map(Self::as_str).join(", ")
    }

    /// Reads a version.
    ///
    /// # Errors
    /// [`Code::VERSION`] for a version that the plugin does not speak.
    pub fn parse(text: &str) -> Result<Self, CniError> {
        Self::ALL.into_iter().find(|version| version.as_str() == text).ok_or_else(|| {
            CniError::new(Code::VERSION, format!("CNI version \"{text}\" is not supported"))
                .details(format!("supported versions: {}", Self::list()))
        })
    }
}

/// The version that a configuration asks for, if it can be read that far.
pub(super) fn peek(input: &[u8]) -> Option<Version> {
    let config: Value = serde_json::from_slice(input).ok()?;
    Version::parse(config.get("cniVersion")?.as_str()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_others_named() {
        for version in Version::ALL {
            assert_eq!(Version::parse(version.as_str()).unwrap(), version);
        }
        let error = Version::parse("0.2.0").unwrap_err();
        assert_eq!(error.code, Code::VERSION);
        assert_eq!(error.msg, "CNI version \"0.2.0\" is not supported");
        assert_eq!(error.details, "supported versions: 0.3.1, 0.4.0, 1.0.0, 1.1.0");
    }

    #[test]
    fn the_version_is_read_from_an_otherwise_wrong_configuration() {
        assert_eq!(peek(br#"{"cniVersion": "0.4.0", "name": 7}"#), Some(Version::V0_4_0));
        assert_eq!(peek(br#"{"cniVersion": "9.0.0"}"#), None);
        assert_eq!(peek(br#"["cniVersion"]"#), None);
        assert_eq!(peek(b"{"), None);
    }
}
