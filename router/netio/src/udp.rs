//! The one UDP port of a daemon, shared by a socket for QUIC and sockets for data packets.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU8;
use std::os::fd::{AsFd, AsRawFd};

use socket2::{Domain, Protocol, Socket, Type};

use crate::steer::{Steering, steer};

/// The error number of a datagram that is longer than the path takes (`EMSGSIZE`).
pub const MESSAGE_TOO_LONG: i32 = libc::EMSGSIZE;

/// The kernel buffer asked for per socket and direction, in bytes: 20 ms at 3 Gbit/s, a plain choice.
const SOCKET_BUFFER: usize = 8 << 20;

/// How often port 0 is tried: between probing a free port and taking it, someone else may.
const FREE_PORT_TRIES: usize = 8;

/// The sockets of one port. The kernel steers each datagram by its first payload bytes.
#[derive(Debug)]
pub struct PortGroup {
    /// Gets datagrams whose first byte has the bit 0x40 set: QUIC.
    pub control: UdpSocket,
    /// Get all other datagrams: data packets. All packets of one session go to one of them, until [`steer`] says
    /// otherwise.
    pub data: Vec<UdpSocket>,
    /// What all are bound to, with the real port where port 0 was asked for.
    pub local: SocketAddr,
}

/// Why a port could not be bound. Nothing stays bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another socket has the port.
    #[error("UDP port {port} is in use: stop who uses it, or choose another with --port")]
    InUse {
        /// The port that was asked for.
        port: u16,
    },
    /// The process may not bind this port.
    #[error(
        "not permitted to bind UDP port {port}: choose one above 1023 with --port, or run as root"
    )]
    Denied {
        /// The port that was asked for.
        port: u16,
    },
    /// Any other failure.
    #[error("cannot bind {addr}: {step}: {source}")]
    Io {
        /// What was asked for.
        addr: SocketAddr,
        /// The step that failed.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Binds the sockets of one port, so many of them for data packets.
///
/// An unspecified address of either family means every address of both: `[::]` dual stack where the kernel
/// has IPv6, else `0.0.0.0`. Port 0 picks a free one. All sockets are non-blocking and set "don't fragment"
/// without heeding what ICMP says about the path (`IP_PMTUDISC_PROBE`).
///
/// # Errors
/// [`BindError::InUse`] also when the holder would share the port: a second daemon must not get half of the
/// first one's packets.
pub fn bind_group(addr: SocketAddr, data: NonZeroU8) -> Result<PortGroup, BindError> {
    let mut tries = if addr.port() == 0 { FREE_PORT_TRIES } else { 1 };
    loop {
        tries -= 1;
        match try_bind_group(addr, data) {
            Err(BindError::InUse { .. }) if tries > 0 => {}
            result => return result,
        }
    }
}

fn try_bind_group(addr: SocketAddr, data: NonZeroU8) -> Result<PortGroup, BindError> {
    // Sharing a port is refused only by a socket that does not share, so ask with such a one first.
    let probe = bind(addr, false)?;
    let taken = local_addr(&probe, addr)?;
    drop(probe);
    // The filter counts sockets in the order of binding.
    let control = bind(taken, true)?;
    let sockets = (0..data.get()).map(|_| bind(taken, true)).collect::<Result<Vec<_>, _>>()?;
    let failed = |step| move |source| BindError::Io { addr, step, source };
    steer(&control, data, Steering::BySession).map_err(failed("SO_ATTACH_REUSEPORT_CBPF"))?;
    for data in &sockets {
        tell_apart(&control, data, taken.is_ipv6()).map_err(failed("IP_TTL"))?;
    }
    let data = sockets.into_iter().map(UdpSocket::from).collect();
    Ok(PortGroup { local: taken, control: control.into(), data })
}

/// Gives data packets another hop limit than QUIC.
///
/// A receiving kernel joins datagrams of one flow (`UDP_GRO`) before it looks for their socket, and QUIC and data are
/// one flow to it: a QUIC packet could end a train of data packets and go to the wrong socket with it. It never joins
/// packets whose hop limits differ (Linux 6.9, and what was mended of older ones).
fn tell_apart(control: &Socket, data: &Socket, v6: bool) -> io::Result<()> {
    let other = |hops: u32| if hops < 255 { hops + 1 } else { hops - 1 };
    data.set_ttl_v4(other(control.ttl_v4()?))?;
    if v6 {
        data.set_unicast_hops_v6(other(control.unicast_hops_v6()?))?;
    }
    Ok(())
}

fn bind(addr: SocketAddr, shared: bool) -> Result<Socket, BindError> {
    let failed = |step: &'static str| {
        move |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { port: addr.port() },
            io::ErrorKind::PermissionDenied => BindError::Denied { port: addr.port() },
            _ => BindError::Io { addr, step, source },
        }
    };
    let any = addr.ip().is_unspecified();
    let v6 = addr.is_ipv6() || any;
    let domain = if v6 { Domain::IPV6 } else { Domain::IPV4 };
    let socket = match Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP)) {
        Err(error) if any && no_ipv6(&error) => return bind_v4_only(addr.port(), shared),
        other => other.map_err(failed("socket"))?,
    };
    let bound = if any { SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), addr.port()) } else { addr };
    if v6 {
        socket.set_only_v6(!any).map_err(failed("IPV6_V6ONLY"))?;
    }
    prepare(&socket, v6, shared).map_err(failed("setsockopt"))?;
    match socket.bind(&bound.into()) {
        Err(error) if any && no_ipv6(&error) => bind_v4_only(addr.port(), shared),
        other => other.map_err(failed("bind")).map(|()| socket),
    }
}

