//! Cutting Pods off from the bridge.

use std::time::Duration;

use futures_util::TryStreamExt;
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage};
use rtnetlink::LinkUnspec;
use rtnetlink::packet_route::AddressFamily;
use tokio::sync::mpsc;
use tracing::{error, info};
use weft_cni_shim::wire::Mac;

use super::{Bridge, HostError, LISTING, TAP_NAME, controller_of, links, name_of};
use crate::daemon::engine::CutPort;

/// How long after an order that could not be carried out it is tried again, until it can.
const AGAIN: Duration = Duration::from_secs(1);

/// An order that was carried out, and all before it; or a try that failed, after which others follow.
#[derive(Debug)]
pub(in crate::daemon) struct CutDone {
    /// The order's token.
    pub(in crate::daemon) token: u64,
    /// Why it could not be, for people.
    pub(in crate::daemon) result: Result<(), String>,
}

/// The way to the task that cuts ports off.
#[derive(Debug)]
pub(in crate::daemon) struct Scissors {
    orders: mpsc::UnboundedSender<(u64, Vec<CutPort>)>,
}

impl Scissors {
    /// Starts the task, on the present runtime. Each order is answered on `done`, or a later one in
    /// its place.
    pub(in crate::daemon) fn start(bridge: Bridge, done: mpsc::Sender<CutDone>) -> Self {
        let (orders, mut queue) = mpsc::unbounded_channel::<(u64, Vec<CutPort>)>();
        tokio::spawn(async move {
            while let Some(order) = queue.recv().await {
                // Each names all that is to be cut off: the last one is enough.
                let (mut token, mut ports) = order;
                loop {
                    if let Some(later) = std::iter::from_fn(|| queue.try_recv().ok()).last() {
                        (token, ports) = later;
                    }
                    let result = bridge.cut_off(&ports).await.map_err(|error| error.to_string());
                    let failed = result.is_err();
                    if done.send(CutDone { token, result }).await.is_err() {
                        return;
                    }
                    if !failed {
                        break;
                    }
                    tokio::time::sleep(AGAIN).await;
                }
            }
        });
        Self { orders }
    }

    /// Asks for ports to be cut off.
    pub(in crate::daemon) fn cut(&self, token: u64, ports: Vec<CutPort>) {
        if self.orders.send((token, ports)).is_err() {
            error!("the task that cuts Pods off is gone");
        }
    }
}

impl Bridge {
    /// Takes down and unplugs the host's ends of Pods. Our own are known by their names; those of other
    /// plugins are the ports behind which the bridge has seen the Pod's MAC address. What is gone
    /// already is as good as cut off.
    ///
    /// # Errors
    /// The first thing that the kernel refused; the rest was tried all the same.
    async fn cut_off(&self, ports: &[CutPort]) -> Result<(), HostError> {
        // Without the table at least our own ports are found.
        let (entries, mut first_error) = match self.entries().await {
            Ok(entries) => (entries, Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        for found in links(self.handle()).await? {
            let (index, name) = (found.header.index, name_of(&found).unwrap_or_default());
            let plugged = controller_of(&found) == Some(self.index());
            let to_cut = name != TAP_NAME
                && ports.iter().any(|port| {
                    port.ifname == name || (plugged && has_entry(&entries, index, &port.mac))
                });
            if !to_cut {
                continue;
            }
            info!(port = name, "cutting a Pod off");
            let message = LinkUnspec::new_with_index(index).nocontroller().down().build();
            let result = self.handle().link().set(message).execute().await;
            if let Err(error) = result.map_err(HostError::during(format!("cut off {name}")))
                && first_error.is_ok()
            {
                first_error = Err(error);
            }
        }
        first_error
    }

    /// The bridges' tables: which MAC address is behind which port.
    async fn entries(&self) -> Result<Vec<NeighbourMessage>, HostError> {
        let _alone = LISTING.lock().await;
        let get = self.handle().neighbours().get().set_address_family(AddressFamily::Bridge);
        get.execute().try_collect().await.map_err(HostError::during("read the bridge's table"))
    }
}

/// Whether a MAC address is behind the port of that index.
fn has_entry(entries: &[NeighbourMessage], index: u32, mac: &str) -> bool {
    let Ok(mac) = mac.parse::<Mac>() else { return false };
    let is_mac = |attribute: &NeighbourAttribute| matches!(attribute, NeighbourAttribute::LinkLayerAddress(found) if *found == mac.0);
    entries.iter().any(|entry| entry.header.ifindex == index && entry.attributes.iter().any(is_mac))
}
