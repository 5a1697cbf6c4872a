//! The bounds of the ring and the allocator, each with its reason.

use std::time::Duration;

/// Ranges of one cluster: one of each family.
pub(super) const MAX_RANGES: usize = 2;

/// Spans that one node may own, for a `Space` record to fit into [`crate::limits::MAX_VALUE`]: at
/// 35 bytes each at most 9 KiB.
pub(super) const MAX_OWNED: usize = 256;

/// Owned spans beyond which a node neither asks for more nor splits what it has: honest nodes stay
/// below [`MAX_OWNED`] even when all that was granted to them arrives at once.
pub(super) const MANY_OWNED: usize = 192;

/// Grants that one node may have in flight: at 116 bytes each at most 7 KiB.
pub(super) const MAX_GRANTS: usize = 64;

/// Granters that one node may have taken space over from in its life: at 41 bytes each 5 KiB.
pub(super) const MAX_GRANTERS: usize = 128;

/// Runs of addresses that a node may show as brought from another ring: at most 4 KiB. Further ones
/// follow when these are settled.
pub(super) const MAX_KEPT: usize = 128;

/// Words on rings that become one, in one record: at 72 bytes each about 1 KiB.
pub(super) const MAX_HEALS: usize = 16;

/// Refusals in one record: at most 7 KiB. Whoever is not among them waits a little longer.
pub(super) const MAX_REFUSED: usize = 32;

/// The longest text about who uses an address, bytes: a container's name and an interface's.
pub(super) const MAX_HOLDER: usize = 128;

/// Founders of one ring. More would not make the start faster, and every part in the consensus
/// carries the list.
pub(super) const MAX_FOUNDERS: usize = 16;

/// Participants of a consensus. A plain choice, far above any list of targets.
pub(super) const MAX_ELECTORATE: u32 = 4096;

/// Requests that may wait. Kubernetes runs at most a few hundred Pods on a node.
pub(super) const MAX_PENDING: usize = 4096;

/// Nodes that can be removed in the life of a ring: at 73 bytes each at most 14 KiB of an `Ack`, and at 32 bytes each
/// 6 KiB of the `Space` of a node that left.
pub(super) const MAX_REMOVED: usize = 192;

/// Owners that an `Ack` can name: at 8 bytes each 8 KiB.
pub(super) const MAX_KNOWN: usize = 1024;

/// How long a node waits for the donor it asked before it asks another one.
pub(super) const WANT_RETRY: Duration = Duration::from_secs(2);

/// How long it waits when it has asked everybody, before it starts over.
pub(super) const WANT_REST: Duration = Duration::from_secs(5);

/// How late a change of the counts that are only for display may be told, so that Pods that come
/// and go cost no gossip of their own.
pub(super) const ADVERT_DELAY: Duration = Duration::from_secs(10);

/// Addresses asked for at first: a /24 of IPv4.
pub(super) const FIRST_BLOCK_V4: u64 = 1 << 8;

/// Addresses asked for at first: a /112 of IPv6.
pub(super) const FIRST_BLOCK_V6: u64 = 1 << 16;

/// The most addresses asked for at once.
pub(super) const LARGEST_BLOCK: u64 = 1 << 20;

/// Free addresses below which a node asks for more, in ranges that are not tiny.
pub(super) const LOW_WATER: u128 = 16;

/// In a small range the low-water mark is this part of it, so that nodes do not hoard.
pub(super) const LOW_WATER_PART: u128 = 64;

/// How long what is known must stay the same before [`super::Init::Auto`] calls for a vote: a ring
/// that exists has that long to be heard of.
pub(super) const AUTO_GRACE: Duration = Duration::from_secs(3);

/// The shortest pause before a proposer that was not answered, or lost, tries a higher ballot.
pub(super) const BALLOT_RETRY: Duration = Duration::from_secs(2);
