//! The bridge that Pods are plugged into, and the TAP that is its way to the mesh.

use netlink_packet_route::link::{
    InfoBridge, InfoBridgePort, InfoKind, LinkAttribute, LinkInfo, LinkMessage,
};
use rtnetlink::{Handle, LinkBridge, LinkBridgePort, LinkUnspec};
use tracing::{info, warn};
use weft_dataplane::Mac;

use super::{HostError, controller_of, link, links, mac_of, name_of};

/// The name of the TAP.
pub(in crate::daemon) const TAP_NAME: &str = "weft-tap";

/// The bridge of this node.
///
/// - It has a MAC of its own, so that it does not take a Pod's when ports come and go.
/// - Snooping is off: the kernel floods multicast to all ports, the TAP among them.
/// - It outlives the daemon while Pods are plugged into it: their traffic on this host goes on.
#[derive(Debug, Clone)]
pub(in crate::daemon) struct Bridge {
    handle: Handle,
    name: String,
    index: u32,
    mac: Mac,
}

impl Bridge {
    /// Makes the bridge, or takes over the one that an earlier daemon left.
    pub(in crate::daemon) async fn ensure(
        handle: Handle,
        name: &str,
        mac: [u8; 6],
        mtu: u32,
    ) -> Result<Self, HostError> {
        match link(&handle, name).await? {
            Some(found) if !is_bridge(&found) => {
                return Err(HostError::NotABridge { name: name.to_owned() });
            }
            Some(_) => info!(bridge = name, "taking over the bridge that stands"),
            None => {
                let message = LinkBridge::new(name)
                    .append_info_data(InfoBridge::MulticastSnooping(false))
                    .address(mac.to_vec())
                    .build();
                handle
                    .link()
                    .add(message)
                    .execute()
                    .await
                    .map_err(HostError::during(format!("make bridge {name}")))?;
            }
        }
        let found = link(&handle, name).await?;
        let found = found.ok_or_else(|| HostError::Gone { name: name.to_owned() })?;
        let index = found.header.index;
        // One that stands may have another than an earlier daemon would have given it.
        let mac = Mac::new(mac_of(&found).unwrap_or(mac));
        let message = LinkUnspec::new_with_index(index).mtu(mtu).up().build();
        handle
            .link()
            .set(message)
            .execute()
            .await
            .map_err(HostError::during(format!("bring up bridge {name}")))?;
        Ok(Self { handle, name: name.to_owned(), index, mac })
    }

    /// Its MAC address.
    pub(in crate::daemon) fn mac(&self) -> Mac {
        self.mac
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn index(&self) -> u32 {
        self.index
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Makes the TAP a port: it learns no addresses (they are derived, not learnt), and it alone
    /// gets unicast for MACs that no Pod here has.
    pub(in crate::daemon) async fn plug_tap(&self, tap: u32, mtu: u32) -> Result<(), HostError> {
        let action = format!("plug {TAP_NAME} into bridge {}", self.name);
        let message = LinkUnspec::new_with_index(tap).mtu(mtu).controller(self.index).up().build();
        self.handle
            .link()
            .set(message)
            .execute()
            .await
            .map_err(HostError::during(action.clone()))?;
        let port = LinkBridgePort::new(tap)
            .append_info_data(InfoBridgePort::Learning(false))
            .append_info_data(InfoBridgePort::UnicastFlood(true))
            .build();
        self.handle.link().set_port(port).execute().await.map_err(HostError::during(action))
    }

    /// Plugs the host's ends of Pods back in where they are not: an earlier bridge was removed.
    pub(in crate::daemon) async fn replug(&self, ports: &[String]) -> Result<(), HostError> {
        for found in links(&self.handle).await? {
            let Some(name) = name_of(&found) else { continue };
            if !ports.iter().any(|port| port == name) || controller_of(&found) == Some(self.index) {
                continue;
            }
            warn!(port = name, bridge = self.name, "plugging a Pod back into the bridge");
            let message =
                LinkUnspec::new_with_index(found.header.index).controller(self.index).up().build();
            self.handle
                .link()
                .set(message)
                .execute()
                .await
                .map_err(HostError::during(format!("plug {name} into bridge {}", self.name)))?;
        }
        Ok(())
    }

    /// Removes the bridge if nothing but the TAP is plugged into it. Says whether it did.
    pub(in crate::daemon) async fn remove_if_unused(&self) -> Result<bool, HostError> {
        let in_use = links(&self.handle).await?.iter().any(|found| {
            controller_of(found) == Some(self.index) && name_of(found) != Some(TAP_NAME)
        });
        if in_use {
            return Ok(false);
        }
        self.handle
            .link()
            .del(self.index)
            .execute()
            .await
            .map_err(HostError::during(format!("remove bridge {}", self.name)))?;
        Ok(true)
    }
}

fn is_bridge(link: &LinkMessage) -> bool {
    link.attributes.iter().any(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => {
            infos.iter().any(|info| matches!(info, LinkInfo::Kind(InfoKind::Bridge)))
        }
        _ => false,
    })
}