/// Binds every IPv4 address, for kernels without IPv6.
fn bind_v4_only(port: u16, shared: bool) -> Result<Socket, BindError> {
    let addr = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
    let failed = |step: &'static str| {
        move |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { port },
            io::ErrorKind::PermissionDenied => BindError::Denied { port },
            _ => BindError::Io { addr, step, source },
        }
    };
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking(), Some(Protocol::UDP))
        .map_err(failed("socket"))?;
    prepare(&socket, false, shared).map_err(failed("setsockopt"))?;
    socket.bind(&addr.into()).map_err(failed("bind"))?;
    Ok(socket)
}

fn no_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

/// Sets what must be set before binding.
fn prepare(socket: &Socket, v6: bool, shared: bool) -> io::Result<()> {
    if !shared {
        return Ok(());
    }
    socket.set_reuse_port(true)?;
    // Only a privileged process may exceed the system's limit; the other asks for what it may have.
    for (force, set) in [
        (libc::SO_RCVBUFFORCE, Socket::set_recv_buffer_size as fn(&Socket, usize) -> _),
        (libc::SO_SNDBUFFORCE, Socket::set_send_buffer_size),
    ] {
        let size = libc::c_int::try_from(SOCKET_BUFFER).unwrap_or(libc::c_int::MAX);
        if set_option(socket, libc::SOL_SOCKET, force, size).is_err() {
            set(socket, SOCKET_BUFFER)?;
        }
    }
    set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)?;
    if v6 {
        let (level, value) = (libc::IPPROTO_IPV6, libc::IPV6_PMTUDISC_PROBE);
        set_option(socket, level, libc::IPV6_MTU_DISCOVER, value)?;
    }
    Ok(())
}

/// Sets an option whose value is an `int`.
fn set_option(
    socket: &impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of_val(&value)).map_err(io::Error::other)?;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel reads `len` bytes of `value`, which outlives the call.
    match unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What the kernel does for a socket so that many datagrams cost one system call.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct UdpOffload {
    /// It cuts one message into equally long datagrams (`UDP_SEGMENT`, Linux 4.18).
    pub cut: bool,
    /// It hands over equally long datagrams of one sender as one message (`UDP_GRO`, Linux 5.0).
    pub join: bool,
}

/// Turns on for `socket` what the kernel has of [`UdpOffload`], and tells what that is.
///
/// From then on a read may yield many datagrams at once: read with [`crate::batch::RecvBatch`].
pub fn enable_offload(socket: &UdpSocket) -> UdpOffload {
    // Zero is the default, "cut nothing"; a kernel without the option refuses it.
    let cut = set_option(socket, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok();
    let join = set_option(socket, libc::SOL_UDP, libc::UDP_GRO, 1).is_ok();
    UdpOffload { cut, join }
}

fn local_addr(socket: &Socket, asked: SocketAddr) -> Result<SocketAddr, BindError> {
    let failed = |source| BindError::Io { addr: asked, step: "getsockname", source };
    let addr = socket.local_addr().map_err(failed)?;
    addr.as_socket()
        .ok_or_else(|| failed(io::Error::new(io::ErrorKind::InvalidData, "not an IP address")))
}

/// The address with an IPv4 address mapped into IPv6 turned back into IPv4.
pub fn unmapped(addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(v4.into(), addr.port()),
            None => addr,
        },
        IpAddr::V4(_) => addr,
    }
}

/// The address as a socket of the family of `local` wants it: IPv4 mapped into IPv6 for an IPv6 socket.
pub fn mapped_for(local: SocketAddr, addr: SocketAddr) -> SocketAddr {
    match (local, addr.ip()) {
        (SocketAddr::V6(_), IpAddr::V4(v4)) => {
            SocketAddr::new(v4.to_ipv6_mapped().into(), addr.port())
        }
        _ => addr,
    }
}
