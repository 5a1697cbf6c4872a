//! Counters. They only grow; the shell exports them.

/// What a [`crate::Node`] has counted since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Messages handed to [`crate::Node::handle_message`].
    pub messages_received: u64,
    /// Messages that left by [`crate::Node::poll_transmit`].
    pub messages_sent: u64,
    /// Bytes of those.
    pub bytes_sent: u64,
    /// Messages that were refused whole: too long, malformed, against the protocol, or not from a
    /// neighbour.
    pub messages_refused: u64,
    /// Messages of a type that this software does not know. They are ignored.
    pub messages_unknown: u64,
    /// Records taken over from others.
    pub records_merged: u64,
    /// Records that came and said nothing new. High against `records_merged`: pushes are redundant.
    pub records_stale: u64,
    /// Records that were malformed, over a limit, or not signed by their origin. Someone is broken
    /// or hostile.
    pub records_refused: u64,
    /// Records for which there was no room ([`crate::limits`]).
    pub records_no_room: u64,
    /// Records with a good signature and bad content: kept out of the views, passed on.
    pub records_quarantined: u64,
    /// Records taken over whose kind this software does not know.
    pub records_unknown_kind: u64,
    /// Times that equal watermarks with different content made an origin be exchanged from the start.
    pub repairs: u64,
    /// Rounds of anti-entropy that found both sides equal.
    pub rounds_equal: u64,
    /// Rounds of anti-entropy that found a difference.
    pub rounds_different: u64,
    /// Own records from another life that others held: this node's disk has lost writes.
    pub rollbacks: u64,
}
