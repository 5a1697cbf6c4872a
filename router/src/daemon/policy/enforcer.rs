//! The thread that has the kernel enforce what it is told, and that looks whether it still does.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc as events, oneshot};
use tracing::{error, warn};
use weft_api::attach::{Attachment, EXPOSED};
use weft_api::enforcement::{DroppedPacket, PolicyStatus};
use weft_cni_shim::wire::host_ifname;

use super::drops::{self, Log};
use super::kernel::{Kernel, nothing};
use super::{PolicyEvent, PolicyState, count, watch};

/// How often it is looked whether the rules stand, and what failed is tried again.
const LOOK: Duration = Duration::from_millis(500);
/// For how many looks a warning about what was mended stays.
const REMEMBERED: u32 = 120;

/// How policies are enforced.
#[derive(Debug, Clone)]
pub(in crate::daemon) struct Options {
    /// The bridge that Pods are plugged into.
    pub(in crate::daemon) bridge: String,
    /// Whether connections that a change forbids are cut.
    pub(in crate::daemon) cut: bool,
}

/// The way to the thread. It ends when this goes, and leaves the rules as they are.
#[derive(Debug)]
pub(in crate::daemon) struct Enforcer {
    orders: mpsc::Sender<Order>,
    thread: Option<JoinHandle<()>>,
    log: Arc<Mutex<Log>>,
}

#[derive(Debug)]
enum Order {
    Enforce(u64, Arc<PolicyState>),
    Count(Vec<PolicyStatus>, oneshot::Sender<Vec<PolicyStatus>>),
    Check(Vec<Attachment>, oneshot::Sender<Vec<Attachment>>),
    Remove,
}

impl Enforcer {
    /// Starts the thread. Each order is answered on `events`, or a later one in its place.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(in crate::daemon) fn start(
        options: Options,
        events: events::Sender<PolicyEvent>,
    ) -> std::io::Result<Self> {
        let log = Arc::default();
        let named = Arc::new(ArcSwap::new(nothing()));
        let logging = match drops::start(named.clone(), Arc::clone(&log)) {
            Ok(()) => true,
            Err(error) => {
                warn!(%error, "dropped packets are counted, not logged: the kernel has no NFLOG");
                false
            }
        };
        let (orders, queue) = mpsc::channel();
        let kernel = Kernel::new(options.bridge, options.cut, logging);
        let worker = Worker {
            kernel,
            events,
            named,
            wanted: None,
            failed: false,
            generation: None,
            mended: None,
            told: None,
        };
        let thread = std::thread::Builder::new()
            .name("weft-policy".to_owned())
            .spawn(move || worker.run(&queue))?;
        Ok(Self { orders, thread: Some(thread), log })
    }

    /// Asks for this to be enforced.
    pub(in crate::daemon) fn set(&self, token: u64, state: Arc<PolicyState>) {
        if self.orders.send(Order::Enforce(token, state)).is_err() {
            error!("the thread that enforces policies is gone");
        }
    }

    /// Fills in what was counted for these policies and answers them.
    pub(in crate::daemon) fn count(
        &self,
        rows: Vec<PolicyStatus>,
        reply: oneshot::Sender<Vec<PolicyStatus>>,
    ) {
        if self.orders.send(Order::Count(rows, reply)).is_err() {
            error!("the thread that enforces policies is gone");
        }
    }

    /// Looks whether the rules of these Pods stand in the kernel, says so in each
    /// ([`Attachment::unprotected`]), and answers them. What is missing is put back then.
    pub(in crate::daemon) fn check(
        &self,
        rows: Vec<Attachment>,
        reply: oneshot::Sender<Vec<Attachment>>,
    ) {
        if self.orders.send(Order::Check(rows, reply)).is_err() {
            error!("the thread that enforces policies is gone");
        }
    }

    /// The dropped packets after one, the oldest first.
    pub(in crate::daemon) fn drops(&self, after: u64) -> Vec<DroppedPacket> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).after(after)
    }

    /// Ends the thread. `remove` says whether the rules go too: there is no Pod left.
    pub(in crate::daemon) fn stop(mut self, remove: bool) {
        if remove {
            // A thread that is gone removes nothing; it has said why it went.
            let _ = self.orders.send(Order::Remove);
        }
        drop(self.orders);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            error!("the thread that enforces policies has panicked");
        }
    }
}

/// What the thread knows.
struct Worker {
    kernel: Kernel,
    events: events::Sender<PolicyEvent>,
    /// Names the Pods in the log of drops.
    named: Arc<ArcSwap<PolicyState>>,
    /// The newest order.
    wanted: Option<(u64, Arc<PolicyState>)>,
    /// Whether it could not be carried out yet.
    failed: bool,
    /// The number of nftables' transactions when ours was the last that mattered.
    generation: Option<u32>,
    /// What was mended last, and for how long it is still told.
    mended: Option<(String, u32)>,
    /// The warning that was told last.
    told: Option<String>,
}

