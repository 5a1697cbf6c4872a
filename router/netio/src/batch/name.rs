//! Socket addresses as the kernel reads and writes them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::udp::unmapped;

/// `sizeof(struct sockaddr_in6)`, the larger of the two address forms.
pub(super) const NAME_LEN: usize = 28;
/// `sizeof(struct sockaddr_in)`.
pub(super) const NAME_LEN_V4: usize = 16;

/// A socket address as the kernel reads and writes it; copied bytewise, so alignment does not matter.
pub(super) type Name = [u8; NAME_LEN];

/// The length of an address form for the kernel.
pub(super) fn socklen(len: usize) -> libc::socklen_t {
    libc::socklen_t::try_from(len).unwrap_or(0)
}

/// Lays an address out as `struct sockaddr_in` or `struct sockaddr_in6`.
pub(super) fn encode(addr: SocketAddr) -> Name {
    let mut name = [0; NAME_LEN];
    match addr {
        SocketAddr::V4(v4) => {
            put(&mut name, 0, &family(libc::AF_INET));
            put(&mut name, 4, &v4.ip().octets());
        }
        SocketAddr::V6(v6) => {
            put(&mut name, 0, &family(libc::AF_INET6));
            put(&mut name, 4, &v6.flowinfo().to_be_bytes());
            put(&mut name, 8, &v6.ip().octets());
            put(&mut name, 24, &v6.scope_id().to_ne_bytes());
        }
    }
    put(&mut name, 2, &addr.port().to_be_bytes());
    name
}

/// Reads what the kernel laid out; an IPv4 address mapped into IPv6 comes back as IPv4.
pub(super) fn decode(name: &Name) -> SocketAddr {
    let port = u16::from_be_bytes(take(name, 2));
    if take(name, 0) == family(libc::AF_INET6) {
        let ip = Ipv6Addr::from(take::<16>(name, 8));
        let scope = u32::from_ne_bytes(take(name, 24));
        unmapped(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope)))
    } else {
        SocketAddr::new(Ipv4Addr::from(take::<4>(name, 4)).into(), port)
    }
}

/// An address family as the first field of an address.
fn family(family: libc::c_int) -> [u8; 2] {
    libc::sa_family_t::try_from(family).unwrap_or(0).to_ne_bytes()
}

fn put(name: &mut Name, at: usize, bytes: &[u8]) {
    if let Some(room) = name.get_mut(at..).and_then(|rest| rest.get_mut(..bytes.len())) {
        room.copy_from_slice(bytes);
    }
}

fn take<const N: usize>(name: &Name, at: usize) -> [u8; N] {
    name.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::udp::mapped_for;

    #[test]
    fn addresses_survive_the_kernel_form() {
        for text in ["192.0.2.1:6783", "[2001:db8::1]:1", "[fe80::1%7]:65535"] {
            let addr: SocketAddr = text.parse().unwrap();
            assert_eq!(decode(&encode(addr)), addr);
        }
        let v4: SocketAddr = "192.0.2.1:6783".parse().unwrap();
        let any: SocketAddr = "[::]:0".parse().unwrap();
        assert!(mapped_for(any, v4).is_ipv6());
        assert_eq!(decode(&encode(mapped_for(any, v4))), v4);
    }
}
