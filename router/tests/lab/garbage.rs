//! Datagrams that no member sent: counted, dropped, and nobody notices.

use std::net::{SocketAddr, UdpSocket};

use weft_netio::netns::Netns;

use crate::harness::{Lab, PATIENCE, eventually};

/// How many datagrams are thrown at the port.
const DATAGRAMS: u32 = 10_000;

/// First bytes that lead to different code: our packets, reserved bits, QUIC's long and short
/// headers.
const FIRST: [u8; 10] = [0x00, 0x01, 0x02, 0x3f, 0x40, 0x43, 0x80, 0xbf, 0xc0, 0xff];

/// Lengths around every boundary: nothing, the header, header and tag, a whole packet, the largest
/// datagram.
const LENGTHS: [usize; 16] =
    [0, 1, 7, 8, 15, 16, 17, 31, 32, 33, 64, 1199, 1200, 1452, 9_000, 65_507];

/// SplitMix64: the same bytes on every run.
struct Bytes(u64);

impl Bytes {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("below a usize")
    }

    fn datagram(&mut self) -> Vec<u8> {
        let length = match self.below(4) {
            0 => self.below(1500),
            _ => LENGTHS[self.below(LENGTHS.len())],
        };
        let mut datagram: Vec<u8> = (0..length).map(|_| self.next().to_le_bytes()[0]).collect();
        if let Some(first) = datagram.first_mut() {
            *first = FIRST[usize::from(*first) % FIRST.len()];
        }
        // Half of the data packets have a well-formed header, half of the long headers a version
        // that QUIC knows.
        if self.below(2) == 0 && length >= 16 {
            match datagram[0] {
                0x01 => datagram[1..4].fill(0),
                0xc0.. => datagram[1..5].copy_from_slice(&[0, 0, 0, 1]),
                _ => {}
            }
        }
        datagram
    }
}

/// Sends from a host without a daemon; answers how many the kernel took.
fn throw(lab: &Lab, from: usize, to: SocketAddr) -> u32 {
    let path = format!("/run/netns/{}", lab.namespace(from));
    let host = Netns::open(path.as_ref()).expect("the host is there");
    host.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        let mut bytes = Bytes(2);
        let mut sent = 0;
        for _ in 0..DATAGRAMS {
            // A full buffer refuses some; the receiver would have lost them as well.
            sent += u32::from(socket.send_to(&bytes.datagram(), to).is_ok());
        }
        sent
    })
    .expect("a thread in the host's namespace")
}

#[test]
fn garbage_on_the_port_is_counted_and_dropped() {
    let lab = Lab::up("garbage", 3);
    lab.launch(1, &["--ipalloc-init", "founder"]);
    lab.launch(2, &["h1"]);
    lab.pod(1, "a");
    let address = lab.pod(2, "a");
    lab.await_ping(1, "a", &address);
    let status = lab.status(1).expect("the daemon answers");
    let drops = |host| lab.metric(host, "weft_dataplane_drops_total").unwrap_or(0.0);
    let before = drops(1);

    let ping = lab.podspawn(1, "a", &["ping", "-n", "-i", "0.2", "-W", "1", &address]);
    let sent = throw(&lab, 3, SocketAddr::from(([10, 99, 0, 1], 6783)));
    assert!(sent > DATAGRAMS / 2, "only {sent} were sent");
    eventually("count of what was dropped", PATIENCE, || {
        let counted = drops(1) - before;
        // Four in ten first bytes are data packets; some datagrams are lost before they reach the
        // daemon.
        if counted > f64::from(sent) / 10.0 { Ok(()) } else { Err(format!("{counted} of {sent}")) }
    });
    lab.await_ping(1, "a", &address);
    let answers = ping.stop();
    assert!(answers.contains("bytes from"), "no ping passed meanwhile: {answers}");

    let after = lab.status(1).expect("the daemon is alive");
    assert_eq!(after["router"]["name"], status["router"]["name"]);
    assert_eq!(after["router"]["peers"], 2);
    assert_eq!(after["router"]["connections"]["established"], 1);
    let log = lab.log(1);
    assert!(!log.contains("panicked"), "{log}");
    assert!(log.lines().count() < 200, "garbage fills the log: {} lines", log.lines().count());
    lab.pod(1, "b");
    lab.ok(["kill", "1"]);
}
