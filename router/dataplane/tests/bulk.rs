//! Streams and datagrams of Pods through two running data planes: what arrives is what was sent, whatever the underlay
//! loses, repeats or reorders. Needs root, /dev/net/tun and the command `ip`.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod lab;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lab::{Host, Workers, hosts, hosts_with, ip, spec, spec_of, until};
use weft_crypto::Suite;
use weft_dataplane::{DropReason, Path, PathSize, PeerPath, Tables, pod_mtu};
use weft_netio::batch::{RecvBatch, SendBatch};
use weft_netio::netns::Netns;
use weft_netio::udp::enable_offload;
use weft_netio::wait::{Waker, readable_or_raised};

const MEGABYTE: usize = 1 << 20;
/// Set by `scripts/test --long`: a gigabyte instead of 64 MiB through a bad underlay.
const LONG: &str = "WEFT_BULK_LONG";

#[test]
fn streams_arrive_whole_and_in_large_pieces() {
    [Workers::One, Workers::BySession, Workers::ByProcessor].into_iter().for_each(streams);
}

fn streams(workers: Workers) {
    let [a, b] = hosts_with(workers);
    for (from, to, address) in [(&a, &b, b.v4), (&b, &a, a.v4), (&a, &b, b.v6), (&b, &a, a.v6)] {
        stream(from, to, address, 32 * MEGABYTE);
    }
    for host in [&a, &b] {
        let offload = host.dataplane.offload();
        assert!(offload.tap.tcp && offload.udp.cut && offload.udp.join, "{offload}");
        let counters = host.counters();
        assert!(counters.sent.bytes > 64 << 20, "{counters:?}");
        for reason in [DropReason::Offload, DropReason::TapFailed, DropReason::TooBig] {
            assert_eq!(counters.drops.get(reason), 0, "{reason:?}");
        }
    }
}

#[test]
fn loss_repetition_and_disorder_cost_no_byte() {
    let len = if std::env::var_os(LONG).is_some() { 128 * MEGABYTE } else { 8 * MEGABYTE };
    for suite in [Suite::ChaCha20Poly1305, Suite::Aes256Gcm] {
        let [a, b] = hosts();
        let (to_b, to_a) = (Nuisance::start(&b, &b), Nuisance::start(&b, &a));
        for (index, host, path) in [(0, &a, to_b.address), (1, &b, to_a.address)] {
            let mut underlays = [a.underlay, b.underlay];
            underlays[1 - index] = path;
            host.tables.store(Arc::new(Tables::new(spec_of(index, underlays, suite))));
        }
        for (from, to, address) in [(&a, &b, b.v4), (&b, &a, a.v4), (&a, &b, b.v6), (&b, &a, a.v6)]
        {
            stream(from, to, address, len);
        }
        for host in [&a, &b] {
            assert!(host.drops(DropReason::Replayed) > 0, "{suite}: nothing was repeated");
            assert_eq!(host.drops(DropReason::TapFailed), 0, "{suite}");
        }
    }
}

#[test]
fn underlays_of_other_sizes() {
    for underlay in [1280_u32, 1500, 9000] {
        let [a, b] = hosts();
        // Below what IPv6 needs there is IPv4 alone.
        let v4_overhead = 1500 - pod_mtu(1500, a.underlay.ip()).unwrap();
        let mtu = underlay - v4_overhead;
        for host in [&a, &b] {
            let set = || {
                ip(&format!("link set under mtu {underlay}"));
                ip(&format!("link set weft-tap mtu {mtu}"));
            };
            host.netns.run(set).unwrap();
        }
        stream(&a, &b, b.v4, 8 * MEGABYTE);
        stream(&b, &a, a.v4, 8 * MEGABYTE);
        if mtu >= 1280 {
            stream(&a, &b, b.v6, 8 * MEGABYTE);
        }
        a.ping(&format!("-c 1 -W 5 -M do -s {} {}", mtu - 28, b.v4));
        assert_eq!(a.drops(DropReason::TooBig) + b.drops(DropReason::TooBig), 0, "{underlay}");
    }
}

#[test]
fn datagrams_of_every_length() {
    let [a, b] = hosts();
    for (from, to) in [(a.v4, b.v4), (a.v6, b.v6)] {
        let sender = a.netns.run(|| UdpSocket::bind((from, 0)).unwrap()).unwrap();
        let receiver = b.netns.run(|| UdpSocket::bind((to, 0)).unwrap()).unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let to = receiver.local_addr().unwrap();
        // Beyond the MTU they go in fragments.
        let lens = (0..1500).chain([8000, 20_000, 65_000, 65_507]);
        for len in lens {
            let sent: Vec<u8> = (0..len).map(|at: usize| content(at + len)).collect();
            sender.send_to(&sent, to).unwrap();
            let mut received = vec![0; 65_536];
            let (len, _) = receiver.recv_from(&mut received).expect("arrives within 10 s");
            assert!(received[..len] == sent, "{} bytes", sent.len());
        }
    }
}

/// A Pod that hands its kernel whole trains of datagrams, to one that takes them so.
#[test]
fn trains_of_datagrams() {
    [Workers::One, Workers::BySession].into_iter().for_each(trains);
}

