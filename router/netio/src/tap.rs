//! A TAP device with virtio-net headers.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::num::NonZeroU8;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

/// The length of the virtio-net header in front of every frame that is read or written, in bytes
/// (`struct virtio_net_hdr`, little-endian).
pub const VNET_HEADER_LEN: usize = 10;

/// Where the kernel hands out TUN and TAP devices.
const CLONE_DEVICE: &str = "/dev/net/tun";

/// A TAP device, or one queue of it. The device lives as long as any of its queues.
///
/// Reads and writes never block: where nothing can be done they fail with [`io::ErrorKind::WouldBlock`].
/// Each carries one frame: a [virtio-net header](VNET_HEADER_LEN), then the Ethernet frame. What the header of
/// a frame read may leave to be done, [`Tap::offload`] tells.
#[derive(Debug)]
pub struct Tap {
    file: File,
    name: String,
    ifindex: u32,
    offload: TapOffload,
}

/// What the kernel leaves undone in frames that it hands over, so that it is done once, late, or never.
///
/// A frame written may leave the same undone.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TapOffload {
    /// The checksums of TCP and UDP; without it nothing else.
    pub checksum: bool,
    /// Cutting TCP streams into segments, for IPv4 and IPv6.
    pub tcp: bool,
    /// Cutting UDP messages into datagrams, for IPv4 and IPv6 (Linux 6.2).
    pub udp: bool,
}

impl TapOffload {
    /// From most to least.
    const STEPS: [TapOffload; 4] = [
        TapOffload { checksum: true, tcp: true, udp: true },
        TapOffload { checksum: true, tcp: true, udp: false },
        TapOffload { checksum: true, tcp: false, udp: false },
        TapOffload { checksum: false, tcp: false, udp: false },
    ];

    /// The features as the kernel names them.
    fn features(self) -> libc::c_uint {
        let TapOffload { checksum, tcp, udp } = self;
        let tso = libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
        let parts =
            [(checksum, libc::TUN_F_CSUM), (tcp, tso), (udp, libc::TUN_F_USO4 | libc::TUN_F_USO6)];
        parts.into_iter().filter(|(on, _)| *on).fold(0, |features, (_, part)| features | part)
    }
}

