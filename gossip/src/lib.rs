//! The state that the nodes of a Weft cluster share, and how they keep it in step.

mod codec;
pub mod ipam;
pub mod limits;
mod time;

pub use crate::codec::DecodeError;
pub use crate::time::Time;
