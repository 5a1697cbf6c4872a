//! Every bound of the crate, each with its reason. Reaching one is counted in [`crate::Stats`].

use std::time::Duration;

/// The longest message between two nodes, bytes. One QUIC stream carries the messages of a link in
/// turn, so this also bounds how long a small one waits behind a large one.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// What the records of one message may take, bytes: [`MAX_MESSAGE`] less room for what surrounds
/// them.
pub(crate) const MESSAGE_BUDGET: usize = MAX_MESSAGE - 4 * 1024;

/// Messages that answer one digest. What is left over waits for the next round, so that a stranger's
/// empty digest costs a bounded amount of work and memory. [`MAX_ORIGIN_BYTES`] fit.
pub(crate) const MAX_REPLY_MESSAGES: usize = 72;

/// The longest name in a key, bytes. The kinds of this version use empty names, and two bytes for the
/// numbers of objects and Pods.
pub const MAX_NAME: usize = 64;

/// The longest value of a record, bytes: the largest acknowledgement of removals, which carries a
/// whole space record, and one fits into a message.
pub const MAX_VALUE: usize = 56 * 1024;

/// Live keys, tombstones included, of one origin: [`MAX_OBJECTS`], [`MAX_PODS`], and room for the kinds
/// that need one.
pub const MAX_RECORDS_PER_ORIGIN: usize = 8192;

/// What the live records of one origin may take, bytes. The answer to one digest can carry all of
/// it, so that repair of an origin never starves.
pub const MAX_ORIGIN_BYTES: usize = 4 * 1024 * 1024;

/// The longest body of an object, bytes: 500 rules with an address block each, and more. It and what
/// surrounds it fit into [`MAX_VALUE`].
pub const MAX_OBJECT: usize = 32 * 1024;

/// Objects of one writer that count, deletions included.
pub const MAX_OBJECTS: u16 = 4096;

/// What the objects of one writer may take, bytes. The rest of [`MAX_ORIGIN_BYTES`] is for its Pods.
pub const MAX_OBJECT_BYTES: usize = 2 * 1024 * 1024;

/// Pods that one node tells of: four times what Kubernetes calls large.
pub const MAX_PODS: u16 = 1024;

/// The longest value of a Pod's record, bytes; more than the labels of any real Pod. Most take 200.
pub const MAX_POD: usize = 8 * 1024;

/// Labels, and named ports, of one Pod.
pub(crate) const MAX_POD_ENTRIES: usize = 256;

/// Addresses of one Pod: one of each family, and what further interfaces have.
pub(crate) const MAX_POD_ADDRESSES: usize = 16;

/// How far ahead of a node's clock a stamp may be that it believes, milliseconds: a day covers a wrong
/// time zone and most slips.
pub(crate) const MAX_SKEW: u64 = 24 * 60 * 60 * 1000;

/// How far ahead a stamp must be for people to be told, milliseconds.
pub(crate) const SKEW_WORTH_A_WORD: u64 = 60 * 1000;

/// How long a deletion is kept at least, milliseconds: a week. A node that was cut off for longer may
/// bring the object back.
pub(crate) const DELETION_KEPT: u64 = 7 * 24 * 60 * 60 * 1000;

/// How long changes of others' objects are gathered before they are given to the disk.
pub(crate) const HEARD_OBJECTS_DELAY: Duration = Duration::from_secs(1);

/// The same of others' Pods, which change more often and matter less: gossip brings them back.
pub(crate) const HEARD_PODS_DELAY: Duration = Duration::from_secs(15);

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

/// Own records that wait for the disk, from which on one that is replaced waits no longer: so the queue
/// holds no more than this and one record per key, however long a disk is stuck. A plain choice, far
/// above what waits for a disk that works.
pub(crate) const MAX_STAGED: usize = 64;

/// Versions reserved by one write to the disk: changes of links then cost no write of their
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
