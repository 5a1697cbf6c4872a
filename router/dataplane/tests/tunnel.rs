//! Two data planes on two hosts, end to end: real TAPs, real sockets, real pings.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod lab;

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::Arc;

use lab::{Host, THIRD_IP, THIRD_SESSION, Workers, hosts_with, ip, name, spec, third_keys, until};
use weft_crypto::{HEADER_LEN, Sealer, Suite, TAG_LEN};
use weft_dataplane::{DataEvent, DropReason, Path, Tables, Tunnel, mac_for, pod_mtu};

#[test]
fn pods_reach_each_other_through_garbage_and_replays() {
    let [a, b] = hosts_with(Workers::ByProcessor);
    a.ping(&format!("-c 3 -i 0.2 -W 5 {}", b.v4));
    a.ping(&format!("-c 3 -i 0.2 -W 5 {}", b.v6));
    b.ping(&format!("-c 1 -W 5 -s 8000 {}", a.v4));
    assert!(a.counters().arp_answered >= 1);
    assert!(a.counters().nd_answered >= 1);

    let before = b.counters();
    let sent = send_garbage(&a, &b);
    until("garbage is counted", || {
        let drops = b.counters().drops;
        let by_reason = [DropReason::BadHeader, DropReason::UnknownSession, DropReason::Forged]
            .map(|reason| drops.get(reason) - before.drops.get(reason));
        by_reason.iter().sum::<u64>() == sent && by_reason.iter().all(|count| *count > 0)
    });
    a.ping(&format!("-c 3 -i 0.2 -W 5 {}", b.v4));

    let pod = Pod::at(&b);
    let packet = sealed(&third_sealer(), &pod.third_frame(THIRD_IP));
    for _ in 0..3 {
        send(&a, &b, &packet);
    }
    until("two replays are counted", || b.drops(DropReason::Replayed) == 2);
    assert_eq!(pod.received(), 1, "the first one passes");
    a.ping(&format!("-c 1 -W 5 {}", b.v4));
}

#[test]
fn a_member_speaks_for_its_own_addresses_alone() {
    let [a, b] = hosts_with(Workers::ByProcessor);
    let (sealer, pod) = (third_sealer(), Pod::at(&b));
    // With the address of host A's Pod, of B's own, and of nobody.
    for (source, counted) in [([10, 32, 0, 1], 1), ([10, 40, 0, 1], 2), ([10, 47, 0, 1], 3)] {
        send(&a, &b, &sealed(&sealer, &pod.third_frame(source)));
        until("a spoofed frame is counted", || b.drops(DropReason::Spoofed) == counted);
    }
    let mut packet = plain_packet(&pod.third_frame(THIRD_IP));
    packet[HEADER_LEN + 2] = 1; // the header's segmentation type: TCP over IPv4
    sealer.seal(&mut packet).unwrap();
    send(&a, &b, &packet);
    until("a header with segmentation is counted", || b.drops(DropReason::Offload) == 1);
    send(&a, &b, &sealed(&sealer, &pod.third_frame(THIRD_IP)));
    until("the honest frame is counted", || pod.received() == 1);
}

#[test]
fn multicast_reaches_the_other_side_once() {
    let [a, b] = hosts_with(Workers::ByProcessor);
    let group = Ipv4Addr::new(239, 1, 2, 3);
    let v4 = |host: &Host| host.v4.to_string().parse::<Ipv4Addr>().unwrap();
    let listener = b
        .netns
        .run(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.join_multicast_v4(&group, &v4(&b)).unwrap();
            socket.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
            socket
        })
        .unwrap();
    let port = listener.local_addr().unwrap().port();
    let sender = a.netns.run(|| UdpSocket::bind((v4(&a), 0)).unwrap()).unwrap();
    for text in ["first", "second"] {
        sender.send_to(text.as_bytes(), (group, port)).unwrap();
        let mut buffer = [0; 16];
        let (len, from) = listener.recv_from(&mut buffer).expect("the datagram comes within 10 s");
        assert_eq!((&buffer[..len], from.ip()), (text.as_bytes(), a.v4));
    }
    assert!(a.counters().flooded >= 2);
}

