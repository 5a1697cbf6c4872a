//! The world: its clock, its network, and what happens to it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use weft_gossip::{
    DialError, Endpoint, Event, LinkState, Retry, Time,
    ipam::{Init, Request},
};

use crate::{
    Failure, Options, Report, check,
    host::{self, Host},
};

/// Events of the past that a failure shows.
const TRACE: usize = 60;
/// Virtual time the healed world may take to agree: the longest backoff of the connection maker, the
/// consensus, and some rounds of anti-entropy.
const HEALING: Duration = Duration::from_secs(180);
/// Events within one moment beyond which nothing will ever come of it.
const LIVELOCK: u32 = 20_000;
/// Pods the workload keeps at most, all machines together: half of the range.
const MAX_PODS: usize = 120;

/// Something that comes to pass at its time.
#[derive(Debug)]
enum Happening {
    Deliver { from: usize, to: usize, generation: u64, bytes: Vec<u8> },
    Written { host: usize, incarnation: u64, token: u64 },
    Dialled { host: usize, incarnation: u64, endpoint: Endpoint },
    Noticed { host: usize, peer: usize, generation: u64 },
    Start { host: usize },
}

/// How bad the network of this history is, per mille of the messages.
struct Weather {
    lost: u64,
    repeated: u64,
    overtaking: u64,
    latency_ms: u64,
}

pub(crate) struct World {
    options: Options,
    rng: ChaCha8Rng,
    now: Time,
    hosts: Vec<Host>,
    weather: Weather,
    queue: BTreeMap<(Time, u64), Happening>,
    sequence: u64,
    generation: u64,
    /// Links whose both ends believe in them or did: by ends in order, the generation.
    links: BTreeMap<(usize, usize), u64>,
    /// When the last message of a direction arrives, to keep streams in order.
    arrival: BTreeMap<(usize, usize), Time>,
    /// The side of the partition that a host is on; all on one while there is none.
    side: Vec<u8>,
    pods: u64,
    healed: bool,
    report: Report,
    trace: VecDeque<String>,
    /// A machine may have changed its allocations, its space or its routes since the last check: each
    /// such change makes it write to its disk or emit an event.
    changed: bool,
    digest: DefaultHasher,
}

impl World {
    pub(crate) fn new(options: Options) -> Result<Self, Failure> {
        let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
        let weather = Weather {
            lost: rng.next_u64() % 60,
            repeated: rng.next_u64() % 60,
            overtaking: rng.next_u64() % 60,
            latency_ms: 1 + rng.next_u64() % 80,
        };
        let symmetric = rng.next_u64().is_multiple_of(3);
        let hosts = (0..options.nodes)
            .map(|index| {
                // A chain: each is told of the one before it. Or all are told of all, and decide by
                // consensus. Where machines die, all are told of all.
                let all = (0..options.nodes).filter(|other| *other != index);
                let all = all.map(|other| host::address(other).to_string()).collect();
                let (init, targets) = match (symmetric, index) {
                    (true, _) => (Init::Auto, all),
                    (false, 0) if options.removals => (Init::Founder, all),
                    (false, 0) => (Init::Founder, BTreeSet::new()),
                    (false, _) if options.removals => (Init::Observer, all),
                    (false, _) => {
                        (Init::Observer, BTreeSet::from([host::address(index - 1).to_string()]))
                    }
                };
                Host::new(index, options.seed, init, targets)
            })
            .collect();
        let mut world = Self {
            side: vec![0; options.nodes],
            options,
            rng,
            now: Time::START,
            hosts,
            weather,
            queue: BTreeMap::new(),
            sequence: 0,
            generation: 0,
            links: BTreeMap::new(),
            arrival: BTreeMap::new(),
            pods: 0,
            healed: false,
            report: Report::default(),
            trace: VecDeque::new(),
            changed: false,
            digest: DefaultHasher::new(),
        };
        for host in 0..world.hosts.len() {
            let delay = world.millis(1000);
            world.after(delay, Happening::Start { host });
        }
        Ok(world)
    }

