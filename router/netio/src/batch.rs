//! Many datagrams with one system call: `recvmmsg` and `sendmmsg`, and many in one of their messages
//! (`UDP_SEGMENT`, `UDP_GRO`).
//!
//! Both batches own their buffers, made once; filling, sending and receiving allocate nothing. Memory of a
//! buffer is touched, and so resident, only as far as datagrams have filled it.

mod name;
mod recv;
mod send;

pub use recv::RecvBatch;
pub use send::SendBatch;

/// The most messages that one batch holds. More bring little: the cost of a call is spread already.
pub const MAX_BATCH: usize = 64;

const EMPTY_IOVEC: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };

const EMPTY_MESSAGE: libc::mmsghdr = libc::mmsghdr {
    msg_hdr: libc::msghdr {
        msg_name: std::ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: std::ptr::null_mut(),
        msg_iovlen: 0,
        msg_control: std::ptr::null_mut(),
        msg_controllen: 0,
        msg_flags: 0,
    },
    msg_len: 0,
};

/// A control message of at most eight bytes, as the kernel lays it out: `struct cmsghdr` (16 bytes on 64-bit
/// machines) and its value. Words, so that it is aligned as the kernel demands.
type Control = [u64; 3];

const EMPTY_CONTROL: Control = [0; 3];

/// The length of a control message's header: its length (`size_t`), level and type (`int` each).
const CONTROL_HEADER: usize = 16;

// `Control` is laid out by hand for machines with 64-bit words.
const _: () = assert!(size_of::<libc::cmsghdr>() == CONTROL_HEADER);
