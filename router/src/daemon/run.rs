//! The event loop: the one task that owns the state. It feeds the engine and carries out what the
//! engine asks for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info};
use weft_api::error::{ErrorBody, ErrorCode};
use weft_api::reset::ResetReply;
use weft_crypto::PeerName;
use weft_dataplane::{DataEvent, Dataplane, Tables};
use weft_gossip::{Time, Written};

use super::api::{Call, Command, ControlSocket};
use super::clock::Clock;
use super::engine::{CallId, Engine, Fault, LinkInfo, Output, Reply, TRAFFIC_EVERY, Verdict};
use super::error::LaunchError;
use super::host::{Bridge, CutDone, HostDone, Outbound, Scissors};
use super::links::{LinkEvent, Links, NewLink, canonical};
use super::policy::{Enforcer, PolicyEvent};
use super::store::{Kept, Kind, Outcome, Saved, Store, Write, Writer};
use super::{figures, tables};
use crate::config::PeerAddr;

/// How long the loop sleeps when nothing is due. Only a bound: every timer is the engine's.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// Events of the Kubernetes API that are judged together at most, so that the loop goes on to other things.
const EVENTS_AT_ONCE: usize = 256;

/// What comes in from the other tasks and threads.
pub(super) struct Inputs {
    pub(super) links: mpsc::Receiver<LinkEvent>,
    pub(super) saved: mpsc::Receiver<Outcome>,
    pub(super) data: mpsc::Receiver<DataEvent>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) host: mpsc::Receiver<HostDone>,
    pub(super) cut: mpsc::Receiver<CutDone>,
    pub(super) policy: mpsc::Receiver<PolicyEvent>,
    pub(super) kubernetes: mpsc::Receiver<weft_kubernetes::Event>,
}

/// What a running node is made of.
pub(super) struct Parts {
    pub(super) clock: Clock,
    pub(super) engine: Engine,
    pub(super) links: Links,
    pub(super) dataplane: Dataplane,
    pub(super) tables: Arc<ArcSwap<Tables>>,
    pub(super) writer: Writer,
    pub(super) store: Store,
    pub(super) bridge: Bridge,
    pub(super) outbound: Outbound,
    pub(super) scissors: Scissors,
    pub(super) enforcer: Enforcer,
    /// In API mode.
    pub(super) kubernetes: Option<weft_kubernetes::Kubernetes>,
    pub(super) socket: ControlSocket,
    pub(super) name: PeerName,
    pub(super) ranges: Vec<IpNet>,
    pub(super) default_port: u16,
    pub(super) secret_file: Option<PathBuf>,
    pub(super) inputs: Inputs,
}

/// How a node ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It was told to stop.
    Stopped,
    /// It was reset: the data directory is that of another node, which is to be started.
    Reset,
}

/// A reset that the engine asked for.
struct ResetOrder {
    /// Who waits for it.
    caller: Option<oneshot::Sender<Result<Reply, ErrorBody>>>,
    left_behind: u64,
    cut_off: Vec<String>,
}

/// A running node.
pub(super) struct Running {
    parts: Parts,
    reset: Option<ResetOrder>,
    calls: BTreeMap<CallId, oneshot::Sender<Result<Reply, ErrorBody>>>,
    next_call: CallId,
}

impl Running {
    pub(super) fn new(parts: Parts) -> Self {
        Self { parts, reset: None, calls: BTreeMap::new(), next_call: 0 }
    }