impl Worker {
    fn run(mut self, queue: &mpsc::Receiver<Order>) {
        loop {
            match queue.recv_timeout(LOOK) {
                Ok(first) => {
                    let rest: Vec<_> = std::iter::from_fn(|| queue.try_recv().ok()).collect();
                    let mut changed = false;
                    let mut checks = Vec::new();
                    for order in std::iter::once(first).chain(rest) {
                        match order {
                            // Each is the whole truth: the last one is enough.
                            Order::Enforce(token, state) => {
                                self.named.store(state.clone());
                                self.wanted = Some((token, state));
                                changed = true;
                            }
                            Order::Count(rows, reply) => self.count(rows, reply),
                            Order::Check(rows, reply) => checks.push((rows, reply)),
                            Order::Remove => {
                                if let Err(error) = self.kernel.remove() {
                                    error!(%error, "cannot remove the tables of policies");
                                }
                                return;
                            }
                        }
                    }
                    if changed {
                        // What others did since the last look would not be seen after ours.
                        match self.wrong() {
                            Some(wrong) => self.mend(&wrong),
                            None => self.enforce(),
                        }
                    }
                    for (rows, reply) in checks {
                        self.check(rows, reply);
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.look(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Carries out the newest order.
    fn enforce(&mut self) {
        let Some((token, state)) = self.wanted.clone() else { return };
        let before = self.kernel.generation();
        let result = self.kernel.apply(&state).map_err(|error| error.to_string());
        self.failed = result.is_err();
        // More than one transaction: another may have come between, which the next look is to find.
        let own = |after: &u32| before.is_some_and(|before| after.wrapping_sub(before) <= 1);
        self.generation = self.kernel.generation().filter(own);
        self.tell(PolicyEvent::Done { token, result });
    }

    /// Looks whether the rules stand, and mends what does not.
    fn look(&mut self) {
        if let Some(wrong) = self.wrong() {
            self.mend(&wrong);
        } else if self.failed {
            self.enforce();
        }
        let warning = match &mut self.mended {
            Some((text, left)) if *left > 0 => {
                *left -= 1;
                Some(text.clone())
            }
            _ => None,
        };
        if warning != self.told {
            self.told = warning.clone();
            self.tell(PolicyEvent::Watched(warning));
        }
    }

    /// Makes the tables anew, because of what somebody did to them.
    fn mend(&mut self, wrong: &str) {
        warn!("{wrong}; mended");
        self.mended = Some((format!("{wrong}: put back"), REMEMBERED));
        self.kernel.doubt();
        self.enforce();
    }

    /// Looks at the rules of Pods, one by one.
    fn check(&mut self, mut rows: Vec<Attachment>, reply: oneshot::Sender<Vec<Attachment>>) {
        for row in rows.iter_mut().filter(|row| row.container != EXPOSED && row.fenced.is_none()) {
            let port = host_ifname(&row.container, &row.ifname);
            row.unprotected = self.kernel.lacking(&port).unwrap_or_else(|error| {
                Some(format!("cannot look whether the rules stand: {error}"))
            });
        }
        let wrong = rows.iter().find_map(|row| row.unprotected.clone());
        // A caller that has gone away needs no answer.
        let _ = reply.send(rows);
        if let Some(wrong) = wrong.filter(|_| !self.failed) {
            self.mend(&wrong);
        }
    }

    /// What somebody else has done to the rules.
    fn wrong(&mut self) -> Option<String> {
        self.kernel.standing()?;
        if let Ok(off) = watch::bridge_settings()
            && let [first, ..] = off[..]
        {
            return Some(format!("somebody turned {first} off, packets passed by the policies"));
        }
        let generation = self.kernel.generation();
        if generation.is_some() && generation == self.generation {
            return None;
        }
        match self.kernel.difference() {
            Ok(None) => {
                self.generation = generation;
                None
            }
            Ok(wrong) => wrong,
            Err(error) => {
                warn!(%error, "cannot look whether the policies stand");
                None
            }
        }
    }

    fn count(&self, mut rows: Vec<PolicyStatus>, reply: oneshot::Sender<Vec<PolicyStatus>>) {
        let counts = match self.kernel.standing().map(|given| count::counts(&given.ruleset)) {
            Some(Ok(counts)) => counts,
            Some(Err(error)) => {
                warn!(%error, "cannot read what the policies have counted");
                count::Counts::new()
            }
            None => count::Counts::new(),
        };
        for row in &mut rows {
            let counted = counts.get(&format!("{}/{}", row.namespace, row.name));
            (row.allowed_packets, row.denied_packets) = counted.copied().unwrap_or_default();
        }
        // A caller that has gone away needs no answer.
        let _ = reply.send(rows);
    }

    fn tell(&self, event: PolicyEvent) {
        // The event loop is gone only when the daemon stops.
        let _ = self.events.blocking_send(event);
    }
}
