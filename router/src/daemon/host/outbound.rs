//! The task that makes the host look as the engine says: its own addresses, forwarding,
//! masquerading.

use std::sync::Arc;

use ipnet::IpNet;
use tokio::sync::{Mutex, mpsc};
use tracing::{error, info};

use super::{Bridge, HostError, addresses, masquerade};
use crate::daemon::engine::HostState;

/// An order that was carried out, and all before it.
#[derive(Debug)]
pub(in crate::daemon) struct HostDone {
    /// The order's token.
    pub(in crate::daemon) token: u64,
    /// Why it could not be, for people.
    pub(in crate::daemon) result: Result<(), String>,
}

/// The way to the task.
#[derive(Debug)]
pub(in crate::daemon) struct Outbound {
    orders: mpsc::UnboundedSender<(u64, HostState)>,
    /// What the table holds; `None` while there is none. Locked while an order is carried out.
    table: Arc<Mutex<Option<HostState>>>,
}

impl Outbound {
    /// Starts the task, on the present runtime. Each order is answered on `done`, or a later one in
    /// its place.
    pub(in crate::daemon) fn start(
        bridge: Bridge,
        ranges: Vec<IpNet>,
        done: mpsc::Sender<HostDone>,
    ) -> Self {
        let (orders, mut queue) = mpsc::unbounded_channel();
        let table = Arc::new(Mutex::new(None));
        let shared = table.clone();
        tokio::spawn(async move {
            while let Some(order) = queue.recv().await {
                // Each is the whole truth: the last one is enough.
                let (token, state) =
                    std::iter::from_fn(|| queue.try_recv().ok()).last().unwrap_or(order);
                let mut table = shared.lock().await;
                let result = carry_out(&bridge, &ranges, state, &mut table).await;
                drop(table);
                let result = result.map_err(|error| error.to_string());
                if done.send(HostDone { token, result }).await.is_err() {
                    return;
                }
            }
        });
        Self { orders, table }
    }

    /// Asks for the host to look so.
    pub(in crate::daemon) fn set(&self, token: u64, state: HostState) {
        if self.orders.send((token, state)).is_err() {
            error!("the task that sets up the host is gone");
        }
    }

    /// Removes what would be left when the bridge is gone.
    pub(in crate::daemon) async fn remove_table(&self) {
        if self.table.lock().await.take().is_some()
            && let Err(e) = off_the_runtime(masquerade::remove).await
        {
            error!(error = %e, "cannot remove the table {}", masquerade::TABLE);
        }
    }
}

async fn carry_out(
    bridge: &Bridge,
    ranges: &[IpNet],
    state: HostState,
    table: &mut Option<HostState>,
) -> Result<(), HostError> {
    addresses::set(bridge, ranges, &state.addresses).await?;
    addresses::forward(&state.addresses, bridge.name())?;
    if state.masquerade && table.as_ref() != Some(&state) {
        let (name, ranges, exempt) =
            (bridge.name().to_owned(), ranges.to_vec(), state.exempt.clone());
        off_the_runtime(move || masquerade::set(&name, &ranges, &exempt)).await?;
        if table.is_none() {
            info!(table = masquerade::TABLE, "what leaves the mesh is masqueraded");
        }
        *table = Some(state);
    } else if !state.masquerade && table.is_some() {
        off_the_runtime(masquerade::remove).await?;
        *table = None;
    }
    Ok(())
}

/// Runs what waits for a process where it keeps nothing else waiting.
async fn off_the_runtime(
    job: impl FnOnce() -> Result<(), HostError> + Send + 'static,
) -> Result<(), HostError> {
    tokio::task::spawn_blocking(job)
        .await
        .unwrap_or_else(|_| Err(HostError::Nft { why: "its thread died".to_owned() }))
}
