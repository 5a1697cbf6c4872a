//! What the ring says to other nodes and to the disk: plain integers, judged by [`super::validate`].

use bincode::{Decode, Encode};

/// A node's name as it stands in records.
pub type RawName = [u8; 32];

/// The name of a ring: nodes of different rings never take each other's claims into account.
pub type RingId = [u8; 16];

/// A range of addresses as configured. Addresses are IPv6 numbers; an IPv4 address is its
/// IPv4-mapped form `::ffff:a.b.c.d` (RFC 4291, 2.5.5.2), the prefix length is the family's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct RawRange {
    /// The first address.
    pub start: u128,
    /// The prefix length: up to 32 for IPv4, up to 128 for IPv6.
    pub prefix_len: u8,
}

/// Consecutive addresses with one owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Span {
    /// The first address.
    pub start: u128,
    /// The last address.
    pub end: u128,
    /// How often these addresses changed hands, at least. Along the history of one address it only
    /// grows, and each change of owner makes it grow.
    pub version: u64,
}

/// Addresses on their way to a new owner: no longer the granter's, not yet taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Grant {
    /// Counts the grants of one granter, from 1, and never repeats.
    pub number: u64,
    /// The new owner.
    pub to: RawName,
    /// The addresses, with the version they have in the new owner's hands.
    pub span: Span,
    /// While a removal is pending: the node whose [`Ack`] says that it held these addresses. They
    /// stay valid if that one's word counts in the end. Else the granter.
    pub root: RawName,
}

/// What a node says about its own space. One record per node, each newer one replaces the older.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Space {
    /// Grows with every change of this record.
    pub revision: u64,
    /// The ring that this node is part of; all zero while it is in none.
    pub ring: RingId,
    /// Whether this node made the ring only because nobody told it to whom to turn, and neither
    /// used nor gave away anything of it so far. Never true again once it was false.
    pub tentative: bool,
    /// The ranges this node was configured with, in order.
    pub ranges: Vec<RawRange>,
    /// What the writer has acknowledged and what it has completed of removals; all zero before the
    /// first. Space changes hands only between nodes of the same view.
    pub view: ViewId,
    /// Whether this node is about to leave: it hands its space over and asks for none. Once true, never
    /// false.
    pub leaving: bool,
    /// Whether this node gave up its space for ever, and grants to it: once true, never false.
    pub left: bool,
    /// With `left`: the removals that were completed by the writer's word among others, which others may
    /// not have completed yet. Sorted, without repetition.
    pub last_word: Vec<ShortName>,
    /// What it owns: sorted, disjoint.
    pub owned: Vec<Span>,
    /// What it gave away and was not yet seen to be taken over: sorted by number.
    pub grants: Vec<Grant>,
    /// For each granter, sorted by name: the highest number of a grant that was taken over.
    pub accepted: Vec<(RawName, u64)>,
    /// The number that the next grant will carry.
    pub next_grant: u64,
    /// The ring that this node is on its way to, while it is in none and had one before; all zero
    /// otherwise.
    pub joins: RingId,
    /// Addresses in use that this node brought from the ring it was in before, and that are not its own
    /// in this one yet: first and last, sorted, disjoint. Their owners are asked for them by this.
    pub kept: Vec<(u128, u128)>,
    /// The words on rings that become one that this node said or went along with.
    pub heals: Vec<Heal>,
    /// What others ask for by name and cannot have. It follows from the rest, and means nothing on disk.
    pub refused: Vec<Refusal>,
    /// Addresses free for use, for each range in order; at most `u64::MAX`. Told with a delay.
    pub free: Vec<u64>,
    /// Addresses of the first range in use. Told with a delay.
    pub active: u64,
}

/// What a node asks of another: addresses.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Want {
    /// Differs between any two wants of one node, so that each is served at most once.
    pub seq: u64,
    /// Who is asked.
    pub donor: RawName,
    /// For which ranges how much.
    pub ranges: Vec<RangeWant>,
}

/// The part of a [`Want`] about one range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RangeWant {
    /// The range, by its place in [`Space::ranges`].
    pub range: u8,
    /// How many addresses would be welcome.
    pub count: u64,
    /// Whether somebody waits for an address, so that the donor shall give its last one if need be.
    pub urgent: bool,
    /// The first and the last address of the part that they must be from; one and the same to have
    /// exactly that address. `None` for any of the range.
    pub within: Option<(u128, u128)>,
}

/// The word that two rings are to become one: all nodes of `from` move to `into`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Heal {
    /// The ring that is given up: the one with the higher name.
    pub from: RingId,
    /// The ring that stays.
    pub into: RingId,
    /// On which node somebody asked for it.
    pub by: RawName,
    /// When, seconds since the Unix epoch; for people.
    pub at: u64,
}

/// A donor's word that what a [`Want`] asks for by name cannot be had from it now.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Refusal {
    /// Who asked.
    pub to: RawName,
    /// By which want; 0 for what stands in [`Space::kept`].
    pub seq: u64,
    /// The first address asked for.
    pub start: u128,
    /// The last address asked for.
    pub end: u128,
    /// Who uses the address on the writer's node, for people; empty where a part of a range was asked for.
    pub holder: String,
}

/// The name of a state of removals: who is removed, and by whose word.
pub type ViewId = [u8; 16];

/// The first eight bytes of a node's name: enough to tell the members of one cluster apart.
pub type ShortName = [u8; 8];

