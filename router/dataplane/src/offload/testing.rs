//! Frames for tests, made and judged independently of the code under test.

use weft_netio::tap::VNET_HEADER_LEN;

use super::Header;

/// A kind of flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Flow {
    v6: bool,
    tcp: bool,
    /// IPv4 options, IPv6 hop-by-hop options, TCP options, each of 12 or 8 bytes.
    options: bool,
}

impl Flow {
    pub(crate) const TCP4: Flow = Flow { v6: false, tcp: true, options: false };
    pub(crate) const TCP6: Flow = Flow { v6: true, tcp: true, options: false };
    pub(crate) const UDP4: Flow = Flow { v6: false, tcp: false, options: false };

    pub(crate) fn all() -> Vec<Flow> {
        let both = [false, true];
        let kinds = both.into_iter().flat_map(|v6| both.map(|tcp| (v6, tcp)));
        kinds.flat_map(|(v6, tcp)| both.map(|options| Flow { v6, tcp, options })).collect()
    }

    /// Whether successive frames differ.
    pub(crate) fn counts(self) -> bool {
        self.tcp || !self.v6
    }

    pub(crate) fn flags_at(self) -> usize {
        self.l4() + 13
    }

    fn l4(self) -> usize {
        14 + if self.v6 { 40 } else { 20 } + if self.options { 8 } else { 0 }
    }

    fn header_len(self) -> usize {
        self.l4() + if !self.tcp { 8 } else { 20 + if self.options { 12 } else { 0 } }
    }

    /// The virtio-net header of one frame with an open checksum.
    pub(crate) fn open_header(self) -> Header {
        let [l4, offset] = [self.l4(), if self.tcp { 16 } else { 6 }];
        [1, 0, 0, 0, 0, 0, u8::try_from(l4).unwrap(), 0, offset.try_into().unwrap(), 0]
    }

    pub(crate) fn super_frame(self, len: usize, size: usize) -> (Header, Vec<u8>) {
        self.super_frame_at(len, size, 0)
    }

    /// A super-frame with `len` bytes of content, which is `offset` bytes into the stream.
    pub(crate) fn super_frame_at(
        self,
        len: usize,
        size: usize,
        offset: usize,
    ) -> (Header, Vec<u8>) {
        let mut header = self.open_header();
        header[1] = match (self.tcp, self.v6) {
            (true, false) => 1,
            (true, true) => 4,
            (false, _) => 5,
        };
        header[2..4].copy_from_slice(&u16::try_from(self.header_len()).unwrap().to_le_bytes());
        header[4..6].copy_from_slice(&u16::try_from(size).unwrap().to_le_bytes());
        let mut frame = vec![0x0a, 0x58, 10, 40, 0, 1, 0x0a, 0x58, 10, 32, 0, 1];
        let protocol = if self.tcp { 6 } else { 17 };
        let l4_len = u16::try_from(self.header_len() - self.l4() + len).unwrap();
        let options = if self.options { 8_u16 } else { 0 };
        let addresses = if self.v6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend((l4_len + options).to_be_bytes());
            frame.extend([if self.options { 0 } else { protocol }, 64]);
            [[0xfd, 0], [0xfe, 0x80]].map(|start| [&start[..], &[7; 14]].concat()).concat()
        } else {
            frame.extend([0x08, 0, if self.options { 0x47 } else { 0x45 }, 0]);
            frame.extend((20 + options + l4_len).to_be_bytes());
            // An identification that wraps round, "don't fragment" off.
            frame.extend([0xff, 0xfe, 0, 0, 64, protocol, 0, 0]);
            vec![10, 32, 0, 1, 10, 40, 0, 1]
        };
        frame.extend(&addresses);
        if self.options {
            let next = if self.v6 { protocol } else { 1 };
            frame.extend([next, if self.v6 { 0 } else { 1 }, 1, 4, 0, 0, 0, 0]);
        }
        if !self.v6 {
            let sum = !sum(&frame[14..], 0);
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        let pseudo = sum(&addresses, u32::from(protocol) + u32::from(l4_len));
        frame.extend([0x12, 0x34, 0x56, 0x78]);
        if self.tcp {
            let sequence = (u32::MAX - 5000).wrapping_add(u32::try_from(offset).unwrap());
            frame.extend(sequence.to_be_bytes());
            frame.extend([1, 2, 3, 4, if self.options { 0x80 } else { 0x50 }, 0x10, 0xff, 0]);
            frame.extend(pseudo.to_be_bytes());
            frame.extend([0, 0]);
            if self.options {
                frame.extend([1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8]);
            }
        } else {
            frame.extend(l4_len.to_be_bytes());
            frame.extend(pseudo.to_be_bytes());
        }
        frame.extend((offset..offset + len).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]));
        (header, frame)
    }
}

/// Does what a kernel does with an open checksum.
pub(crate) fn complete(header: Header, frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let [start, offset] =
        [6, 8].map(|at| usize::from(header[at]) + (usize::from(header[at + 1]) << 8));
    let sum = !sum(&frame[start..], 0);
    frame[start + offset..][..2].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(header.len(), VNET_HEADER_LEN);
    frame
}

/// Whether the transport checksum of a frame with IPv4, or IPv6, is right.
pub(crate) fn checksum_right(frame: &[u8]) -> bool {
    let v6 = frame[12] == 0x86;
    let (addresses, mut protocol, mut l4) = match v6 {
        true => (&frame[22..54], frame[20], 54),
        false => (&frame[26..34], frame[23], 14 + usize::from(frame[14] & 15) * 4),
    };
    if v6 && protocol == 0 {
        (protocol, l4) = (frame[54], 62);
    }
    let len = u32::try_from(frame.len() - l4).unwrap();
    sum(&frame[l4..], u32::from(sum(addresses, u32::from(protocol) + len))) == 0xffff
}

fn sum(bytes: &[u8], start: u32) -> u16 {
    let mut sum = start;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum & 0xffff).unwrap() + u16::try_from(sum >> 16).unwrap()
}
