//! What a call that failed answers, with a 4xx or 5xx status.

use serde::{Deserialize, Serialize};

/// The kind of a failure, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request itself is wrong; repeating it will not help. HTTP 400.
    Invalid,
    /// What the request names does not exist. HTTP 404.
    NotFound,
    /// The request clashes with what exists, an address that is taken say. HTTP 409.
    Conflict,
    /// The daemon cannot do it yet; the same request may succeed later. HTTP 503.
    NotReady,
    /// The daemon failed; its log says more. HTTP 500.
    #[serde(other)]
    Internal,
}

impl ErrorCode {
    /// The HTTP status that goes with the code.
    pub fn http_status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::NotReady => 503,
            Self::Internal => 500,
        }
    }
}

/// The body of a failed call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The kind of failure.
    pub code: ErrorCode,
    /// One line for the operator: the culprit and the cure.
    pub message: String,
}