/// The word that a node is removed from the ring.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Tombstone {
    /// Who is removed.
    pub name: RawName,
    /// On which node somebody asked for it.
    pub by: RawName,
    /// When, seconds since the Unix epoch; for people.
    pub at: u64,
    /// Whether the node did not answer when another removal waited for it, and was removed by force.
    pub forced: bool,
}

/// The weight of a verdict on who is removed: of two, the greater one prevails. It grows with each
/// removal that is added to a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Weight {
    /// How many are removed.
    pub removed: u32,
    /// How many owners acknowledged.
    pub members: u32,
    /// A hash of what they said.
    pub id: ViewId,
}

/// An owner's word on removals: from here on it takes nothing over from the removed, nor from anyone
/// who has not said the same; and this is what it held at that moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Ack {
    /// Of which ring: the writer's, or the one that it looks at while it is in none.
    pub ring: RingId,
    /// All that are removed from the ring as far as the writer goes along, by name.
    pub removed: Vec<Tombstone>,
    /// The weight of what the writer had completed.
    pub after: Weight,
    /// Whether the writer gave way since, and gave up everything: it acknowledges nothing by this.
    pub resigned: bool,
    /// The owners that the writer knows, itself included, sorted.
    pub known: Vec<ShortName>,
    /// The writer's space at the moment of the acknowledgement.
    pub space: Space,
}

/// A node's word that removals are complete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct View {
    /// Of which ring.
    pub ring: RingId,
    /// The weight of the verdict.
    pub weight: Weight,
    /// Who is removed, by name.
    pub removed: Vec<Tombstone>,
    /// By whose word: the owners that acknowledged it, sorted.
    pub members: Vec<ShortName>,
    /// The writer's own acknowledgement, if it is one of them.
    pub ack: Option<Ack>,
}

/// What must survive a crash of removals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct SavedRemovals {
    /// All removals this node goes along with.
    pub removed: Vec<Tombstone>,
    /// What of them is completed.
    pub done: Option<View>,
    /// The acknowledgement of those that are not.
    pub pending: Option<Ack>,
    /// Addresses taken over since the pending acknowledgement: first, last, root of the grant.
    pub foreign: Vec<(u128, u128, RawName)>,
    /// The same for former acknowledgements, with the names of the sets of removals they were about.
    pub older_foreign: Vec<(ViewId, (u128, u128, RawName))>,
    /// What is void by what was completed, and waits for the judgement of the acknowledgement, with its
    /// root.
    pub resting: Vec<(Span, RawName)>,
    /// The same that was in flight.
    pub resting_grants: Vec<Grant>,
    /// All owners ever heard of.
    pub known: Vec<RawName>,
    /// The word by which this node itself is out.
    pub out: Option<Tombstone>,
    /// The ring that these are about; zero for none.
    pub ring: RingId,
    /// The same of other rings, which a node in no ring looked at before.
    pub parked: Vec<ParkedRemovals>,
}

/// What a node in no ring went along with in a ring that it does not look at any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct ParkedRemovals {
    /// Which ring.
    pub ring: RingId,
    /// All removals this node goes along with there.
    pub removed: Vec<Tombstone>,
    /// What of them is completed.
    pub done: Option<View>,
    /// The acknowledgement of those that are not.
    pub pending: Option<Ack>,
    /// All owners ever heard of there.
    pub known: Vec<RawName>,
}

/// A ballot of the consensus about the founders: rounds first, names break ties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Ballot {
    /// The round, from 1; 0 means none.
    pub round: u64,
    /// The proposer.
    pub by: RawName,
}

/// The value that the consensus decides: who founds the ring.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Founding {
    /// The founders: sorted, without repetition.
    pub founders: Vec<RawName>,
    /// Makes the ring's name differ from that of any other ring of the same founders.
    pub nonce: [u8; 16],
}

/// A node's part in the single-decree consensus (Paxos) about the founders: it is acceptor always,
/// and proposer of the ballots that carry its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Paxos {
    /// How many nodes this one believes take part at least; a majority of that decides.
    pub electorate: u32,
    /// The highest ballot promised or accepted: nothing below it will be accepted.
    pub promised: Ballot,
    /// The highest ballot accepted, with its value.
    pub accepted: Option<(Ballot, Founding)>,
}

/// Everything of the ring and the allocator that must survive a crash.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum IpamSnapshot {
    /// The first form. Never changes; a second form becomes a second variant.
    V1(SnapshotV1),
}

/// What changed since an [`IpamSnapshot`] or the change before. As large as what changed, however
/// much is held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct IpamChange {
    /// All but who holds what, where that changed: a snapshot that lists no addresses.
    pub rest: Option<IpamSnapshot>,
    /// Owners, and which addresses they hold: none if they hold nothing any more.
    pub held: Vec<(String, Vec<u128>)>,
    /// Addresses, and whether they cool.
    pub cooling: Vec<(u128, bool)>,
}

/// The first form of [`IpamSnapshot`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct SnapshotV1 {
    /// The own record as last published or about to be; its `free` and `active` mean nothing here.
    pub space: Space,
    /// Who holds which addresses here: key, addresses.
    pub allocations: Vec<(String, Vec<u128>)>,
    /// Addresses that were freed lately.
    pub cooling: Vec<u128>,
    /// For each asker: its want that was served last.
    pub served: Vec<(RawName, u64)>,
    /// The number of the last own want.
    pub want_seq: u64,
    /// Whether the own share of a ring founded by several was claimed: it is claimed only once.
    pub founded: bool,
    /// The own part in the consensus, where it took part.
    pub paxos: Option<Paxos>,
    /// Removals.
    pub removals: SavedRemovals,
}
