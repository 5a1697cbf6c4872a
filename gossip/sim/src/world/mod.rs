//! The world: what is in it, and how a history is played from beginning to end.

mod disk;
mod end;
mod fate;
mod leave;
mod net;
mod pods;
mod removal;
mod rings;
mod time;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use weft_crypto::PeerName;
use weft_gossip::{Endpoint, Event, Time};

use crate::{
    Failure, Options, Report,
    check::{self, SoFar},
    host::Host,
    setting::Setting,
};

/// Events of the past that a failure shows.
const TRACE: usize = 60;

/// Something that comes to pass at its time.
#[derive(Debug)]
enum Happening {
    Deliver { from: usize, to: usize, generation: u64, bytes: Vec<u8> },
    Written { host: usize, incarnation: u64, token: u64 },
    Dialled { host: usize, incarnation: u64, endpoint: Endpoint },
    Noticed { host: usize, peer: usize, generation: u64 },
    Start { host: usize },
}

pub(crate) struct World {
    options: Options,
    setting: Setting,
    rng: ChaCha8Rng,
    now: Time,
    hosts: Vec<Host>,
    queue: BTreeMap<(Time, u64), Happening>,
    sequence: u64,
    generation: u64,
    /// Links whose both ends believe in them or did: by ends in order, the generation.
    links: BTreeMap<(usize, usize), u64>,
    /// When the last message of a direction arrives, to keep streams in order.
    arrival: BTreeMap<(usize, usize), Time>,
    /// When each daemon that runs wants to be called.
    timeouts: Vec<Option<Time>>,
    /// The side of the partition that a host is on; all on one while there is none.
    side: Vec<u8>,
    pods: u64,
    healed: bool,
    healed_at: Time,
    report: Report,
    trace: VecDeque<String>,
    /// Machines that may have changed their allocations, space or routes since the last check: each
    /// such change makes them write to the disk or emit an event.
    changed: BTreeSet<usize>,
    /// Whether the ring was complete once.
    whole: bool,
    /// Addresses that were in use in two rings at once.
    clashed: BTreeSet<IpAddr>,
    /// Identities whose disk is gone.
    ghosts: BTreeSet<PeerName>,
    digest: DefaultHasher,
}

