//! Plugging a Pod's network namespace into the bridge, by rtnetlink alone.
//!
//! One attachment is one veth pair: the Pod's end stands in the Pod's namespace from its first
//! instant, under its final name and MAC address; the other end is a port of the bridge, in the
//! namespace of the caller. Everything else (addresses, routes, the port's flags, the entry in the
//! bridge's table) hangs off the pair and goes with it, so undoing a half-made attachment is
//! deleting one interface.
//!
//! The port never learns and never has unknown unicast flooded to it: its only address is the
//! Pod's MAC, entered by hand. Frames for unknown addresses thus reach the router's TAP alone.
//!
//! The calls need a tokio runtime with I/O and CAP_NET_ADMIN in both namespaces. The caller's
//! namespace never changes: a short-lived thread of its own enters the Pod's.

mod attach;
mod check;
mod detach;
mod error;
mod namespace;
mod netlink;
mod plan;
mod undo;

pub use attach::{Place, Wired, attach, mac_of};
pub use check::check;
pub use detach::detach;
pub use error::WireError;
pub use plan::{
    MAX_IFNAME, MIN_MTU, Mac, Plan, Route, RouteSettings, default_destination, host_ifname,
    validate_ifname,
};
