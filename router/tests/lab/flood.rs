//! A flood from strangers: handshakes that never end, from addresses that are not theirs, and noise in between.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};

use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};
use weft_crypto::{ClusterSecret, Identity, SERVER_NAME};

use crate::harness::{Lab, PATIENCE, eventually};
use crate::hostile::{Caller, endpoint, on_host};
use crate::paths::{pings, stall};

/// How many datagrams are sent, as fast as the machine can.
const DATAGRAMS: u32 = 60_000;

/// Different packets with which handshakes begin, each of which is replayed again and again.
const HANDSHAKES: usize = 1500;

/// Callers that do not know the secret.
const STRANGERS: u8 = 80;

const VICTIM: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 99, 0, 1), 6783);

/// The packets with which real handshakes begin, caught by a socket that never answers.
async fn first_packets() -> Vec<Vec<u8>> {
    let endpoint = endpoint(&Identity::from_seed([5; 32]));
    let trap = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    trap.set_nonblocking(true).expect("a socket can be told not to wait");
    let address = trap.local_addr().expect("an address");
    let trap = tokio::net::UdpSocket::from_std(trap).expect("a socket");
    let mut packets = Vec::new();
    let mut buffer = vec![0; 2048];
    while packets.len() < HANDSHAKES {
        let connecting = endpoint.connect(address, SERVER_NAME).expect("it can be dialled");
        let length = trap.recv(&mut buffer).await.expect("the first packet comes");
        packets.push(buffer[..length].to_vec());
        drop(connecting);
    }
    packets
}

/// A UDP datagram in an IPv4 packet (RFC 791, RFC 768), from whom one likes. No checksums: the kernel makes the one, the
/// other may be left out.
fn packet(source: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let udp_len = u16::try_from(payload.len() + 8).expect("a short datagram");
    let mut packet = vec![0x45, 0];
    packet.extend((udp_len + 20).to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend(source.ip().octets());
    packet.extend(to.ip().octets());
    for field in [source.port(), to.port(), udp_len, 0] {
        packet.extend(field.to_be_bytes());
    }
    packet.extend(payload);
    packet
}

/// Sends the flood; answers how many packets and bytes the kernel took.
fn flood(handshakes: &[Vec<u8>]) -> (u32, u64) {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255)));
    let socket = socket.expect("a raw socket: the test needs CAP_NET_RAW");
    let to = SocketAddr::V4(VICTIM).into();
    let (mut count, mut bytes) = (0, 0);
    for n in 0..DATAGRAMS {
        let [_, b, c, d] = n.to_be_bytes();
        // Networks that are not there: what is sent to them leaves the victim by its default route.
        let source = SocketAddrV4::new(Ipv4Addr::new(10, 98, c, d), 1024 + u16::from(b));
        let handshake = &handshakes[usize::try_from(n).expect("it fits") % handshakes.len()];
        let payload = match n % 8 {
            // Cut off, with bits flipped, and what nobody ever sent.
            0 => handshake[..usize::from(d) * 4].to_vec(),
            1 => handshake.iter().map(|byte| byte ^ d).collect(),
            2 => n.to_le_bytes().repeat(1 + usize::from(d)),
            3 => [1_u8, 0, 0, 0].iter().chain(&n.to_le_bytes().repeat(60)).copied().collect(),
            _ => handshake.clone(),
        };
        let packet = packet(source, VICTIM, &payload);
        if socket.send_to(&packet, &to).is_ok() {
            count += 1;
            bytes += u64::try_from(packet.len()).expect("it fits");
        }
    }
    (count, bytes)
}

/// What a host's interface has sent, bytes.
fn sent(lab: &Lab, host: usize) -> u64 {
    let listing = lab.exec(host, &["ip", "-json", "-statistics", "link", "show", "eth0"]).stdout;
    let links: Value = serde_json::from_str(&listing).expect("ip prints JSON");
    links[0]["stats64"]["tx"]["bytes"].as_u64().expect("a count")
}

/// The memory of a host's daemon, KiB.
fn resident(lab: &Lab, host: usize) -> u64 {
    let pid = std::fs::read_to_string(lab.host_dir(host).join("weft.pid")).expect("it runs");
    let pid = pid.split_whitespace().next().expect("a process");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn a_flood_of_handshakes_from_spoofed_addresses_costs_little_and_stops_nobody() {
    let lab = Lab::up("flood", 4);
    lab.launch(1, &["--ipalloc-init", "founder"]);
    lab.launch(2, &["h1"]);
    lab.pod(1, "a");
    let two = lab.pod(2, "a");
    lab.await_ping(1, "a", &two);
    let before = (resident(&lab, 1), sent(&lab, 1));
    let pings = pings(&lab, 1, "a", &two);

    let (count, bytes) = on_host(&lab, 3, async || flood(&first_packets().await));
    assert!(count > DATAGRAMS / 2, "the kernel took only {count}");
    // A caller with a real address is let in all the same, as soon as it has shown that.
    lab.launch(4, &["h1"]);
    eventually("a mesh of three", 2 * PATIENCE, || {
        let status = lab.status(1)?;
        if status["router"]["connections"]["established"] == 2 {
            Ok(())
        } else {
            Err(status.to_string())
        }
    });
    let after = (resident(&lab, 1), sent(&lab, 1));
    let grown = after.0.saturating_sub(before.0);
    let answered = after.1 - before.1;
    println!("{count} packets, {bytes} bytes; {grown} KiB more memory, {answered} bytes sent");
    assert!(grown < 64 << 10, "{grown} KiB more");
    assert!(answered < 3 * bytes, "{answered} bytes in answer to {bytes}");
    let counted = |name: &str| lab.metric(1, name).unwrap_or_default();
    assert!(counted("weft_handshakes_validated_total") > 100.0, "callers had to prove themselves");
    assert!(counted("weft_dataplane_drops_total") > 100.0, "noise is counted");

    let other = ClusterSecret::from_entropy([9; 32]);
    on_host(&lab, 3, async || {
        for n in 0..STRANGERS {
            let identity = Identity::from_seed([n; 32]);
            let endpoint = endpoint(&identity);
            let caller = Caller::admitted(&endpoint, VICTIM.into(), &identity, &other).await;
            assert!(caller.is_none(), "a stranger was let in");
        }
    });
    eventually("count of the strangers", PATIENCE, || {
        let count = counted("weft_admission_failures_total");
        if count >= f64::from(STRANGERS) { Ok(()) } else { Err(format!("{count}")) }
    });

    lab.await_ping(1, "a", &two);
    let (answers, longest) = stall(&pings.stop());
    println!("{answers} pings were answered, longest pause {longest:.2} s");
    assert!(answers > 10, "{answers} pings were answered");
    let log = lab.log(1);
    assert!(!log.contains("panicked"), "{log}");
    let ended = log.lines().find(|line| line.contains("disconnected") && line.contains("h2"));
    assert_eq!(ended, None, "an honest connection ended");
    assert!(log.lines().count() < 200, "the log is full of it: {} lines", log.lines().count());
}
