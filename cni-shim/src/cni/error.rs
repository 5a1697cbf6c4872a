//! Errors as a runtime reads them: section 5, "Error".

use serde_json::{Value, json};
use weft_api::error::ErrorCode;

use super::version::Version;
use crate::client::ClientError;
use crate::wire::WireError;

/// A code of the specification, or one of Weft's own from 100 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(pub u32);

impl Code {
    /// The version asked for is not spoken, or has no such verb.
    pub const VERSION: Self = Self(1);
    /// A field of the configuration that the plugin cannot honour.
    pub const FIELD: Self = Self(2);
    /// The container is unknown: nothing needs to be cleaned up.
    pub const UNKNOWN_CONTAINER: Self = Self(3);
    /// A variable of the environment is missing or wrong.
    pub const ENVIRONMENT: Self = Self(4);
    /// The kernel or the system failed.
    pub const IO: Self = Self(5);
    /// The configuration is not JSON.
    pub const DECODE: Self = Self(6);
    /// The configuration is wrong.
    pub const CONFIG: Self = Self(7);
    /// The same call may succeed later.
    pub const TRY_AGAIN: Self = Self(11);
    /// STATUS: an ADD would fail.
    pub const UNAVAILABLE: Self = Self(50);
    /// STATUS: an ADD would fail, and Pods that stand may not reach all others.
    pub const IMPAIRED: Self = Self(51);
    /// Own: the daemon refused the request or failed; the message is its own.
    pub const DAEMON: Self = Self(100);
    /// Own: the interface exists already.
    pub const EXISTS: Self = Self(101);
    /// Own: CHECK found something missing or different.
    pub const CHECK: Self = Self(102);
}

/// An error as the plugin prints it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{msg}")]
pub struct CniError {
    /// The code.
    pub code: Code,
    /// One line.
    pub msg: String,
    /// More, or empty.
    pub details: String,
}

impl CniError {
    /// An error without details.
    pub fn new(code: Code, msg: impl Into<String>) -> Self {
        Self { code, msg: msg.into(), details: String::new() }
    }

    /// Adds details to those there are.
    #[must_use]
    pub fn details(mut self, details: impl AsRef<str>) -> Self {
        if !self.details.is_empty() {
            self.details.push_str("; ");
        }
        self.details.push_str(details.as_ref());
        self
    }

    /// The document to print.
    pub fn to_json(&self, version: Version) -> Value {
        let mut document =
            json!({"cniVersion": version.as_str(), "code": self.code.0, "msg": self.msg});
        if !self.details.is_empty() {
            document["details"] = Value::from(self.details.as_str());
        }
        document
    }
}

impl From<WireError> for CniError {
    fn from(error: WireError) -> Self {
        let code = match &error {
            WireError::Namespace { .. } | WireError::OwnNamespace { .. } => {
                return Self::new(Code::ENVIRONMENT, format!("invalid CNI_NETNS: {error}"));
            }
            WireError::InterfaceExists { .. } | WireError::HostInterfaceExists { .. } => {
                Code::EXISTS
            }
            WireError::NoBridge { .. } => Code::TRY_AGAIN,
            WireError::Missing(_) => Code::CHECK,
            WireError::Invalid(_) => Code::CONFIG,
            WireError::Kernel { .. } | WireError::NotUndone { .. } => Code::IO,
        };
        Self::new(code, error.to_string())
    }
}

impl From<ClientError> for CniError {
    fn from(error: ClientError) -> Self {
        let code = match &error {
            ClientError::Unreachable { .. }
            | ClientError::Interrupted(_)
            | ClientError::Timeout(_) => Code::TRY_AGAIN,
            ClientError::Protocol(_) => Code::DAEMON,
            ClientError::Api(body) => match body.code {
                ErrorCode::NotReady => Code::TRY_AGAIN,
                ErrorCode::Invalid => Code::CONFIG,
                ErrorCode::NotFound | ErrorCode::Conflict | ErrorCode::Internal => Code::DAEMON,
            },
        };
        Self::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_api::error::ErrorBody;

    #[test]
    fn the_document_has_the_shape_of_the_specification() {
        let error = CniError::new(Code::ENVIRONMENT, "CNI_IFNAME is missing");
        assert_eq!(
            error.to_json(Version::V1_0_0),
            json!({"cniVersion": "1.0.0", "code": 4, "msg": "CNI_IFNAME is missing"})
        );
        let error = error.details("one").details("two");
        assert_eq!(error.to_json(Version::V0_3_1)["details"], "one; two");
    }

    #[test]
    fn what_the_daemon_says_decides_the_code() {
        let code =
            |code| CniError::from(ClientError::Api(ErrorBody { code, message: "why".into() })).code;
        assert_eq!(code(ErrorCode::NotReady), Code::TRY_AGAIN);
        assert_eq!(code(ErrorCode::Invalid), Code::CONFIG);
        assert_eq!(code(ErrorCode::Conflict), Code::DAEMON);
    }
}
