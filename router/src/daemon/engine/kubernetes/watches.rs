//! Which watch works, which does not, and since when.

use std::collections::BTreeMap;
use std::time::Duration;

use weft_gossip::Time;
use weft_kubernetes::Resource;

/// How long a watch may fail although the API server answers before this node is not ready: nothing gets better
/// by waiting, somebody must act. Long enough for a server that restarts in between.
const FAILING: Duration = Duration::from_secs(30);

/// How long the API server may be away before this node is not ready. Where it is away for all, nobody looks; where
/// it is for this node alone, that is a fault of this node, to be seen before the next outage. Longer
/// than an API server takes to be replaced.
const AWAY: Duration = Duration::from_secs(120);

/// How a watch is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// It has not been heard of.
    Starting,
    Watching,
    Failing {
        why: String,
        answered: bool,
    },
}

#[derive(Debug, Clone)]
struct Watch {
    state: State,
    /// Whether it has told all that there is, since the daemon's start.
    listed: bool,
    /// Since when it works or does not: seconds since the Unix epoch, and by the engine's clock.
    since: u64,
    at: Time,
    /// How often it began to fail.
    failures: u64,
}

/// All watches together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Watching,
    Away,
    Failing,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Watches(BTreeMap<Resource, Watch>);

impl Watches {
    pub(super) fn new(now: Time) -> Self {
        let watch = Watch { state: State::Starting, listed: false, since: 0, at: now, failures: 0 };
        Self(Resource::ALL.into_iter().map(|resource| (resource, watch.clone())).collect())
    }

    /// All that there is of a resource was told.
    pub(super) fn listed(&mut self, resource: Resource, seconds: u64, now: Time) {
        self.watching(resource, seconds, now);
        if let Some(watch) = self.0.get_mut(&resource) {
            watch.listed = true;
        }
    }

    /// A watch works.
    pub(super) fn watching(&mut self, resource: Resource, seconds: u64, now: Time) {
        self.turn(resource, State::Watching, seconds, now);
    }

    /// A watch does not work.
    pub(super) fn failing(
        &mut self,
        resource: Resource,
        why: String,
        answered: bool,
        seconds: u64,
        now: Time,
    ) {
        self.turn(resource, State::Failing { why, answered }, seconds, now);
    }

    fn turn(&mut self, resource: Resource, state: State, seconds: u64, now: Time) {
        let Some(watch) = self.0.get_mut(&resource) else { return };
        // Other words for the same trouble do not make it younger.
        let same = matches!(
            (&watch.state, &state),
            (State::Watching, State::Watching) | (State::Failing { .. }, State::Failing { .. })
        );
        if !same {
            (watch.since, watch.at) = (seconds, now);
            watch.failures += u64::from(matches!(state, State::Failing { .. }));
        }
        watch.state = state;
    }

    /// The engine knows the time of day only from its first input on.
    pub(super) fn begin(&mut self, seconds: u64) {
        self.0.values_mut().filter(|watch| watch.since == 0).for_each(|watch| {
            watch.since = seconds;
        });
    }

    /// Whether all that there is of a resource was told since the daemon's start.
    pub(super) fn is_listed(&self, resource: Resource) -> bool {
        self.0.get(&resource).is_some_and(|watch| watch.listed)
    }

    /// Whether what was told of a resource is all, and as it is at this moment.
    pub(super) fn works(&self, resource: Resource) -> bool {
        let works = |watch: &Watch| watch.listed && watch.state == State::Watching;
        self.0.get(&resource).is_some_and(works)
    }

    /// Whether any of these does not work because no API server answers.
    pub(super) fn is_away(&self, resources: &[Resource]) -> bool {
        let away = |watch: &Watch| matches!(watch.state, State::Failing { answered: false, .. });
        resources.iter().filter_map(|resource| self.0.get(resource)).any(away)
    }

    /// All of them together, since when (seconds since the Unix epoch), and why they are not well.
    pub(super) fn summary(&self) -> (Health, u64, Option<String>) {
        let health = |watch: &Watch| match watch.state {
            State::Watching => Health::Watching,
            State::Starting | State::Failing { answered: false, .. } => Health::Away,
            State::Failing { answered: true, .. } => Health::Failing,
        };
        let of = |wanted| self.0.iter().filter(move |(_, watch)| health(watch) == wanted);
        let worst =
            [Health::Failing, Health::Away].into_iter().find(|health| of(*health).count() > 0);
        let Some(worst) = worst else {
            let since = self.0.values().map(|watch| watch.since).max().unwrap_or_default();
            return (Health::Watching, since, None);
        };
        let since = of(worst).map(|(_, watch)| watch.since).min().unwrap_or_default();
        let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (resource, watch) in of(worst) {
            let why = match &watch.state {
                State::Failing { why, .. } => why.as_str(),
                State::Starting | State::Watching => "no answer yet",
            };
            reasons.entry(why).or_default().push(resource.as_str());
        }
        let reasons: Vec<String> =
            reasons.into_iter().map(|(why, of)| format!("{}: {why}", of.join(", "))).collect();
        (worst, since, Some(reasons.join("; ")))
    }

    /// Whether the trouble of any of them is older than it may be on a node that is ready.
    pub(super) fn is_overdue(&self, now: Time) -> bool {
        self.0.values().any(|watch| match watch.state {
            State::Watching => false,
            State::Failing { answered: true, .. } => now.since(watch.at) >= FAILING,
            State::Starting | State::Failing { answered: false, .. } => now.since(watch.at) >= AWAY,
        })
    }

    /// For the metrics: whether each works, and how often it began to fail.
    pub(super) fn figures(&self) -> impl Iterator<Item = (&'static str, bool, u64)> {
        self.0.iter().map(|(resource, watch)| {
            (resource.as_str(), watch.state == State::Watching, watch.failures)
        })
    }
}
