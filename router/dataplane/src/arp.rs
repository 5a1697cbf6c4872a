//! ARP (RFC 826) for IPv4 over Ethernet.

use std::net::Ipv4Addr;

use crate::frame::{ETHERNET_LEN, ethertype, part};
use crate::{Mac, mac_for};

/// The length of an ARP packet for IPv4 over Ethernet, in bytes.
const ARP_LEN: usize = 28;
/// The length of an answer's frame, in bytes.
pub(crate) const ANSWER_LEN: usize = ETHERNET_LEN + ARP_LEN;

/// Hardware type Ethernet, protocol type IPv4, and the lengths of their addresses.
const FORM: [u8; 6] = [0, 1, 8, 0, 6, 4];
const REQUEST: u16 = 1;
const REPLY: u16 = 2;

/// An ARP packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Arp {
    pub(crate) operation: Operation,
    pub(crate) sender_mac: Mac,
    pub(crate) sender: Ipv4Addr,
    pub(crate) target: Ipv4Addr,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operation {
    Request,
    Reply,
}

impl Arp {
    /// Reads the payload of an ARP frame; `None` for anything but a request or reply for IPv4 over Ethernet.
    pub(crate) fn parse(packet: &[u8]) -> Option<Self> {
        let packet = packet.first_chunk::<ARP_LEN>()?;
        if !packet.starts_with(&FORM) {
            return None;
        }
        let operation = match u16::from_be_bytes(part(packet, 6)?) {
            REQUEST => Operation::Request,
            REPLY => Operation::Reply,
            _ => return None,
        };
        Some(Self {
            operation,
            sender_mac: Mac::new(part(packet, 8)?),
            sender: Ipv4Addr::from(part::<4>(packet, 14)?),
            target: Ipv4Addr::from(part::<4>(packet, 24)?),
        })
    }
}

/// A question of a local Pod for the MAC of a remote one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArpRequest {
    /// Who asks: the answer goes there.
    pub asker_mac: Mac,
    /// The asker's address; unspecified when it only checks that nobody has the target (RFC 5227).
    pub asker: Ipv4Addr,
    /// The address asked for.
    pub target: Ipv4Addr,
}

impl ArpRequest {
    /// The answer as an Ethernet frame: the target is at the MAC derived from it.
    pub fn answer(&self) -> [u8; ANSWER_LEN] {
        let mac = mac_for(self.target.into());
        let mut frame = [0; ANSWER_LEN];
        let parts: [&[u8]; 9] = [
            &self.asker_mac.octets(),
            &mac.octets(),
            &ethertype::ARP.to_be_bytes(),
            &FORM,
            &REPLY.to_be_bytes(),
            &mac.octets(),
            &self.target.octets(),
            &self.asker_mac.octets(),
            &self.asker.octets(),
        ];
        for (place, byte) in frame.iter_mut().zip(parts.into_iter().flatten()) {
            *place = *byte;
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_the_bytes_of_rfc_826() {
        let request = ArpRequest {
            asker_mac: Mac::new([0x0a, 0x58, 10, 32, 0, 1]),
            asker: Ipv4Addr::new(10, 32, 0, 1),
            target: Ipv4Addr::new(10, 40, 0, 2),
        };
        let expected = [
            0x0a, 0x58, 10, 32, 0, 1, // to the asker
            0x0a, 0x58, 10, 40, 0, 2, // from the target's own MAC
            0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 2, // ARP, Ethernet, IPv4, lengths, reply
            0x0a, 0x58, 10, 40, 0, 2, 10, 40, 0, 2, // sender
            0x0a, 0x58, 10, 32, 0, 1, 10, 32, 0, 1, // target
        ];
        assert_eq!(request.answer(), expected);
        let read = Arp::parse(&expected[ETHERNET_LEN..]).unwrap();
        assert_eq!(
            (read.operation, read.sender, read.target),
            (Operation::Reply, request.target, request.asker)
        );
    }

    #[test]
    fn other_forms_of_arp_are_not_understood() {
        let answer = ArpRequest {
            asker_mac: Mac::new([2; 6]),
            asker: Ipv4Addr::LOCALHOST,
            target: Ipv4Addr::LOCALHOST,
        }
        .answer();
        let packet = &answer[ETHERNET_LEN..];
        assert!(Arp::parse(packet).is_some());
        assert_eq!(Arp::parse(&packet[..ARP_LEN - 1]), None);
        // Hardware type, protocol type, lengths, operation.
        for at in 0..8 {
            let mut other = packet.to_vec();
            other[at] ^= 0x10;
            assert_eq!(Arp::parse(&other), None, "byte {at}");
        }
    }
}
