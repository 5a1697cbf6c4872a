//! Counters of the packet path.

use std::sync::atomic::{AtomicU64, Ordering};

/// What has passed, in packets and bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Traffic {
    /// Packets that carried a frame; one frame to three peers counts three.
    pub packets: u64,
    /// Bytes of the Ethernet frames in them, without any of the tunnel's own.
    pub bytes: u64,
}

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a frame or packet went no further. The texts are label values of metrics and never change.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum DropReason { $($(#[$doc])* $name,)* }

        impl DropReason {
            /// Every reason, in the order of declaration.
            pub const ALL: [DropReason; [$($text),*].len()] = [$(DropReason::$name),*];

            /// The reason as a metric label.
            pub const fn as_str(self) -> &'static str {
                match self { $(DropReason::$name => $text,)* }
            }
        }
    };
}

drop_reasons! {
    /// Either way: a frame cut short, or one that lies about itself.
    Malformed = "malformed",
    /// Either way: a frame with a VLAN tag; the mesh is one segment without VLANs.
    Vlan = "vlan",
    /// Either way: a frame that bridges keep on the link, such as spanning tree.
    LinkControl = "link_control",
    /// Either way: an IPv6 router advertisement, solicitation or redirect; no Pod may be another's router.
    RouterDiscovery = "router_discovery",
    /// Either way: a source address that belongs elsewhere.
    Spoofed = "spoofed",
    /// From the bridge: the destination is at the bridge, or would be.
    Local = "local",
    /// From the bridge: announces or asks about an address of this node, which concerns nobody else.
    Gratuitous = "gratuitous",
    /// From the bridge: nobody has the destination, or its owner cannot be reached.
    Unreachable = "unreachable",
    /// From the bridge: unicast to an address that the mesh does not know.
    NoRoute = "no_route",
    /// To a peer: its key has sealed as many packets as it may.
    KeyExhausted = "key_exhausted",
    /// To a peer: the sealed packet is longer than the path takes.
    TooBig = "too_big",
    /// To a peer: the kernel refused to send, for any other reason.
    SendFailed = "send_failed",
    /// From a peer: the datagram is longer than any packet.
    Oversized = "oversized",
    /// From a peer: not a data packet.
    BadHeader = "bad_header",
    /// From a peer: the receiver index names no session.
    UnknownSession = "unknown_session",
    /// From a peer: the seal does not match.
    Forged = "forged",
    /// From a peer: this packet was received before.
    Replayed = "replayed",
    /// From a peer: so late that it cannot be told from a replay.
    TooOld = "too_old",
    /// From a peer: the payload is of a kind that this version does not know.
    UnknownKind = "unknown_kind",
    /// Either way: the virtio-net header does not fit the frame, or leaves undone what this version does not do.
    Offload = "offload",
    /// To the bridge: the TAP did not take the frame.
    TapFailed = "tap_failed",
    /// Through another node, or passed on for one: the next node is not there, or not directly.
    RelayNoRoute = "relay_no_route",
    /// Passed on for another node: its origin sends more than it may.
    RelayLimit = "relay_limit",
    /// To a peer inside its control connection: that takes no more at the moment, or carries no packets.
    TunnelFull = "tunnel_full",
}

/// How often each [`DropReason`] struck.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Drops([u64; DropReason::ALL.len()]);

impl Drops {
    /// The count of one reason.
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0.get(reason as usize).copied().unwrap_or(0)
    }

    /// All counts, in the order of [`DropReason::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> {
        DropReason::ALL.into_iter().zip(self.0)
    }

    /// The sum of all counts.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(crate) fn count(&mut self, reason: DropReason) {
        self.add(reason, 1);
    }

    pub(crate) fn add(&mut self, reason: DropReason, drops: u64) {
        if let Some(count) = self.0.get_mut(reason as usize) {
            *count += drops;
        }
    }
}

