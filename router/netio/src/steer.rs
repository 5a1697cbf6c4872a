//! The filter that tells QUIC from data packets within one port, and spreads data packets over several sockets.

use std::io;
use std::num::NonZeroU8;
use std::os::fd::{AsFd, AsRawFd};

/// The bit of the first payload byte that QUIC sets ("fixed bit", RFC 9000 section 17) and Weft's own
/// packets keep clear.
const QUIC_BIT: u32 = 0x40;

/// Where a data packet has the index of its session: 32 bits that its receiver drew at random.
const SESSION: u32 = 4;

/// By what a socket is chosen for a data packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Steering {
    /// All packets of a session go to one socket.
    BySession,
    /// Packets go to a socket by the processor that the kernel receives them on: its number, divided by the number of
    /// sockets, leaves the socket's place.
    ByProcessor,
}

/// Puts a classic BPF programme on the `SO_REUSEPORT` group of `socket`, in the place of any former one: datagrams whose
/// first payload byte has [`QUIC_BIT`] go to the socket that was bound first, all others to the `data` ones behind
/// it.
///
/// An empty datagram goes to the first, since a load beyond the end makes the programme return 0; what is too short
/// to name a session goes to the second.
///
/// # Errors
/// What the kernel says; the former programme goes on.
pub fn steer(socket: &impl AsFd, data: NonZeroU8, steering: Steering) -> io::Result<()> {
    let chosen_by = match steering {
        Steering::BySession => SESSION,
        Steering::ByProcessor => (libc::SKF_AD_OFF + libc::SKF_AD_CPU).cast_unsigned(),
    };
    let mut programme = [
        // A = payload[0]; the kernel runs the filter with the UDP header already taken off.
        instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, 0)?,
        // if A & QUIC_BIT skip 0 else skip 1
        instruction(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 0, 1, QUIC_BIT)?,
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0)?,
        // if len >= SESSION + 4 skip 1 else skip 0
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_LEN, 0, 0, 0)?,
        instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 1, 0, SESSION + 4)?,
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 1)?,
        // A = session or processor, % data + 1
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, chosen_by)?,
        instruction(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, 0, 0, data.get().into())?,
        instruction(libc::BPF_ALU | libc::BPF_ADD | libc::BPF_K, 0, 0, 1)?,
        instruction(libc::BPF_RET | libc::BPF_A, 0, 0, 0)?,
    ];
    let filter = libc::sock_fprog {
        len: libc::c_ushort::try_from(programme.len()).map_err(io::Error::other)?,
        filter: programme.as_mut_ptr(),
    };
    let len = libc::socklen_t::try_from(size_of_val(&filter)).map_err(io::Error::other)?;
    // SAFETY: the kernel copies `len` bytes of `filter` and the `filter.len` instructions it points to;
    // both outlive the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const filter).cast(),
            len,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// One instruction; `yes` and `no` are how many instructions a jump skips.
fn instruction(code: u32, yes: u8, no: u8, operand: u32) -> io::Result<libc::sock_filter> {
    let code = u16::try_from(code).map_err(io::Error::other)?;
    Ok(libc::sock_filter { code, jt: yes, jf: no, k: operand })
}