#[test]
fn probes_confirm_a_path() {
    let [a, b] = hosts_with(Workers::ByProcessor);
    assert!(a.dataplane.probe(name(1), &Path::Direct(b.underlay), 42, false));
    until("the reply comes", || {
        a.events.lock().unwrap().iter().any(|event| {
            matches!(event, DataEvent::Confirmed { peer, from, token: 42, .. }
                if *peer == name(1) && *from == b.underlay)
        })
    });
    let heard = |host: &Host| {
        let events = host.events.lock().unwrap();
        let heard = events.iter().filter(|event| matches!(event, DataEvent::Heard { .. }));
        heard.count()
    };
    assert_eq!((heard(&a), heard(&b)), (1, 1), "an address is reported once");
    until("the answer is counted", || b.counters().probes_answered == 1);
    assert!(a.dataplane.probe(name(1), &Path::Direct(b.underlay), 44, true));
    let asked = |kind| {
        let events = b.events.lock().unwrap();
        let mut asked = events.iter().filter(|event| {
            matches!(event, DataEvent::Asked { peer, from, urgent, relayed: false }
                if *peer == name(0) && *from == a.underlay && *urgent == kind)
        });
        asked.next().is_some()
    };
    until("both questions are reported", || asked(false) && asked(true));
    assert_eq!(a.counters().probes_sent, 2);
    assert!(
        !a.dataplane.probe(name(9), &Path::Direct(b.underlay), 1, false),
        "nobody of this name"
    );
    // The right peer at the wrong place does not answer.
    let before = a.drops(DropReason::UnknownSession);
    assert!(a.dataplane.probe(name(1), &Path::Direct(a.underlay), 43, false));
    until("the stray probe is counted", || a.drops(DropReason::UnknownSession) == before + 1);
}

#[test]
fn packets_go_inside_the_control_connection_where_the_tables_say_so() {
    let [a, b] = hosts_with(Workers::ByProcessor);
    let underlays = [a.underlay, b.underlay];
    for (index, host, other) in [(0, &a, &b), (1, &b, &a)] {
        let receiver = other.dataplane.tunnel_receiver();
        let into = Tunnel::new(move |packet| {
            receiver.deliver(packet.to_vec());
            true
        });
        let mut tables = spec(index, underlays);
        tables.peers[0].path = Path::Tunnel;
        tables.tunnels = vec![(tables.peers[0].name, into)];
        host.tables.store(Arc::new(Tables::new(tables)));
    }
    a.ping(&format!("-c 3 -i 0.2 -W 5 {}", b.v4));
    a.ping(&format!("-c 1 -W 5 -s 8000 {}", b.v6));
    assert!(a.dataplane.probe(name(1), &Path::Tunnel, 42, true));
    let seen =
        |host: &Host, what: fn(&DataEvent) -> bool| host.events.lock().unwrap().iter().any(what);
    until("the reply comes the same way", || {
        seen(
            &a,
            |event| matches!(event, DataEvent::TunnelConfirmed { peer, token: 42 } if *peer == name(1)),
        )
    });
    assert!(seen(
        &b,
        |event| matches!(event, DataEvent::TunnelAsked { peer, urgent: true } if *peer == name(0))
    ));
    for host in [&a, &b] {
        assert!(
            !seen(host, |event| matches!(event, DataEvent::Heard { .. })),
            "nothing on the underlay"
        );
    }

    let mut full = spec(0, underlays);
    full.peers[0].path = Path::Tunnel;
    full.tunnels = vec![(full.peers[0].name, Tunnel::new(|_| false))];
    a.tables.store(Arc::new(Tables::new(full)));
    assert!(!a.dataplane.probe(name(1), &Path::Tunnel, 43, false));
    assert_eq!(a.drops(DropReason::TunnelFull), 1);
}

#[test]
fn a_session_that_left_the_tables_is_deaf() {
    let [a, b] = hosts_with(Workers::ByProcessor);
    a.ping(&format!("-c 1 -W 5 {}", b.v4));
    let underlays = [a.underlay, b.underlay];
    let mut without = spec(1, underlays);
    without.sessions.clear();
    b.tables.store(Arc::new(Tables::new(without)));
    let before = b.drops(DropReason::UnknownSession);
    assert!(a.dataplane.probe(name(1), &Path::Direct(b.underlay), 1, false));
    until("its packets are dropped", || b.drops(DropReason::UnknownSession) > before);
    let old = Arc::downgrade(&a.tables.load_full());
    a.tables.store(Arc::new(Tables::empty()));
    until("an idle worker lets the old tables go", || old.strong_count() == 0);
}

#[test]
fn the_end_is_clean_and_a_lost_device_is_reported() {
    let [a, b] = hosts_with(Workers::ByProcessor);
    let Host { netns, dataplane, .. } = a;
    dataplane.shutdown();
    netns.run(|| until("the TAP is gone", || !ip("link").contains("weft-tap"))).unwrap();
    b.netns.run(|| ip("link del weft-tap")).unwrap();
    until("the failure is reported", || {
        let events = b.events.lock().unwrap();
        events.iter().any(|event| matches!(event, DataEvent::Failed { direction: "egress", .. }))
    });
}