/// What the packet path has done since it started. All fields only grow.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// Handed to the socket, sealed. Those that the kernel then refuses are among the drops too.
    pub sent: Traffic,
    /// Opened, checked and written to the TAP.
    pub received: Traffic,
    /// Broadcast and multicast frames that went to all peers; pairs with `sent`, where each copy counts.
    pub flooded: u64,
    /// ARP requests answered for remote addresses.
    pub arp_answered: u64,
    /// IPv6 neighbour solicitations answered for remote addresses.
    pub nd_answered: u64,
    /// Pods told that their packets are longer than the path takes.
    pub too_big_told: u64,
    /// Probe requests sent.
    pub probes_sent: u64,
    /// Probe requests of peers answered.
    pub probes_answered: u64,
    /// Probe replies received.
    pub probes_confirmed: u64,
    /// Passed on for other nodes; the bytes are those of the datagrams in them.
    pub relayed: Traffic,
    /// Frames and packets that went no further.
    pub drops: Drops,
}

/// The counters as threads share them: each worker keeps a tally of its own and adds it once a batch.
#[derive(Default, Debug)]
pub(crate) struct SharedCounters {
    plain: [AtomicU64; PLAIN],
    drops: [AtomicU64; DropReason::ALL.len()],
}

/// How many counters [`Counters`] has besides the drops.
const PLAIN: usize = 13;

impl Counters {
    fn plain(&self) -> [u64; PLAIN] {
        [
            self.sent.packets,
            self.sent.bytes,
            self.received.packets,
            self.received.bytes,
            self.flooded,
            self.arp_answered,
            self.nd_answered,
            self.too_big_told,
            self.probes_sent,
            self.probes_answered,
            self.probes_confirmed,
            self.relayed.packets,
            self.relayed.bytes,
        ]
    }
}

impl SharedCounters {
    /// Adds a tally and empties it.
    pub(crate) fn absorb(&self, tally: &mut Counters) {
        let plain = self.plain.iter().zip(tally.plain());
        let drops = self.drops.iter().zip(tally.drops.0);
        for (shared, own) in plain.chain(drops).filter(|(_, own)| *own != 0) {
            shared.fetch_add(own, Ordering::Relaxed);
        }
        *tally = Counters::default();
    }

    /// The sums so far.
    pub(crate) fn read(&self) -> Counters {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let [
            sent_packets,
            sent_bytes,
            received_packets,
            received_bytes,
            flooded,
            arp_answered,
            nd_answered,
            too_big_told,
            probes_sent,
            probes_answered,
            probes_confirmed,
            relayed_packets,
            relayed_bytes,
        ] = self.plain.each_ref().map(load);
        Counters {
            sent: Traffic { packets: sent_packets, bytes: sent_bytes },
            received: Traffic { packets: received_packets, bytes: received_bytes },
            flooded,
            arp_answered,
            nd_answered,
            too_big_told,
            probes_sent,
            probes_answered,
            probes_confirmed,
            relayed: Traffic { packets: relayed_packets, bytes: relayed_bytes },
            drops: Drops(self.drops.each_ref().map(load)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_never_change() {
        let labels = DropReason::ALL.map(DropReason::as_str).join(" ");
        assert_eq!(
            labels,
            "malformed vlan link_control router_discovery spoofed local gratuitous unreachable no_route \
             key_exhausted too_big send_failed oversized bad_header unknown_session forged replayed too_old \
             unknown_kind offload tap_failed relay_no_route relay_limit tunnel_full"
        );
        assert!(DropReason::ALL.is_sorted());
    }

    #[test]
    fn tallies_add_up_field_by_field() {
        let shared = SharedCounters::default();
        let tally = Counters {
            sent: Traffic { packets: 1, bytes: 2 },
            received: Traffic { packets: 3, bytes: 4 },
            flooded: 5,
            arp_answered: 6,
            nd_answered: 7,
            too_big_told: 13,
            probes_sent: 8,
            probes_answered: 9,
            probes_confirmed: 10,
            relayed: Traffic { packets: 11, bytes: 12 },
            drops: Drops(std::array::from_fn(|index| index as u64)),
        };
        let mut first = tally;
        shared.absorb(&mut first);
        assert_eq!(first, Counters::default());
        assert_eq!(shared.read(), tally);
        shared.absorb(&mut tally.clone());
        assert_eq!(shared.read().probes_confirmed, 20);
        assert_eq!(shared.read().drops.get(DropReason::Malformed), 0);
        assert_eq!(shared.read().drops.get(DropReason::Vlan), 2);
        assert_eq!(shared.read().drops.total(), 2 * tally.drops.total());
        assert_eq!(shared.read().drops.iter().count(), DropReason::ALL.len());
    }
}
