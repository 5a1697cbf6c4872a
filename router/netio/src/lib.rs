//! The system calls of Weft's packet path: TAP devices, UDP sockets and batches, namespaces, wake-ups.
//!
//! The only crate of the workspace with `unsafe` code. It holds no policy: what to send where is decided
//! by its callers. It never logs and never retries; every failure is returned.
//!
//! Reading order: [`tap::Tap`], [`udp::bind_group`], [`udp::enable_offload`], [`batch`], [`wait::Waker`], [`netns::Netns`],
//! [`priority::set_realtime`], [`processors::Processors`].

pub mod batch;
pub mod netns;
pub mod priority;
pub mod processors;
pub mod steer;
pub mod tap;
pub mod udp;
pub mod wait;