fn trains(workers: Workers) {
    let [a, b] = hosts_with(workers);
    for (from, to) in [(a.v4, b.v4), (a.v6, b.v6)] {
        let sender = a.netns.run(|| UdpSocket::bind((from, 0)).unwrap()).unwrap();
        let receiver = b.netns.run(|| UdpSocket::bind((to, 0)).unwrap()).unwrap();
        let offload = enable_offload(&receiver);
        let to = receiver.local_addr().unwrap();
        let mut send = SendBatch::new(1 << 17, sender.local_addr().unwrap(), offload.cut);
        let lens = [vec![1200; 40], vec![700; 30], vec![9], vec![64; 60]].concat();
        for (number, len) in (0..).zip(&lens) {
            send.room(*len).unwrap().fill(number);
            send.push(*len, to);
        }
        send.send(&sender, |error| panic!("{error}"));
        // By number: a thread that is moved to another processor between two calls leaves packets in the queues of
        // both, which the kernel empties in any order.
        let (mut seen, mut batch) = (BTreeMap::new(), RecvBatch::new(8, 65_536));
        let waker = Waker::new().unwrap();
        while seen.len() < lens.len() {
            readable_or_raised(&receiver, &waker).unwrap();
            batch.recv(&receiver).unwrap();
            for (_, datagram) in batch.datagrams() {
                let datagram = datagram.unwrap();
                let number = datagram[0];
                assert!(datagram.iter().all(|byte| *byte == number));
                assert!(seen.insert(number, datagram.len()).is_none(), "{number} came twice");
            }
        }
        assert!(seen.into_values().eq(lens));
    }
}

#[test]
fn a_thousand_peers() {
    let [a, b] = hosts();
    let mut crowded = spec(0, [a.underlay, b.underlay]);
    let sealer = Arc::clone(&crowded.peers[0].sealer);
    for number in 0..1000_u32 {
        let mut seed = [0xee; 32];
        seed[..4].copy_from_slice(&number.to_le_bytes());
        let name = weft_crypto::Identity::from_seed(seed).name();
        // To the discard port of the other host, where nobody listens.
        let path = SocketAddr::new(b.underlay.ip(), 9);
        crowded.peers.push(PeerPath {
            name,
            sealer: Arc::clone(&sealer),
            path: Path::Direct(path),
            size: PathSize::default(),
        });
    }
    a.tables.store(Arc::new(Tables::new(crowded)));
    stream(&a, &b, b.v4, 8 * MEGABYTE);
    let shout = a.netns.run(|| UdpSocket::bind((a.v4, 0)).unwrap()).unwrap();
    let before = a.counters().sent.packets;
    shout.send_to(b"hello", "239.1.2.3:9").unwrap();
    until("all have a copy", || a.counters().sent.packets >= before + 1001);
}

#[test]
fn a_peer_that_vanishes_under_load_holds_up_nobody() {
    let [a, b] = hosts();
    let socket = a.netns.run(|| UdpSocket::bind((a.v4, 0)).unwrap()).unwrap();
    a.ping(&format!("-c 1 -W 5 {}", b.v4));
    let target = SocketAddr::new(b.v4, 9);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = socket.send_to(&[0; 1000], target);
            }
        });
        until("there is load", || b.counters().received.packets > 1000);
        let Host { dataplane, .. } = b;
        dataplane.shutdown();
        let before = a.counters().sent.packets;
        until("the other goes on", || a.counters().sent.packets > before + 1000);
        stop.store(true, Ordering::Relaxed);
    });
    a.dataplane.shutdown();
}

/// Sends `len` bytes over TCP from one host to the other and compares them.
fn stream(from: &Host, to: &Host, address: IpAddr, len: usize) {
    let listener = to.netns.run(|| TcpListener::bind((address, 0)).unwrap()).unwrap();
    let target = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut sender = connect(&from.netns, target);
            let bytes: Vec<u8> = (0..len).map(content).collect();
            sender.write_all(&bytes).unwrap();
        });
        let (mut receiver, _) = listener.accept().unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut received = Vec::with_capacity(len);
        receiver.read_to_end(&mut received).expect("goes on within 20 s");
        let wrong = received.iter().enumerate().find(|(at, byte)| **byte != content(*at));
        assert_eq!(
            (received.len(), wrong),
            (len, None),
            "{:?} {:?}",
            from.counters(),
            to.counters()
        );
    });
}

fn connect(netns: &Netns, target: SocketAddr) -> TcpStream {
    netns.run(|| TcpStream::connect_timeout(&target, Duration::from_secs(10)).unwrap()).unwrap()
}

/// The byte at a place of a stream: repeats after a length that no segment has.
fn content(at: usize) -> u8 {
    let [a, b, c, d, ..] = at.to_le_bytes();
    a.wrapping_mul(31) ^ b.wrapping_mul(17) ^ c.wrapping_mul(7) ^ d.wrapping_mul(5)
}

/// Forwards datagrams badly: of a hundred it loses one, repeats one, and delays five behind their followers.
struct Nuisance {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Nuisance {
    fn start(at: &Host, to: &Host) -> Self {
        let socket = at.netns.run(|| UdpSocket::bind((at.underlay.ip(), 0)).unwrap()).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let (address, target) = (socket.local_addr().unwrap(), to.underlay);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut random = 0x2545_f491_4f6c_dd1d_u64;
            let mut held: Option<Vec<u8>> = None;
            let mut buffer = [0; 65_536];
            let send = |packet: &[u8]| drop(socket.send_to(packet, target));
            while !stopped.load(Ordering::Relaxed) {
                let len = socket.recv(&mut buffer).unwrap_or(0);
                let packet = &buffer[..len];
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                match random % 100 {
                    _ if packet.is_empty() => {}
                    0 => continue,
                    1 => [packet, packet].into_iter().for_each(send),
                    2..7 if held.is_none() => {
                        held = Some(packet.to_vec());
                        continue;
                    }
                    _ => send(packet),
                }
                if let Some(late) = held.take() {
                    send(&late);
                }
            }
        });
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Nuisance {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
