//! Collects the figures of `/metrics` from the parts that keep them. `docs/metrics.md` explains
//! them to operators.

use std::sync::atomic::Ordering;

use weft_api::status::ConnectionState;
use weft_dataplane::Dataplane;
use weft_gossip::Time;

use super::engine::Engine;
use super::links::Counters;
use super::metrics::Snapshot;

/// All figures, now.
pub(super) fn collect(
    engine: &Engine,
    links: &Counters,
    dataplane: &Dataplane,
    now: Time,
) -> Snapshot {
    let mut snapshot = Snapshot::default();
    control(&mut snapshot, engine, links, now);
    gossip(&mut snapshot, engine);
    ipam(&mut snapshot, engine, now);
    kubernetes(&mut snapshot, engine);
    data(&mut snapshot, dataplane);
    snapshot
}

fn control(snapshot: &mut Snapshot, engine: &Engine, links: &Counters, now: Time) {
    let states = engine.connections(&|_| None, now);
    let count = |state| {
        u64::try_from(states.iter().filter(|c| c.state == state).count()).unwrap_or(u64::MAX)
    };
    snapshot.gauges(
        "connections",
        "This node's connections, by state",
        "state",
        [
            ("established", count(ConnectionState::Established)),
            ("pending", count(ConnectionState::Pending)),
            ("retrying", count(ConnectionState::Retrying)),
            ("failed", count(ConnectionState::Failed)),
            ("connecting", count(ConnectionState::Connecting)),
        ],
    );
    let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    snapshot.counters(
        "gossip_messages",
        "Gossip messages on control connections",
        "direction",
        [("in", get(&links.messages_in)), ("out", get(&links.messages_out))],
    );
    snapshot.counters(
        "gossip_bytes",
        "Bytes of gossip messages on control connections",
        "direction",
        [("in", get(&links.bytes_in)), ("out", get(&links.bytes_out))],
    );
    snapshot.counter(
        "gossip_queue_drops",
        "Gossip messages dropped because the peer did not read",
        get(&links.queue_drops),
    );
    snapshot.counter(
        "control_unknown_frames",
        "Frames of unknown types on control connections, passed over",
        get(&links.unknown_frames),
    );
    snapshot.counters(
        "peer_faults",
        "What members sent that no node should",
        "kind",
        engine.conducts().totals(),
    );
    snapshot.gauge(
        "peers_quarantined",
        "Members whose gossip is not read for a while, after too many faults",
        as_u64(engine.conducts().quarantined()),
    );
    snapshot.counter(
        "gossip_ignored",
        "Gossip messages of such members, passed over",
        get(&links.messages_ignored),
    );
    snapshot.counter(
        "admission_failures",
        "Handshakes that failed because the cluster secrets differ",
        get(&links.admission_failures),
    );
    snapshot.counter(
        "handshakes_refused",
        "Incoming connections refused because too many handshakes were under way",
        get(&links.handshakes_refused),
    );
    snapshot.counter(
        "handshakes_validated",
        "Incoming connections that had to show first that they own their address (QUIC Retry)",
        get(&links.handshakes_validated),
    );
    snapshot.counter(
        "handshakes_failed",
        "Incoming connections that came to nothing for other reasons than the secret",
        get(&links.handshakes_failed),
    );
    snapshot.counter(
        "rekeys",
        "Changes of the keys of data packets, each counted at both ends",
        get(&links.rekeys),
    );
    snapshot.counter(
        "rekeys_refused",
        "Messages about new keys that were wrong, and passed over",
        get(&links.rekeys_refused),
    );
    snapshot.counter(
        "sessions_expired",
        "Connections closed because the keys of data packets were too old and could not be changed",
        get(&links.sessions_expired),
    );
}