    /// Plays the history to its end.
    pub(crate) fn run(mut self) -> Result<Report, Failure> {
        // A machine that panics is a failure of this seed like any other.
        let played = catch_unwind(AssertUnwindSafe(|| self.play()));
        let result = played.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(format!("panic: {}", text.unwrap_or("without a text")))
        });
        match result {
            Ok(()) => {
                self.report.trace = self.digest.finish();
                Ok(self.report)
            }
            Err(reason) => Err(Failure {
                options: self.options,
                at: self.now.since_start().as_secs_f64(),
                reason,
                trace: self.trace.into(),
            }),
        }
    }

    fn play(&mut self) -> Result<(), String> {
        for _ in 0..self.options.steps {
            let host = self.step();
            self.drain(host)?;
            let pause = self.millis(400);
            self.pass(self.now + pause)?;
        }
        self.heal();
        let deadline = self.now + HEALING;
        let started = self.now;
        loop {
            self.pass(self.now + Duration::from_millis(500))?;
            self.bury_the_dead()?;
            match check::agreement(&self.hosts) {
                Ok(()) => break,
                Err(missing) if self.now > deadline => {
                    return Err(format!("no agreement: {missing}; {}", self.states()));
                }
                Err(_) => {}
            }
        }
        self.report.settled_ms = self.now.since(started).as_millis();
        self.serve_all(deadline + HEALING)
    }

    /// In the end operators remove what is dead, wherever nobody knows of that yet: those who remove
    /// each other do not listen to each other.
    fn bury_the_dead(&mut self) -> Result<(), String> {
        if !self.hosts.iter().all(|host| host.dead || host.daemon.is_some()) {
            return Ok(());
        }
        for on in 0..self.hosts.len() {
            for who in 0..self.hosts.len() {
                let dead = self.hosts.get(who).filter(|host| host.dead).map(Host::name);
                let asks = self.hosts.get(on).filter(|host| host.stays()).is_some_and(|host| {
                    host.daemon.as_ref().is_some_and(|daemon| {
                        daemon.node.ready()
                            && !daemon.node.removals().iter().any(|it| Some(it.name) == dead)
                    })
                });
                if dead.is_some() && asks {
                    self.remove(on, who, false);
                    self.drain(on)?;
                }
            }
        }
        Ok(())
    }

    /// In the end every machine gives out an address, and all agree again.
    fn serve_all(&mut self, deadline: Time) -> Result<(), String> {
        let wanted: Vec<String> =
            (0..self.hosts.len()).map(|host| format!("last-{host}")).collect();
        for (host, key) in wanted.iter().enumerate() {
            if self.hosts.get(host).is_some_and(Host::stays) {
                self.allocate(host, key.clone());
            }
        }
        loop {
            self.pass(self.now + Duration::from_millis(500))?;
            let served = self
                .hosts
                .iter()
                .zip(&wanted)
                .all(|(host, key)| !host.stays() || host.pods.contains_key(key))
                && self.hosts.iter().any(Host::stays);
            let agreed = check::agreement(&self.hosts);
            if served && agreed.is_ok() {
                return Ok(());
            }
            if self.now > deadline {
                return Err(format!("not all served ({agreed:?}); {}", self.states()));
            }
        }
    }

    fn states(&self) -> String {
        let state = |(index, host): (usize, &Host)| match &host.daemon {
            Some(daemon) => {
                let removals: Vec<String> =
                    daemon.node.removals().iter().map(|it| daemon.node.label(it.name)).collect();
                format!("h{index}: {}, removes {removals:?}", daemon.node.ipam_state())
            }
            None => format!("h{index}: down"),
        };
        self.hosts.iter().enumerate().map(state).collect::<Vec<_>>().join("; ")
    }

    /// One thing happens. Returns the host that may have something to say about it.
    fn step(&mut self) -> usize {
        let host = self.pick(self.hosts.len());
        match self.rng.next_u64() % 100 {
            0..40 => {
                let pods: usize = self.hosts.iter().map(|host| host.pods.len()).sum();
                if pods < MAX_PODS {
                    self.pods += 1;
                    let key = format!("pod-{}", self.pods);
                    self.allocate(host, key);
                }
            }
            40..62 => self.release(host),
            62..70 => self.crash(host),
            70..78 => self.partition(),
            78..84 => self.reunite(),
            84..92 => self.reset_link(),
            92..94 if self.options.removals => self.die(host),
            94..97 if self.options.removals => self.remove_some(host),
            _ => {}
        }
        host
    }

    fn allocate(&mut self, host: usize, key: String) {
        let now = self.now;
        self.note(|| format!("h{host}: allocate {key}"));
        let Some(daemon) = self.hosts.get_mut(host).and_then(|host| host.daemon.as_mut()) else {
            return;
        };
        let deadline = now + Duration::from_secs(30);
        let id = daemon.node.allocate(&key, Request::default(), deadline, now);
        daemon.waiting.insert(id, key);
    }

    fn release(&mut self, host: usize) {
        let now = self.now;
        let pods = self.hosts.get(host).map_or(0, |host| host.pods.len());
        if pods == 0 {
            return;
        }
        let chosen = self.pick(pods);
        let Some(host_) = self.hosts.get_mut(host) else { return };
        let Some(daemon) = host_.daemon.as_mut() else { return };
        let Some(key) = host_.pods.keys().nth(chosen).cloned() else { return };
        host_.pods.remove(&key);
        daemon.node.release(&key, now);
        host_.stopped.insert(key.clone());
        self.note(|| format!("h{host}: release {key}"));
    }

    fn crash(&mut self, host: usize) {
        let Some(daemon) = self.hosts.get_mut(host).and_then(|host| host.daemon.take()) else {
            return;
        };
        self.report.crashes += 1;
        self.note(|| format!("h{host}: crash"));
        // Each write under way was finished or was not.
        let writing = self.hosts.get_mut(host).map(|host| std::mem::take(&mut host.writing));
        for (_, token, bytes) in writing.into_iter().flatten() {
            if self.rng.next_u64().is_multiple_of(2) {
                self.finish_write(host, token, bytes);
            }
        }
        for (peer, generation) in daemon.links {
            if let Some(peer) = self.index_of(peer) {
                self.links.remove(&ends(host, peer));
                let delay = self.millis(3000);
                self.after(delay, Happening::Noticed { host: peer, peer: host, generation });
            }
        }
        let delay = self.millis(6000);
        self.after(delay, Happening::Start { host });
    }

    fn partition(&mut self) {
        for host in 0..self.side.len() {
            let side = u8::from(self.rng.next_u64().is_multiple_of(2));
            if let Some(slot) = self.side.get_mut(host) {
                *slot = side;
            }
        }
        self.report.partitions += 1;
        let sides = self.side.clone();
        self.note(|| format!("partition {sides:?}"));
        let cut: Vec<_> =
            self.links.keys().copied().filter(|&(a, b)| !self.can_talk(a, b)).collect();
        for (a, b) in cut {
            self.cut(a, b, 3000);
        }
    }

    fn reunite(&mut self) {
        self.side.fill(0);
        self.note(|| "no partition".into());
    }

    /// The machine stops for ever, if it is not one of the last.
    fn die(&mut self, host: usize) {
        let dead = self.hosts.iter().filter(|host| host.dead).count();
        let owns = |host: &Host| {
            host.stays() && host.daemon.as_ref().is_some_and(|daemon| daemon.node.owned() > 0)
        };
        // One that removed others stays: it may be the only one left.
        let running = self.hosts.get(host).is_some_and(|host| {
            host.daemon.as_ref().is_some_and(|daemon| {
                !daemon.node.removals().iter().any(|removal| removal.by == host.name())
            })
        });
        let others = self.hosts.iter().enumerate().filter(|(index, _)| *index != host);
        if running && dead < self.hosts.len() / 3 && others.filter(|(_, it)| owns(it)).count() > 1 {
            self.crash(host);
            if let Some(machine) = self.hosts.get_mut(host) {
                machine.dead = true;
            }
            self.report.deaths += 1;
        }
    }

    /// Somebody removes another machine: mostly a dead one, and now and then, by mistake, one that
    /// is alive.
    fn remove_some(&mut self, on: usize) {
        let mistake = self.rng.next_u64().is_multiple_of(6);
        let wanted: Vec<usize> = (0..self.hosts.len())
            .filter(|other| *other != on)
            .filter(|other| self.hosts.get(*other).is_some_and(|host| host.dead != mistake))
            .collect();
        if !wanted.is_empty()
            && let chosen = self.pick(wanted.len())
            && let Some(who) = wanted.get(chosen)
        {
            let force = self.rng.next_u64().is_multiple_of(8);
            self.remove(on, *who, force);
        }
    }

    fn remove(&mut self, on: usize, who: usize, force: bool) {
        let now = self.now;
        let Some(name) = self.name(who) else { return };
        let Some(daemon) = self.hosts.get_mut(on).and_then(|host| host.daemon.as_mut()) else {
            return;
        };
        if daemon.node.remove(name, force, now.since_start().as_secs(), now).is_ok() {
            self.report.removals += 1;
            self.note(|| format!("h{on}: remove h{who}{}", if force { " by force" } else { "" }));
        }
    }

    fn reset_link(&mut self) {
        let links = self.links.len();
        if links > 0
            && let chosen = self.pick(links)
            && let Some(&(a, b)) = self.links.keys().nth(chosen)
        {
            self.note(|| format!("h{a}-h{b}: reset"));
            self.cut(a, b, 100);
        }
    }

    /// A link is dead; each end notices in its own time.
    fn cut(&mut self, a: usize, b: usize, notice_ms: u64) {
        if let Some(generation) = self.links.remove(&ends(a, b)) {
            for (host, peer) in [(a, b), (b, a)] {
                let delay = self.millis(notice_ms);
                self.after(delay, Happening::Noticed { host, peer, generation });
            }
        }
    }

    /// From here on nothing fails any more.
    fn heal(&mut self) {
        self.note(|| "all heals".into());
        self.healed = true;
        self.side.fill(0);
        self.weather.lost = 0;
    }

    /// Lets the time pass, with all that comes to pass in it.
    fn pass(&mut self, until: Time) -> Result<(), String> {
        let mut in_a_row = 0;
        loop {
            let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
            let timer = (0..self.hosts.len()).filter_map(|host| self.timer(host)).min();
            let Some(next) = [queued, timer].into_iter().flatten().min().filter(|at| *at <= until)
            else {
                self.now = until;
                return Ok(());
            };
            in_a_row = if next > self.now { 0 } else { in_a_row + 1 };
            if in_a_row > LIVELOCK {
                return Err("time stands still".into());
            }
            self.now = self.now.max(next);
            if queued == Some(next) {
                if let Some((_, happening)) = self.queue.pop_first() {
                    self.happen(happening)?;
                }
            } else {
                for host in 0..self.hosts.len() {
                    if self.timer(host).is_some_and(|at| at <= self.now) {
                        self.wake(host)?;
                    }
                }
            }
            self.check()?;
        }
    }

    /// What must hold after every event. Spares the work where no machine changed what is checked.
    fn check(&mut self) -> Result<(), String> {
        if !std::mem::take(&mut self.changed) {
            return Ok(());
        }
        check::promises(&self.hosts, self.report.removals > 0)?;
        check::ownership(&self.hosts)?;
        self.hosts.iter().enumerate().try_for_each(|(index, host)| check::routes(index, host))
    }

    fn timer(&self, host: usize) -> Option<Time> {
        let daemon = self.hosts.get(host)?.daemon.as_ref()?;
        [daemon.node.poll_timeout(), daemon.connector.poll_timeout()].into_iter().flatten().min()
    }

    fn wake(&mut self, host: usize) -> Result<(), String> {
        let now = self.now;
        if let Some(daemon) = self.hosts.get_mut(host).and_then(|host| host.daemon.as_mut()) {
            daemon.node.handle_timeout(now);
        }
        self.drain(host)
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        let now = self.now;
        match happening {
            Happening::Start { host } => {
                let mut seed = [0; 32];
                self.rng.fill_bytes(&mut seed);
                self.note(|| format!("h{host}: start"));
                let Some(machine) = self.hosts.get_mut(host) else { return Ok(()) };
                if machine.dead {
                    return Ok(());
                }
                machine.start(host, seed, now).map_err(|error| format!("h{host}: {error}"))?;
                // Pods that were stopped and that the disk still knew are stopped again.
                for key in std::mem::take(&mut machine.stopped) {
                    if let Some(daemon) = machine.daemon.as_mut() {
                        daemon.node.release(&key, now);
                    }
                    machine.stopped.insert(key);
                }
                self.drain(host)
            }
            Happening::Written { host, incarnation, token } => {
                self.written(host, incarnation, token);
                self.drain(host)
            }
            Happening::Deliver { from, to, generation, bytes } => {
                let source = self.name(from);
                let dead = self.links.get(&ends(from, to)) != Some(&generation);
                let Some(daemon) = self.hosts.get_mut(to).and_then(|host| host.daemon.as_mut())
                else {
                    return Ok(());
                };
                if dead || source.is_none_or(|name| daemon.links.get(&name) != Some(&generation)) {
                    self.report.lost += 1;
                    return Ok(());
                }
                self.report.delivered += 1;
                if let Some(source) = source {
                    daemon
                        .node
                        .handle_message(source, &bytes, now)
                        .map_err(|error| format!("h{to} refused a message of h{from}: {error}"))?;
                }
                self.note(|| {
                    format!("h{from}->h{to}: {} bytes, type {:?}", bytes.len(), bytes.get(1))
                });
                self.drain(to)
            }
            Happening::Dialled { host, incarnation, endpoint } => {
                self.dialled(host, incarnation, &endpoint)
            }
            Happening::Noticed { host, peer, generation } => {
                let Some(name) = self.name(peer) else { return Ok(()) };
                let Some(daemon) = self.hosts.get_mut(host).and_then(|host| host.daemon.as_mut())
                else {
                    return Ok(());
                };
                if daemon.links.get(&name) == Some(&generation) {
                    daemon.links.remove(&name);
                    daemon.node.handle_disconnected(name, now);
                    daemon.connector.handle_disconnected(name, now);
                    self.note(|| format!("h{host}: lost h{peer}"));
                }
                self.drain(host)
            }
        }
    }

    /// A dial has come to its end: a link, or the reason why not.
    fn dialled(
        &mut self,
        host: usize,
        incarnation: u64,
        endpoint: &Endpoint,
    ) -> Result<(), String> {
        let now = self.now;
        let running = self
            .hosts
            .get(host)
            .is_some_and(|machine| machine.incarnation == incarnation && machine.daemon.is_some());
        if !running {
            return Ok(());
        }
        let text = match endpoint {
            Endpoint::Target(text) => text.clone(),
            Endpoint::Address(address, _) => address.to_string(),
        };
        let peer = self.hosts.iter().position(|other| other.address.to_string() == text);
        let answers = |peer: &usize| {
            self.can_talk(host, *peer)
                && self.hosts.get(*peer).is_some_and(|other| other.daemon.is_some())
        };
        let Some(peer) = peer.filter(answers) else {
            if let Some(daemon) = self.hosts.get_mut(host).and_then(|host| host.daemon.as_mut()) {
                let error = DialError { text: "no answer".into(), retry: Retry::Backoff };
                daemon.connector.handle_dial_failed(endpoint, error, now);
            }
            return self.drain(host);
        };
        // A new link replaces the one that the ends still believe in.
        self.generation += 1;
        let generation = self.generation;
        self.links.insert(ends(host, peer), generation);
        self.arrival.remove(&(host, peer));
        self.arrival.remove(&(peer, host));
        self.note(|| format!("h{host}-h{peer}: connected"));
        for (one, other, outbound) in [(host, peer, true), (peer, host, false)] {
            let Some((name, address)) =
                self.hosts.get(other).map(|host| (host.name(), host.address))
            else {
                continue;
            };
            let Some(daemon) = self.hosts.get_mut(one).and_then(|host| host.daemon.as_mut()) else {
                continue;
            };
            daemon.links.insert(name, generation);
            let target = match endpoint {
                Endpoint::Target(text) if outbound => Some(text.as_str()),
                Endpoint::Target(_) | Endpoint::Address(..) => None,
            };
            daemon.connector.handle_connected(name, address, target, now);
            daemon.node.handle_connected(name, address, outbound, now);
            daemon.node.handle_link_state(name, LinkState::Direct(0), now);
        }
        self.drain(host)?;
        self.drain(peer)
    }

    /// Takes out what a daemon has to say, in the order of its contract.
    fn drain(&mut self, host: usize) -> Result<(), String> {
        let now = self.now;
        loop {
            let Some(machine) = self.hosts.get_mut(host) else { return Ok(()) };
            let incarnation = machine.incarnation;
            let Some(daemon) = machine.daemon.as_mut() else { return Ok(()) };
            if let Some(persist) = daemon.node.poll_persist() {
                self.changed = true;
                machine.writing.push((incarnation, persist.token, persist.bytes));
                if self.options.lying_disk {
                    daemon.node.persisted(persist.token, now);
                }
                let delay = self.millis(if self.options.lying_disk { 2000 } else { 30 });
                self.after(delay, Happening::Written { host, incarnation, token: persist.token });
            } else if let Some(transmit) = daemon.node.poll_transmit() {
                let generation = daemon.links.get(&transmit.to).copied();
                if let (Some(generation), Some(to)) = (generation, self.index_of(transmit.to)) {
                    self.transmit(host, to, generation, transmit.bytes);
                }
            } else if let Some(event) = daemon.node.poll_event() {
                self.changed = true;
                self.act(host, event)?;
            } else if let Some(endpoint) = daemon.connector.poll_dial(now) {
                let delay = self.millis(2 * self.weather.latency_ms);
                self.after(delay, Happening::Dialled { host, incarnation, endpoint });
            } else {
                if self.changed {
                    daemon.node.check_invariants();
                }
                return Ok(());
            }
        }
    }

    fn act(&mut self, host: usize, event: Event) -> Result<(), String> {
        let now = self.now;
        let Some(machine) = self.hosts.get_mut(host) else { return Ok(()) };
        let Some(daemon) = machine.daemon.as_mut() else { return Ok(()) };
        match event {
            Event::MembersChanged => {
                daemon.connector.handle_candidates(&daemon.node.candidates(), now);
            }
            Event::RoutesChanged => {}
            Event::Fenced { key, addresses } => {
                if self.report.removals == 0 {
                    return Err(format!("h{host} fences {key}, and nobody was removed"));
                }
                machine.pods.remove(&key);
                self.report.fenced += 1;
                self.note(|| format!("h{host}: {key} loses {addresses:?}"));
            }
            Event::Warning(text) => return Err(format!("h{host} warns: {text}")),
            Event::Allocated { id, result } => {
                let Some(key) = daemon.waiting.remove(&id) else {
                    return Err(format!("h{host}: an outcome that nobody waits for"));
                };
                match &result {
                    Ok(nets) => {
                        self.report.allocated += 1;
                        let addresses = nets.iter().map(|net| net.addr()).collect();
                        machine.pods.insert(key.clone(), addresses);
                    }
                    Err(_) => self.report.refused += 1,
                }
                self.note(|| format!("h{host}: {key} has {result:?}"));
            }
        }
        Ok(())
    }

    fn transmit(&mut self, from: usize, to: usize, generation: u64, bytes: Vec<u8>) {
        if self.chance(self.weather.lost) {
            self.report.lost += 1;
            return;
        }
        let latency = Duration::from_millis(1) + self.millis(self.weather.latency_ms);
        let in_order = self.arrival.get(&(from, to)).copied().unwrap_or_default();
        let mut at = (self.now + latency).max(in_order);
        if self.chance(self.weather.overtaking) {
            at += self.millis(500);
        } else {
            self.arrival.insert((from, to), at);
        }
        if self.chance(self.weather.repeated) {
            let bytes = bytes.clone();
            let again = at + self.millis(3000);
            self.at(again, Happening::Deliver { from, to, generation, bytes });
        }
        self.at(at, Happening::Deliver { from, to, generation, bytes });
    }

    fn written(&mut self, host: usize, incarnation: u64, token: u64) {
        let now = self.now;
        let Some(machine) = self.hosts.get_mut(host) else { return };
        let of_this = |write: &(u64, u64, Vec<u8>)| write.0 == incarnation && write.1 == token;
        let Some(at) = machine.writing.iter().position(of_this) else { return };
        let (_, token, bytes) = machine.writing.swap_remove(at);
        self.finish_write(host, token, bytes);
        if let Some(daemon) = self.hosts.get_mut(host).and_then(|host| host.daemon.as_mut()) {
            daemon.node.persisted(token, now);
        }
    }

    /// Writes end in any order; the disk keeps the newest.
    fn finish_write(&mut self, host: usize, token: u64, bytes: Vec<u8>) {
        if let Some(machine) = self.hosts.get_mut(host)
            && machine.disk.as_ref().is_none_or(|(newest, _)| *newest < token)
        {
            machine.disk = Some((token, bytes));
        }
    }

    fn can_talk(&self, a: usize, b: usize) -> bool {
        a != b && self.side.get(a) == self.side.get(b)
    }

    fn name(&self, host: usize) -> Option<weft_crypto::PeerName> {
        self.hosts.get(host).map(Host::name)
    }

    fn index_of(&self, name: weft_crypto::PeerName) -> Option<usize> {
        self.hosts.iter().position(|host| host.name() == name)
    }

    fn after(&mut self, delay: Duration, happening: Happening) {
        self.at(self.now + delay, happening);
    }

    fn at(&mut self, at: Time, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), happening);
    }

    fn millis(&mut self, bound: u64) -> Duration {
        Duration::from_micros(self.rng.next_u64() % (bound * 1000).max(1))
    }

    fn pick(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(1).max(1);
        usize::try_from(self.rng.next_u64() % bound).unwrap_or(0)
    }

    fn chance(&mut self, per_mille: u64) -> bool {
        !self.healed && self.rng.next_u64() % 1000 < per_mille
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        let line = format!("{:9.3} {}", self.now.since_start().as_secs_f64(), text());
        if self.options.verbose {
            println!("{line}");
        }
        line.hash(&mut self.digest);
        if self.trace.len() == TRACE {
            self.trace.pop_front();
        }
        self.trace.push_back(line);
    }
}

/// The name of a link: its ends in order.
fn ends(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}
