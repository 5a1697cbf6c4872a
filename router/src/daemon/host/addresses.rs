//! The host's own addresses, on the bridge, and what lets it forward for Pods.

use std::fs;
use std::path::Path;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use tracing::info;

use super::{Bridge, HostError, LISTING, TAP_NAME};

/// Gives the bridge exactly `wanted` of the addresses within `ranges`. Others of its addresses are
/// left alone.
pub(super) async fn set(
    bridge: &Bridge,
    ranges: &[IpNet],
    wanted: &[IpNet],
) -> Result<(), HostError> {
    let (handle, name) = (bridge.handle(), bridge.name());
    let get = handle.address().get().set_link_index_filter(bridge.index());
    let alone = LISTING.lock().await;
    let present: Result<Vec<AddressMessage>, _> = get.execute().try_collect().await;
    drop(alone);
    let present = present.map_err(HostError::during(format!("read the addresses of {name}")))?;
    let mut kept = Vec::new();
    for message in present {
        let Some(address) = address(&message) else { continue };
        if !ranges.iter().any(|range| range.contains(&address.addr())) {
            continue;
        }
        if wanted.contains(&address) {
            kept.push(address);
            continue;
        }
        let action = format!("take {address} from {name}");
        handle.address().del(message).execute().await.map_err(HostError::during(action))?;
    }
    for address in wanted.iter().filter(|address| !kept.contains(address)) {
        let mut request =
            handle.address().add(bridge.index(), address.addr(), address.prefix_len());
        if address.addr().is_ipv6() {
            // The allocator hands out each address once; detection would only delay its use.
            request.message_mut().header.flags = AddressHeaderFlags::Nodad;
        }
        let action = format!("give {address} to {name}");
        request.execute().await.map_err(HostError::during(action))?;
    }
    Ok(())
}

fn address(message: &AddressMessage) -> Option<IpNet> {
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    })?;
    IpNet::new(address, message.header.prefix_len).ok()
}

/// Lets the host forward packets of the families of `addresses`, and says so where it did not
/// before. It is never switched off again: others may rely on it.
pub(super) fn forward(addresses: &[IpNet], bridge: &str) -> Result<(), HostError> {
    if addresses.iter().any(|address| address.addr().is_ipv4()) {
        switch_on(Path::new("/proc/sys/net/ipv4/ip_forward"))?;
    }
    if addresses.iter().any(|address| address.addr().is_ipv6()) {
        keep_router_advertisements(bridge)?;
        switch_on(Path::new("/proc/sys/net/ipv6/conf/all/forwarding"))?;
    }
    Ok(())
}

fn switch_on(path: &Path) -> Result<(), HostError> {
    if read(path)? == "0" {
        write(path, "1")?;
        info!(sysctl = %path.display(), "switched on: this host forwards for its Pods now");
    }
    Ok(())
}

/// An interface that forwards ignores router advertisements unless told otherwise (`accept_ra` 2):
/// a host that has its own default route from one would lose it.
fn keep_router_advertisements(bridge: &str) -> Result<(), HostError> {
    let all = Path::new("/proc/sys/net/ipv6/conf");
    if read(&all.join("all/forwarding"))? != "0" {
        return Ok(());
    }
    let entries = fs::read_dir(all).map_err(|source| sysctl(all, source))?;
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let ours = name == bridge || name == TAP_NAME || name.to_string_lossy().starts_with("wv");
        if ours || name == "all" || name == "default" || name == "lo" {
            continue;
        }
        let path = entry.path().join("accept_ra");
        // An interface may go while this looks at it.
        if read(&path).is_ok_and(|value| value == "1") && write(&path, "2").is_ok() {
            info!(sysctl = %path.display(), "set to 2, so that forwarding does not end it");
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, HostError> {
    let text = fs::read_to_string(path).map_err(|source| sysctl(path, source))?;
    Ok(text.trim().to_owned())
}

fn write(path: &Path, value: &str) -> Result<(), HostError> {
    fs::write(path, value).map_err(|source| sysctl(path, source))
}

fn sysctl(path: &Path, source: std::io::Error) -> HostError {
    HostError::Sysctl { path: path.to_path_buf(), source }
}
