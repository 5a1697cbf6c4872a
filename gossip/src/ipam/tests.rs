//! Tests of the ring and the allocator.
