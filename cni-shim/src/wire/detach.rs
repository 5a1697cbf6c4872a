//! Removing the attachment.

use nix::errno::Errno;

use super::netlink::{Netlink, errno, refused};
use super::{WireError, host_ifname};

/// Removes the veth pair of the attachment (container, ifname), and with it everything in the Pod
/// and on the bridge that belonged to it. Needs no namespace: the host's end is found by its
/// derived name, so it works when the Pod's namespace is gone, and it never touches an interface of
/// that name that something else has made in the Pod. That there is nothing is no error.
///
/// # Errors
/// [`WireError::Kernel`] if the kernel refuses; repeating the call is safe.
pub async fn detach(container: &str, ifname: &str) -> Result<(), WireError> {
    remove(&Netlink::open()?, &host_ifname(container, ifname)).await
}

pub(super) async fn remove(host: &Netlink, name: &str) -> Result<(), WireError> {
    let Some(link) = host.link(name).await? else { return Ok(()) };
    match host.handle.link().del(link.index).execute().await {
        // It went by itself, with the Pod's namespace.
        Err(error) if errno(&error) == Some(Errno::ENODEV) => Ok(()),
        outcome => outcome.map_err(|error| refused(format!("remove interface \"{name}\""), error)),
    }
}
