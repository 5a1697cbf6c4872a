//! Every bound of the crate, each with its reason. Reaching one is counted in [`crate::Stats`].

use std::time::Duration;

/// The longest message between two nodes, bytes. One QUIC stream carries the messages of a link in
/// turn, so this also bounds how long a small one waits behind a large one.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// What the records of one message may take, bytes: [`MAX_MESSAGE`] less room for what surrounds
/// them.
pub(crate) const MESSAGE_BUDGET: usize = MAX_MESSAGE - 4 * 1024;

/// Messages that answer one digest. What is left over waits for the next round, so that a stranger's
/// empty digest costs a bounded amount of work and memory.
pub(crate) const MAX_REPLY_MESSAGES: usize = 16;

/// The longest name in a key, bytes. The kinds of this version use empty names; `namespace/name` of
/// Kubernetes would need two times 63 and is hashed by its writer if longer.
pub const MAX_NAME: usize = 64;

/// The longest value of a record, bytes: the largest acknowledgement of removals, which carries a
/// whole space record, and one fits into a message.
pub const MAX_VALUE: usize = 40 * 1024;

/// Live keys, tombstones included, of one origin. The kinds of this version need five.
pub const MAX_RECORDS_PER_ORIGIN: usize = 256;

/// What the live records of one origin may take, bytes. The answer to one digest can carry all of
/// it, so that repair of an origin never starves.
pub const MAX_ORIGIN_BYTES: usize = 512 * 1024;

/// Origins a node knows. Ten thousand members are the largest cluster anyone hopes for.
pub const MAX_ORIGINS: usize = 16 * 1024;

/// What the whole store may take, bytes: holders of the cluster's secret can mint identities, and
/// must not be able to fill the memory of others with them.
pub const MAX_STORE_BYTES: usize = 64 * 1024 * 1024;

/// Entries of one digest message, each up to 51 bytes.
pub(crate) const MAX_DIGEST_ENTRIES: usize = 1000;

/// Links that one node may report. Each is a control connection; a full mesh of more is not built.
pub(crate) const MAX_LINKS: usize = 512;

/// The longest nickname and software version a node may report, bytes: a host name has at most 253.
pub(crate) const MAX_TEXT: usize = 256;

/// Addresses kept for one member as places to dial.
pub(crate) const MAX_CANDIDATES: usize = 8;

/// Neighbours up to which a new record is pushed to all of them. Beyond it [`PUSH_FANOUT`] of them
/// get it, and anti-entropy repairs what that misses.
pub(crate) const PUSH_TO_ALL: usize = 8;

/// Neighbours that a new record is pushed to in a larger cluster. With four, a rumour dies out
/// before reaching a given node with a probability of about two per cent.
pub(crate) const PUSH_FANOUT: usize = 4;

/// Versions reserved by one write of the snapshot: changes of links then cost no write of their
/// own.
pub(crate) const VERSION_BLOCK: u64 = 1000;

/// Time between two rounds of anti-entropy. With one neighbour per round an idle node sends some
/// 300 bytes per round and answers as many.
pub(crate) const SYNC_INTERVAL: Duration = Duration::from_secs(2);

/// How long changes of links are gathered before they are published: a start-up that connects to
/// twenty peers at once publishes a few records instead of twenty.
pub(crate) const LINKS_DELAY: Duration = Duration::from_millis(50);

/// How long after learning something by anti-entropy the other neighbours are compared with.
pub(crate) const RESYNC_DELAY: Duration = Duration::from_millis(100);
