//! The task that makes the host look as the engine says: its own addresses, forwarding,
//! masquerading.

use std::sync::Arc;

use ipnet::IpNet;
use tokio::sync::{Mutex, mpsc};
use tracing::{error, info};

use super::{Bridge, HostError, addresses, masquerade};
use crate::daemon::engine::HostState;
use crate::daemon::policy::Channel;

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
    /// Locked while an order is carried out.
    table: Arc<Mutex<Table>>,
}

/// The table that masquerades.
#[derive(Debug, Default)]
struct Table {
    /// What it holds; `None` while there is none.
    standing: Option<HostState>,
    channel: Channel,
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
        let table = Arc::new(Mutex::new(Table::default()));
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
        if self.table.lock().await.standing.take().is_some()
            && let Err(e) = off_the_runtime(masquerade::remove).await.flatten()
        {
            error!(error = %e, "cannot remove the table {}", masquerade::TABLE);
        }
    }
}

async fn carry_out(
    bridge: &Bridge,
    ranges: &[IpNet],
    state: HostState,
    table: &mut Table,
) -> Result<(), HostError> {
    addresses::set(bridge, ranges, &state.addresses).await?;
    addresses::forward(&state.addresses, bridge.name())?;
    if state.masquerade && table.standing.as_ref() != Some(&state) {
        let (name, ranges) = (bridge.name().to_owned(), ranges.to_vec());
        let Table { standing, mut channel } = std::mem::take(table);
        let made_anew = standing.is_none();
        let (outcome, channel) = off_the_runtime(move || {
            let exempt = &state.exempt;
            let changed = standing
                .is_some_and(|old| masquerade::change(&mut channel, &old.exempt, exempt).is_ok());
            let outcome =
                if changed { Ok(()) } else { masquerade::set(&name, &ranges, &state.exempt) };
            (outcome.map(|()| state), channel)
        })
        .await?;
        table.channel = channel;
        table.standing = Some(outcome?);
        if made_anew {
            info!(table = masquerade::TABLE, "what leaves the mesh is masqueraded");
        }
    } else if !state.masquerade && table.standing.is_some() {
        off_the_runtime(masquerade::remove).await??;
        table.standing = None;
    }
    Ok(())
}

/// Runs what waits for the kernel or a process where it keeps nothing else waiting.
async fn off_the_runtime<T: Send + 'static>(
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, HostError> {
    let outcome = tokio::task::spawn_blocking(job).await;
    outcome.map_err(|_| HostError::Nft { why: "its thread died".to_owned() })
}