fn gossip(snapshot: &mut Snapshot, engine: &Engine) {
    let stats = engine.gossip_stats();
    snapshot.counters(
        "gossip_records",
        "Signed records that came from peers, by what became of them",
        "outcome",
        [
            ("merged", stats.records_merged),
            ("stale", stats.records_stale),
            ("refused", stats.records_refused),
            ("no_room", stats.records_no_room),
            ("quarantined", stats.records_quarantined),
            ("unknown_kind", stats.records_unknown_kind),
        ],
    );
    snapshot.counters(
        "gossip_messages_bad",
        "Gossip messages refused whole, and ones of unknown types",
        "reason",
        [("refused", stats.messages_refused), ("unknown", stats.messages_unknown)],
    );
    snapshot.counters(
        "gossip_rounds",
        "Rounds of anti-entropy, by what they found",
        "outcome",
        [("equal", stats.rounds_equal), ("different", stats.rounds_different)],
    );
    snapshot.counter(
        "gossip_repairs",
        "Times that a suppressed record made an origin be exchanged from the start",
        stats.repairs,
    );
    snapshot.counter(
        "gossip_rollbacks",
        "Times that this node's disk was found to have lost writes",
        stats.rollbacks,
    );
}

fn ipam(snapshot: &mut Snapshot, engine: &Engine, now: Time) {
    let status = engine.status(now);
    snapshot.gauge("peers", "Peers known, this node counted", as_u64(status.router.peers));
    snapshot.gauge("ipam_owned", "Addresses this node owns", status.ipam.owned);
    snapshot.gauge("ipam_active", "Addresses in use on this node", status.ipam.active);
    let fenced = as_u64(engine.fenced_count());
    snapshot.gauge("ipam_fenced", "Pods that are cut off, their addresses being void", fenced);
    let policy = &status.policy;
    snapshot.gauge("policies", "Policies known", as_u64(policy.policies));
    snapshot.gauge("policy_isolated_pods", "Local Pods isolated", as_u64(policy.isolated_pods));
    snapshot.gauge("policy_enforcing", "1 when policies hold", u64::from(policy.enforcing));
    snapshot.gauge("ready", "1 when a Pod could be served", u64::from(status.ready));
    snapshot.gauge("warnings", "Warnings in weft status", as_u64(status.warnings.len()));
}

fn kubernetes(snapshot: &mut Snapshot, engine: &Engine) {
    let Some(figures) = engine.kubernetes_figures() else { return };
    snapshot.gauges(
        "kubernetes_watching",
        "Whether a watch of the Kubernetes API works",
        "resource",
        figures.watches.iter().map(|(resource, works, _)| (*resource, u64::from(*works))),
    );
    snapshot.counters(
        "kubernetes_watch_failures",
        "How often a watch of the Kubernetes API began to fail",
        "resource",
        figures.watches.iter().map(|(resource, _, failures)| (*resource, *failures)),
    );
    snapshot.gauge(
        "kubernetes_waiting_pods",
        "Calls for addresses that wait for what the Kubernetes API knows",
        figures.waiting,
    );
    snapshot.counter(
        "kubernetes_unknown_pods",
        "Calls for addresses that went on while the Kubernetes API was away and their Pod unknown",
        figures.blind,
    );
}

fn data(snapshot: &mut Snapshot, dataplane: &Dataplane) {
    let counters = dataplane.counters();
    snapshot.counters(
        "dataplane_packets",
        "Sealed packets on the underlay",
        "direction",
        [("out", counters.sent.packets), ("in", counters.received.packets)],
    );
    snapshot.counters(
        "dataplane_bytes",
        "Bytes of sealed packets on the underlay",
        "direction",
        [("out", counters.sent.bytes), ("in", counters.received.bytes)],
    );
    snapshot.counter(
        "dataplane_relayed_packets",
        "Packets passed on for other nodes, which cannot be read here",
        counters.relayed.packets,
    );
    snapshot.counter(
        "dataplane_relayed_bytes",
        "Bytes of packets passed on for other nodes",
        counters.relayed.bytes,
    );
    snapshot.counter(
        "dataplane_flooded",
        "Frames sent to every peer: broadcast and multicast",
        counters.flooded,
    );
    snapshot.counter(
        "dataplane_arp_answered",
        "ARP requests for remote Pods answered here",
        counters.arp_answered,
    );
    snapshot.counter(
        "dataplane_nd_answered",
        "Neighbour solicitations for remote Pods answered here",
        counters.nd_answered,
    );
    snapshot.counter(
        "dataplane_too_big_told",
        "Pods told that their packets are longer than the path takes",
        counters.too_big_told,
    );
    snapshot.counters(
        "dataplane_drops",
        "Packets and frames dropped, by reason",
        "reason",
        counters.drops.iter().map(|(reason, n)| (reason.as_str(), n)),
    );
}

fn as_u64(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}
