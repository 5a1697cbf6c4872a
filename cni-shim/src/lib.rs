//! The container side of Weft: the client of the daemon's socket, the wiring of Pods, and the CNI
//! plugins `weft-net` and `weft-ipam`.
//!
//! Nothing here runs for longer than one call, and nothing here decides: addresses come from the
//! daemon over its socket, and this crate only plugs a Pod's namespace into the bridge accordingly.
//! The command line uses the same client and the same wiring, so that `weft attach` and a runtime's
//! ADD make the same interface.
//!
//! Reading order: [`client`] (HTTP and JSON over the socket), [`wire`] (rtnetlink in two
//! namespaces, undone on failure), [`cni`] (the plugins on top of both).

pub mod client;
pub mod cni;
#[doc(hidden)]
pub mod fault;
pub mod wire;