impl World {
    pub(crate) fn new(options: Options) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
        let setting = Setting::new(&options, &mut rng);
        let mut hosts: Vec<Host> = (0..setting.nodes)
            .map(|index| Host::new(index, options.seed, setting.ranges.clone()))
            .collect();
        let names: Vec<PeerName> = hosts.iter().map(Host::name).collect();
        for (index, host) in hosts.iter_mut().enumerate() {
            host.init = setting.init(index, &names);
            host.targets = setting.targets(index);
        }
        let mut world = Self {
            side: (0..setting.nodes).map(|index| setting.side(index)).collect(),
            timeouts: vec![None; setting.nodes],
            report: Report { setting: setting.to_string(), ..Report::default() },
            options,
            setting,
            rng,
            now: Time::START,
            hosts,
            queue: BTreeMap::new(),
            sequence: 0,
            generation: 0,
            links: BTreeMap::new(),
            arrival: BTreeMap::new(),
            pods: 0,
            healed: false,
            healed_at: Time::START,
            trace: VecDeque::new(),
            changed: BTreeSet::new(),
            whole: false,
            clashed: BTreeSet::new(),
            ghosts: BTreeSet::new(),
            digest: DefaultHasher::new(),
        };
        for host in 0..world.hosts.len() {
            let delay = world.millis(1000);
            world.after(delay, Happening::Start { host });
        }
        world
    }

    /// Plays the history to its end.
    pub(crate) fn run(mut self) -> Result<Report, Box<Failure>> {
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
            Err(reason) => Err(Box::new(Failure {
                options: self.options,
                setting: self.report.setting,
                at: self.now.since_start().as_secs_f64(),
                reason,
                trace: self.trace.into(),
            })),
        }
    }

    fn play(&mut self) -> Result<(), String> {
        for _ in 0..self.setting.steps {
            self.see_off();
            for host in self.step() {
                self.drain(host)?;
            }
            self.check()?;
            let pause = self.millis(400);
            self.pass(self.now + pause)?;
        }
        self.heal();
        self.end_well()
    }

    /// What must hold after every event. Spares the work where no machine changed what is checked.
    fn check(&mut self) -> Result<(), String> {
        let changed = std::mem::take(&mut self.changed);
        if changed.is_empty() {
            return Ok(());
        }
        self.report.checks += 1;
        let so_far = SoFar {
            removed: self.report.removals > 0,
            apart: self.setting.apart(),
            whole: &mut self.whole,
            clashed: &mut self.clashed,
        };
        check::all(&mut self.hosts, &changed, so_far)
    }

    /// Takes out what a daemon has to say, in the order of its contract.
    fn drain(&mut self, host: usize) -> Result<(), String> {
        loop {
            let Some(machine) = self.hosts.get_mut(host) else { return Ok(()) };
            let incarnation = machine.incarnation;
            let Some(daemon) = machine.daemon.as_mut() else { return Ok(()) };
            let time = daemon.time(self.now);
            if let Some(persist) = daemon.node.poll_persist() {
                self.changed.insert(host);
                self.write(host, persist);
            } else if let Some(transmit) = daemon.node.poll_transmit() {
                self.transmit(host, transmit);
            } else if let Some(event) = daemon.node.poll_event() {
                self.changed.insert(host);
                self.act(host, event)?;
            } else if let Some(endpoint) = daemon.connector.poll_dial(time) {
                let delay = self.millis(2 * self.setting.weather.latency_ms);
                self.after(delay, Happening::Dialled { host, incarnation, endpoint });
            } else {
                let timeout = daemon.timeout();
                // What it holds decides whom it has exchanged state with.
                let records = daemon.node.fingerprints();
                if machine.seen.as_ref().is_none_or(|seen| seen.records != records) {
                    self.changed.insert(host);
                }
                if self.changed.contains(&host) {
                    daemon.node.check_invariants();
                }
                if let Some(slot) = self.timeouts.get_mut(host) {
                    *slot = timeout;
                }
                return Ok(());
            }
        }
    }

    fn act(&mut self, host: usize, event: Event) -> Result<(), String> {
        let Some(machine) = self.hosts.get_mut(host) else { return Ok(()) };
        let Some(daemon) = machine.daemon.as_mut() else { return Ok(()) };
        match event {
            Event::MembersChanged => machine.update_candidates(self.now),
            Event::RoutesChanged
            | Event::ObjectsChanged
            | Event::ObjectsWritten(_)
            | Event::PodsChanged => {}
            Event::Fenced { key, addresses } => {
                let clash = addresses.iter().any(|net| self.clashed.contains(&net.addr()));
                if self.report.removals == 0 && !clash {
                    return Err(format!(
                        "h{host} fences {key}, nobody was removed, and nobody else used {addresses:?}"
                    ));
                }
                machine.pods.remove(&key);
                self.report.fenced += 1;
                self.note(|| format!("h{host}: {key} loses {addresses:?}"));
            }
            Event::Warning(text)
                if self.setting.apart() && text.contains("that this node moved to") =>
            {
                self.note(|| format!("h{host} warns: {text}"));
            }
            Event::Warning(text) => return Err(format!("h{host} warns: {text}")),
            Event::Allocated { id, result } => {
                let Some((key, request)) = daemon.waiting.remove(&id) else {
                    return Err(format!("h{host}: an outcome that nobody waits for"));
                };
                match &result {
                    Ok(nets) => {
                        self.report.allocated += 1;
                        if !pods::answers(&request, machine.ranges.len(), nets) {
                            return Err(format!("h{host}: {key} asked {request:?}, has {nets:?}"));
                        }
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

    fn name(&self, host: usize) -> Option<PeerName> {
        self.hosts.get(host).map(Host::name)
    }

    fn index_of(&self, name: PeerName) -> Option<usize> {
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

    fn one_in(&mut self, count: u64) -> bool {
        self.rng.next_u64().is_multiple_of(count)
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