    /// Runs until SIGTERM, SIGINT or a reset, then takes everything down but what Pods still need.
    pub(super) async fn run_until_stopped(mut self) -> Result<End, LaunchError> {
        let mut terminate = signal(SignalKind::terminate()).map_err(LaunchError::Signal)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(LaunchError::Signal)?;
        self.tell_time();
        self.carry_out();
        // Absent outside of systemd.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        let mut traffic = tokio::time::interval(TRAFFIC_EVERY);
        traffic.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while self.reset.is_none() {
            let keys = self.parts.links.poll_timeout().map(Time::from_start);
            let due = self.parts.engine.poll_timeout().into_iter().chain(keys).min();
            let sleep = due.map_or(LONGEST_SLEEP, |time| self.parts.clock.until(time));
            let inputs = &mut self.parts.inputs;
            tokio::select! {
                Some(event) = inputs.links.recv() => self.on_link(event),
                Some(saved) = inputs.saved.recv() => self.on_saved(saved),
                Some(event) = inputs.data.recv() => self.on_data(event),
                Some(command) = inputs.commands.recv() => self.on_command(command),
                Some(HostDone { token, result }) = inputs.host.recv() => {
                    let now = self.parts.clock.now();
                    self.parts.engine.handle_host(token, result, now);
                }
                Some(event) = inputs.policy.recv() => {
                    self.parts.engine.handle_policy(event, self.parts.clock.now());
                }
                Some(event) = inputs.kubernetes.recv() => self.on_kubernetes(event),
                Some(CutDone { token, result }) = inputs.cut.recv() => {
                    let now = self.parts.clock.now();
                    self.parts.engine.handle_cut_off(token, result, now);
                }
                () = tokio::time::sleep(sleep) => self.on_timeout(),
                _ = traffic.tick() => self.on_traffic(),
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
            self.tell_time();
            self.carry_out();
        }
        self.stop().await
    }

    /// The time of day may have been set while nothing happened.
    fn tell_time(&mut self) {
        let now = self.parts.clock.now();
        self.parts.engine.set_clock(Clock::millis_of_day(), now);
    }

    fn on_link(&mut self, event: LinkEvent) {
        let now = self.parts.clock.now();
        let engine = &mut self.parts.engine;
        match event {
            LinkEvent::Admitted(new) => self.on_admitted(new),
            LinkEvent::DialFailed { endpoint, error } => {
                engine.handle_dial_failed(&endpoint, error, now);
            }
            LinkEvent::Stranger { peer, address } => engine.handle_stranger(peer, address),
            LinkEvent::Message { id, bytes } => engine.handle_message(id, &bytes, now),
            LinkEvent::Rekey { id, bytes } => {
                let wrong = self.parts.links.handle_rekey(id, &bytes, now.since_start());
                if let Some(why) = wrong {
                    engine.handle_fault(id, Fault::Rekey, &why, now);
                }
            }
            LinkEvent::Mismatch { peer, address, why } => {
                engine.handle_mismatch(peer, address, &why);
            }
            LinkEvent::Punch { id } => engine.handle_punch(id, now),
            LinkEvent::Closed { id, reason, broken } => {
                if broken {
                    engine.handle_fault(id, Fault::Frame, &reason, now);
                }
                self.parts.links.closed(id);
                engine.handle_closed(id, &reason, now);
            }
        }
    }

    fn on_admitted(&mut self, new: NewLink) {
        let info = LinkInfo {
            id: new.id,
            peer: new.peer,
            address: new.address,
            dialled: new.dialled.clone(),
            boot_id: new.boot_id,
            dial_number: new.dial_number,
            suite: new.suite,
            carries_packets: new.carries_packets,
        };
        let now = self.parts.clock.now();
        match self.parts.engine.handle_admitted(&info, now) {
            Verdict::Accept => self.parts.links.open(new, now.since_start()),
            Verdict::Decline(code) => self.parts.links.decline(new, code),
        }
    }

    fn on_saved(&mut self, outcome: Outcome) {
        let now = self.parts.clock.now();
        match outcome {
            Outcome::Saved(all) => {
                for Saved { kind, token } in all {
                    self.parts.engine.handle_saved(kind, token, now);
                }
            }
            Outcome::Failed { kind, error } => {
                self.parts.engine.handle_save_failed(kind, &error.to_string(), now);
            }
        }
    }

    /// What came together is judged together: objects come in bursts, and rules are made once for all.
    fn on_kubernetes(&mut self, first: weft_kubernetes::Event) {
        let waiting = &mut self.parts.inputs.kubernetes;
        let more = std::iter::from_fn(|| waiting.try_recv().ok()).take(EVENTS_AT_ONCE);
        let events: Vec<_> = std::iter::once(first).chain(more).collect();
        self.tell_time();
        self.parts.engine.handle_kubernetes(events, self.parts.clock.now());
    }

    fn on_timeout(&mut self) {
        // On a busy host a timer may come late, with the answers it is about waiting behind it.
        while let Ok(event) = self.parts.inputs.data.try_recv() {
            self.on_data(event);
        }
        let now = self.parts.clock.now();
        for link in self.parts.links.handle_timeout(now.since_start()) {
            self.parts.engine.handle_closed(link, "the peer did not change the keys", now);
        }
        self.parts.engine.handle_timeout(now);
    }

    fn on_traffic(&mut self) {
        let Parts { engine, links, clock, .. } = &mut self.parts;
        let sessions: Vec<_> = engine
            .links()
            .filter_map(|(peer, link)| {
                let long = links.size_used(link.id)?.swap(false, Ordering::Relaxed);
                Some((peer, links.epochs(link.id)?.sealed(), long))
            })
            .collect();
        engine.handle_traffic(sessions.into_iter(), clock.now());
    }

    fn on_data(&mut self, event: DataEvent) {
        let now = self.parts.clock.now();
        let engine = &mut self.parts.engine;
        match event {
            DataEvent::Confirmed { token, peer, .. } => engine.handle_answer(peer, token, now),
            DataEvent::Asked { peer, from, urgent, relayed } => {
                let from = Some(canonical(from)).filter(|_| !relayed);
                engine.handle_question(peer, urgent, from, now);
            }
            DataEvent::TunnelConfirmed { peer, token } => {
                engine.handle_tunnel_answer(peer, token, now);
            }
            DataEvent::TunnelAsked { peer, urgent } => {
                engine.handle_tunnel_question(peer, urgent, now);
            }
            DataEvent::Datagram { origin, datagram } => {
                if let Some(peer) = engine.peer_of_id(origin) {
                    self.parts.links.deliver(&peer, datagram);
                }
            }
            DataEvent::Failed { direction, error } => engine.handle_data_failure(format!(
                "the data plane's {direction} has stopped: {error}: restart weft"
            )),
            DataEvent::Heard { peer, from, .. } => engine.handle_heard(peer, canonical(from), now),
            _ => {}
        }
    }

    fn on_command(&mut self, command: Command) {
        let now = self.parts.clock.now();
        let Parts { engine, links, dataplane, enforcer, .. } = &mut self.parts;
        // A caller that has gone away needs no answer.
        match command {
            Command::Status(reply) => drop(reply.send(engine.status(now))),
            Command::Connections(reply) => {
                drop(reply.send(engine.connections(&|id| links.rtt(id), now)));
            }
            Command::Peers(reply) => drop(reply.send(engine.peer_list())),
            Command::Targets(reply) => drop(reply.send(engine.target_list(now))),
            Command::Ipam(reply) => drop(reply.send(engine.ipam_owners())),
            Command::Policies(reply) => enforcer.count(engine.policy_list(), reply),
            Command::Explain(query, reply) => drop(reply.send(engine.explain(&query))),
            Command::Drops(query, reply) => drop(reply.send(enforcer.drops(query.after))),
            Command::Objects(reply) => drop(reply.send(engine.object_list(now))),
            Command::Attachments(query, reply) => {
                let rows = engine.select(&query);
                match query.container {
                    Some(_) => enforcer.check(rows, reply),
                    None => drop(reply.send(rows)),
                }
            }
            Command::SecretFile(reply) => drop(reply.send(self.parts.secret_file.clone())),
            Command::SetSecrets(secrets, reply) => {
                info!(accepted = secrets.iter().count(), "the cluster secrets were read again");
                engine.set_secrets_changing(secrets.is_changing());
                links.set_secrets(secrets);
                // A caller that has gone away needs no answer.
                let _ = reply.send(());
            }
            Command::Metrics(reply) => {
                drop(reply.send(figures::collect(engine, &links.counters(), dataplane, now)));
            }
            Command::Call(call, reply) => self.on_call(call, reply),
        }
    }

    fn on_call(&mut self, call: Call, reply: oneshot::Sender<Result<Reply, ErrorBody>>) {
        self.tell_time();
        let now = self.parts.clock.now();
        let port = self.parts.default_port;
        let targets = |peers: Vec<PeerAddr>| peers.iter().map(|peer| peer.target(port)).collect();
        let engine = &mut self.parts.engine;
        self.next_call += 1;
        let id = self.next_call;
        self.calls.insert(id, reply);
        match call {
            Call::Attach(request) => engine.attach(id, *request, now),
            Call::Detach(query) => engine.detach(id, &query, now),
            Call::Expose => engine.expose(id, now),
            Call::Hide => engine.hide(id, now),
            Call::Connect { peers, replace } => {
                engine.connect(id, targets(peers), replace, now);
            }
            Call::Forget { peers } => engine.forget(id, &targets(peers), now),
            Call::Reset(request) => engine.reset(id, request.force, now),
            Call::Apply(objects) => engine.apply(id, objects, now),
            Call::Delete(names) => engine.delete(id, &names, now),
            Call::Remove(request) => engine.remove(id, &request, Clock::time_of_day(), now),
            Call::Heal(request) => engine.heal(id, &request, Clock::time_of_day(), now),
        }
    }

    /// Carries out what the engine asks for, in its order.
    fn carry_out(&mut self) {
        let Parts {
            engine,
            links,
            dataplane,
            writer,
            tables,
            name,
            ranges,
            outbound,
            scissors,
            enforcer,
            kubernetes,
            ..
        } = &mut self.parts;
        // Both are to be asked: each forgets with its answer.
        if engine.take_tables_changed() | links.take_keys_changed() {
            tables.store(Arc::new(tables::build(*name, ranges, engine, links)));
            let linked = engine
                .links()
                .map(|(peer, link)| (peer, link.id, link.path(), engine.limit_to(link).bytes));
            links.set_ways(linked, engine.unlinked());
        }
        links.send_rekeys();
        // All that comes out together is written in one piece. Nothing else waits for it here: what does
        // depend on it is still inside the engine.
        let mut writes = Vec::new();
        while let Some(output) = engine.poll_output() {
            match output {
                Output::Save { kind, token, what } => writes.push(Write { kind, token, what }),
                Output::Checkpoint(all) => {
                    writer.save(std::mem::take(&mut writes));
                    writer.checkpoint(all);
                }
                Output::Send { link, bytes } => links.send(link, bytes),
                Output::Punch { link } => links.send_punch(link),
                Output::Close { link, code } => links.close(link, code),
                Output::Listen { link, listening } => links.listen(link, listening),
                Output::Dial(endpoint) => links.dial(endpoint),
                Output::Probe { peer, path, token, urgent } => {
                    // What does not go out gets no answer.
                    let _ = dataplane.probe(peer, &path, token, urgent);
                }
                Output::ProbeSize { peer, address, token, len } => {
                    let _ = dataplane.probe_size(peer, address, token, len);
                }
                Output::Host { token, state } => outbound.set(token, state),
                Output::CutOff { token, ports } => scissors.cut(token, ports),
                Output::Policy { token, state } => enforcer.set(token, state),
                Output::Kubernetes(word) => {
                    if let Some(kubernetes) = kubernetes {
                        kubernetes.say(word);
                    }
                }
                Output::Reset { call, left_behind, cut_off } => {
                    let caller = self.calls.remove(&call);
                    self.reset = Some(ResetOrder { caller, left_behind, cut_off });
                }
                Output::Reply { call, result } => {
                    if let Some(reply) = self.calls.remove(&call) {
                        // A caller that has gone away needs no answer.
                        let _ = reply.send(result);
                    }
                }
            }
        }
        writer.save(writes);
    }

    async fn stop(self) -> Result<End, LaunchError> {
        info!("stopping");
        if self.reset.is_none() {
            // Absent outside of systemd.
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        }
        let Parts {
            mut engine,
            links,
            dataplane,
            writer,
            store,
            bridge,
            outbound,
            enforcer,
            socket,
            inputs,
            ..
        } = self.parts;
        // No new calls; whoever waits for one is told that the daemon stops.
        let last_words = socket.close();
        drop(inputs);
        drop(self.calls);
        links.shutdown().await;
        dataplane.shutdown();
        if let Some(heard) = engine.last_heard() {
            writer.save(vec![Write {
                kind: Kind::Heard,
                token: u64::MAX,
                what: Written::Snapshot(heard),
            }]);
        }
        if let Some(what) = engine.last_kubernetes() {
            writer.save(vec![Write { kind: Kind::Kubernetes, token: u64::MAX, what }]);
        }
        writer.finish();
        let end = match self.reset {
            Some(order) => reset(&store, &engine, order).map(|()| End::Reset),
            None => Ok(End::Stopped),
        };
        drop(store);
        let removed = bridge.remove_if_unused().await;
        enforcer.stop(matches!(removed, Ok(true)));
        match removed {
            Ok(true) => {
                outbound.remove_table().await;
                info!("the bridge is removed");
            }
            Ok(false) => info!("Pods are plugged into the bridge, it stays"),
            Err(e) => error!(error = %e, "cannot remove the bridge"),
        }
        last_words.await;
        end
    }
}

/// Makes the data directory that of another node and answers the call.
fn reset(store: &Store, engine: &Engine, order: ResetOrder) -> Result<(), LaunchError> {
    let ResetOrder { caller, left_behind, cut_off } = order;
    let result = store.reset(Kept {
        attachments: engine.fenced().cloned().collect(),
        // What cannot be read is as good as lost; the command line has the peers, too.
        targets: store.load_json(Kind::Targets).unwrap_or_default(),
        peers: store.load_json(Kind::Peers).ok().flatten().unwrap_or_default(),
    });
    let reply = match &result {
        Ok(name) => Ok(Reply::Reset(ResetReply {
            former: engine.own_name(),
            peer: name.to_string(),
            left_behind,
            cut_off,
        })),
        Err(e) => Err(ErrorBody { code: ErrorCode::Internal, message: e.to_string() }),
    };
    if let Some(caller) = caller {
        // A caller that has gone away needs no answer.
        let _ = caller.send(reply);
    }
    result.map(drop).map_err(LaunchError::Store)
}
