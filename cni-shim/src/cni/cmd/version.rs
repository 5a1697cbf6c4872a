//! VERSION: which versions the plugin speaks.

use serde_json::{Value, json};

use crate::cni::config::decode;
use crate::cni::error::CniError;
use crate::cni::version::Version;

/// The answer. It repeats the version of the question, which may be one that is not spoken: that is
/// what the question is for. An empty input is a question too.
///
/// # Errors
/// [`crate::cni::error::Code::DECODE`] for an input that is neither empty nor a JSON object.
pub fn answer(input: &[u8]) -> Result<Value, CniError> {
    let asked = if input.trim_ascii().is_empty() {
        None
    } else {
        decode(input)?.get("cniVersion").and_then(Value::as_str).map(str::to_owned)
    };
    Ok(json!({
        "cniVersion": asked.as_deref().unwrap_or(Version::NEWEST.as_str()),
        "supportedVersions": Version::ALL.map(Version::as_str),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_needs_no_configuration() {
        let all = json!(["0.3.1", "0.4.0", "1.0.0", "1.1.0"]);
        for input in ["", "\n", "{}"] {
            let answer = answer(input.as_bytes()).unwrap();
            assert_eq!(answer, json!({"cniVersion": "1.1.0", "supportedVersions": all}));
        }
        assert_eq!(answer(br#"{"cniVersion":"0.2.0"}"#).unwrap()["cniVersion"], "0.2.0");
        assert!(answer(b"VERSION").is_err());
    }
}