/// Why a TAP device could not be made. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TapError {
    /// The name is empty, too long for the kernel (15 bytes), or has characters that no device name has.
    #[error("{name:?} cannot name a device: use 1 to 15 letters, digits, '-', '_' or '.'")]
    BadName {
        /// The name that was asked for.
        name: String,
    },
    /// A device of this name exists.
    #[error(
        "the device {name} exists already: another daemon uses it, or `ip link del {name}` removes it"
    )]
    Exists {
        /// The name that was asked for.
        name: String,
    },
    /// The kernel has no TUN/TAP support at hand.
    #[error(
        "no {CLONE_DEVICE}: load the kernel module (`modprobe tun`), or give the container the device"
    )]
    NoDriver,
    /// The process may not make devices.
    #[error("not permitted to make the device {name}: run as root or with CAP_NET_ADMIN")]
    Denied {
        /// The name that was asked for.
        name: String,
    },
    /// Any other failure.
    #[error("cannot make the device {name}: {step}: {source}")]
    Io {
        /// The name that was asked for.
        name: String,
        /// The system call that failed.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Tap {
    /// Makes the device `name` in the network namespace of the calling thread.
    ///
    /// The device is down and has no address; it vanishes when the value is dropped or the process dies. Of
    /// [`TapOffload`] it has as much as the kernel takes.
    ///
    /// # Errors
    /// See [`TapError`]; a name that is taken is never taken over.
    pub fn open(name: &str) -> Result<Tap, TapError> {
        Tap::open_as(name, libc::IFF_TUN_EXCL)
    }

    /// Makes the device `name` as [`Tap::open`] does, with so many queues: 1 to 256, which is the kernel's own limit.
    ///
    /// The kernel puts the frames of one flow into one queue, that from which the flow's other direction was written
    /// last (`tun_automq_select_queue`). Each queue reads and writes frames of its own.
    ///
    /// # Errors
    /// See [`TapError`]; a name that is taken is never taken over.
    pub fn open_queues(name: &str, queues: NonZeroU8) -> Result<Vec<Tap>, TapError> {
        if queues == NonZeroU8::MIN {
            return Ok(vec![Tap::open(name)?]);
        }
        let first = Tap::open_as(name, libc::IFF_TUN_EXCL | libc::IFF_MULTI_QUEUE)?;
        let others = (1..queues.get()).map(|_| Tap::open_as(name, libc::IFF_MULTI_QUEUE));
        std::iter::once(Ok(first)).chain(others).collect()
    }

    fn open_as(name: &str, flags: libc::c_int) -> Result<Tap, TapError> {
        let raw_name = device_name(name)?;
        let io_error = |step: &'static str| {
            move |source: io::Error| match source.raw_os_error() {
                Some(libc::EBUSY) => TapError::Exists { name: name.to_owned() },
                Some(libc::EPERM | libc::EACCES) => TapError::Denied { name: name.to_owned() },
                _ => TapError::Io { name: name.to_owned(), step, source },
            }
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(CLONE_DEVICE)
            .map_err(|source| match source.raw_os_error() {
                Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => TapError::NoDriver,
                _ => io_error("open")(source),
            })?;
        let fd = file.as_raw_fd();
        set_interface(fd, raw_name, flags).map_err(io_error("TUNSETIFF"))?;
        let header_len = libc::c_int::try_from(VNET_HEADER_LEN).unwrap_or(libc::c_int::MAX);
        set_header_len(fd, header_len).map_err(io_error("TUNSETVNETHDRSZ"))?;
        set_little_endian(fd).map_err(io_error("TUNSETVNETLE"))?;
        let taken = |offload: &TapOffload| set_offload(fd, offload.features().into()).is_ok();
        let offload = TapOffload::STEPS.into_iter().find(taken).unwrap_or_default();
        let ifindex = index_of(raw_name).map_err(io_error("if_nametoindex"))?;
        Ok(Tap { file, name: name.to_owned(), ifindex, offload })
    }

    /// What the kernel leaves undone in frames read, and may be left undone in frames written.
    pub fn offload(&self) -> TapOffload {
        self.offload
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The device's interface index in the namespace it was made in.
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// Reads one frame with its virtio-net header into `buf` and returns their length together.
    ///
    /// A frame longer than `buf` is cut short without notice, so give room for the longest.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when no frame waits; anything else means that the device is gone.
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        (&self.file).read(buf)
    }

    /// Writes one frame, with its virtio-net header in front, and returns the bytes taken.
    ///
    /// # Errors
    /// What the kernel says: `EIO` while the device is down, `EINVAL` for a frame or header that it refuses.
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        (&self.file).write(buf)
    }

    /// As [`Tap::send`], of a frame in several parts. The first has the virtio-net header.
    ///
    /// # Errors
    /// As [`Tap::send`]; `EINVAL` also for more parts than the kernel takes (1,024).
    pub fn send_parts(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        (&self.file).write_vectored(parts)
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Checks a device name and pads it with zero bytes as the kernel wants it.
fn device_name(name: &str) -> Result<[u8; libc::IFNAMSIZ], TapError> {
    let mut raw = [0; libc::IFNAMSIZ];
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    // The last byte stays zero, for the kernel reads a C string.
    match raw.get_mut(..name.len()) {
        Some(room)
            if (1..libc::IFNAMSIZ).contains(&name.len())
                && name.bytes().all(good)
                && name != "."
                && name != ".." =>
        {
            room.copy_from_slice(name.as_bytes());
            Ok(raw)
        }
        _ => Err(TapError::BadName { name: name.to_owned() }),
    }
}

/// `TUNSETIFF`: turns the descriptor into the TAP device `name`, or a queue of it, as the further `flags` say.
fn set_interface(fd: RawFd, name: [u8; libc::IFNAMSIZ], flags: libc::c_int) -> io::Result<()> {
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | flags;
    let mut request = libc::ifreq {
        ifr_name: name.map(u8::cast_signed).map(libc::c_char::from),
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            // The kernel reads the flags as 16 bits; `IFF_TUN_EXCL` is the highest of them.
            ifru_flags: u16::try_from(flags).map_err(io::Error::other)?.cast_signed(),
        },
    };
    // SAFETY: `request` is a whole `struct ifreq` that outlives the call, which is what this request reads
    // and writes.
    check(unsafe { libc::ioctl(fd, libc::TUNSETIFF, &raw mut request) })
}

/// `TUNSETVNETHDRSZ`: the length of the header in front of each frame.
fn set_header_len(fd: RawFd, len: libc::c_int) -> io::Result<()> {
    // SAFETY: this request reads one `int`, and `len` outlives the call.
    check(unsafe { libc::ioctl(fd, libc::TUNSETVNETHDRSZ, &raw const len) })
}

/// `TUNSETVNETLE`: header fields are little-endian whatever the machine is.
fn set_little_endian(fd: RawFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: this request reads one `int`, and `on` outlives the call.
    check(unsafe { libc::ioctl(fd, libc::TUNSETVNETLE, &raw const on) })
}

/// `TUNSETOFFLOAD`: which work (`TUN_F_*`) the kernel may leave undone in frames it hands over.
fn set_offload(fd: RawFd, features: libc::c_ulong) -> io::Result<()> {
    // SAFETY: this request takes its argument by value and touches no memory of ours.
    check(unsafe { libc::ioctl(fd, libc::TUNSETOFFLOAD, features) })
}

/// The interface index of `name` in the calling thread's namespace.
fn index_of(name: [u8; libc::IFNAMSIZ]) -> io::Result<u32> {
    // SAFETY: `device_name` leaves the last byte zero, so `name` is a C string that outlives the call.
    match unsafe { libc::if_nametoindex(name.as_ptr().cast()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// Turns the result of a system call into a `Result`.
fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_kernel_would_refuse_are_refused_here() {
        for name in ["", ".", "..", "a/b", "weft tap", "weft%d", "sixteen-letters-", "é"] {
            assert!(matches!(device_name(name), Err(TapError::BadName { .. })), "{name:?}");
        }
        for name in ["w", "weft-tap", "fifteen-letters", "v0.1_x"] {
            let raw = device_name(name).unwrap();
            assert_eq!(&raw[..name.len()], name.as_bytes());
            assert_eq!(raw[libc::IFNAMSIZ - 1], 0);
        }
    }
}