#[test]
fn a_packet_longer_than_the_path_is_counted() {
    let [a, b] = hosts_with(Workers::ByProcessor);
    let fits = pod_mtu(1500, a.underlay.ip()).unwrap();
    a.netns.run(|| ip("link set weft-tap mtu 1500")).unwrap();
    // Echo requests with "don't fragment"; 28 bytes are headers.
    a.ping(&format!("-c 1 -W 5 -M do -s {} {}", fits - 28, b.v4));
    assert_eq!(a.drops(DropReason::TooBig), 0);
    let socket = a.netns.run(|| UdpSocket::bind((a.v4, 0)).unwrap()).unwrap();
    let longer = vec![0; usize::try_from(fits - 28 + 1).unwrap()];
    socket.send_to(&longer, (b.v4, 9)).unwrap();
    until("the packet is counted", || a.drops(DropReason::TooBig) == 1);
}

/// Sends 1,000 datagrams that no honest peer would send to the data socket, and returns how many.
fn send_garbage(a: &Host, b: &Host) -> u64 {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random.to_le_bytes()
    };
    for number in 0..1000_usize {
        let mut datagram: Vec<u8> = (0..number % 200).flat_map(|_| next()).collect();
        datagram.insert(0, next()[0] & !0x40);
        // A third looks like a packet, another names a session too.
        if number % 3 != 0 && datagram.len() > HEADER_LEN {
            datagram[..4].copy_from_slice(&[1, 0, 0, 0]);
            datagram[15] = 0;
            if number % 3 == 1 {
                datagram[4..8].copy_from_slice(&THIRD_SESSION.0.to_le_bytes());
            }
        }
        send(a, b, &datagram);
    }
    1000
}

/// Sends a datagram from host A's underlay to B's data socket.
fn send(a: &Host, b: &Host, datagram: &[u8]) {
    let send = || UdpSocket::bind("0.0.0.0:0").unwrap().send_to(datagram, b.underlay).unwrap();
    a.netns.run(send).unwrap();
}

fn third_sealer() -> Sealer {
    third_keys().sealer(THIRD_SESSION, Suite::ChaCha20Poly1305)
}

/// A socket of a Pod on a host, to which the third member sends.
struct Pod {
    socket: UdpSocket,
    to: SocketAddrV4,
    received: Cell<usize>,
}

impl Pod {
    fn at(host: &Host) -> Self {
        let socket = host.netns.run(|| UdpSocket::bind((host.v4, 0)).unwrap()).unwrap();
        socket.set_nonblocking(true).unwrap();
        let to = socket.local_addr().unwrap().to_string().parse().unwrap();
        Self { socket, to, received: Cell::new(0) }
    }

    /// How many datagrams have come so far.
    fn received(&self) -> usize {
        while self.socket.recv(&mut [0; 16]).is_ok() {
            self.received.set(self.received.get() + 1);
        }
        self.received.get()
    }

    /// A UDP datagram to the Pod, without content.
    fn third_frame(&self, source: [u8; 4]) -> Vec<u8> {
        let mut ip = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0].to_vec();
        ip.extend_from_slice(&source);
        ip.extend_from_slice(&self.to.ip().octets());
        let words =
            ip.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
        let sum: u32 = words.sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
        ip[10..12].copy_from_slice(&(!sum).to_be_bytes());
        let mut frame = mac_for((*self.to.ip()).into()).octets().to_vec();
        frame.extend_from_slice(&mac_for(source.into()).octets());
        frame.extend_from_slice(&[0x08, 0]);
        frame.extend_from_slice(&ip);
        frame.extend_from_slice(&9_u16.to_be_bytes());
        frame.extend_from_slice(&self.to.port().to_be_bytes());
        frame.extend_from_slice(&[0, 8, 0, 0]);
        frame
    }
}

fn plain_packet(frame: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; HEADER_LEN];
    packet.push(1);
    packet.extend_from_slice(&[0; 10]);
    packet.extend_from_slice(frame);
    packet.extend_from_slice(&[0; TAG_LEN]);
    packet
}

fn sealed(sealer: &Sealer, frame: &[u8]) -> Vec<u8> {
    let mut packet = plain_packet(frame);
    sealer.seal(&mut packet).unwrap();
    packet
}
