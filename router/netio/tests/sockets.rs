//! Real sockets: the shared port, the steering filter, batches.

#![allow(clippy::unwrap_used)]

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU8;
use std::time::{Duration, Instant};

use weft_netio::batch::{MAX_BATCH, RecvBatch, SendBatch};
use weft_netio::processors::Processors;
use weft_netio::steer::{Steering, steer};
use weft_netio::udp::{
    BindError, MESSAGE_TOO_LONG, PortGroup, bind_group, enable_offload, mapped_for,
};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);

#[test]
fn the_first_byte_decides_on_the_socket_for_both_families() {
    let group = bind(ANY).unwrap();
    for ip in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()] {
        let to = SocketAddr::new(ip, group.local.port());
        // Many senders: without the filter the kernel would spread them by the hash of their address.
        for first in 0..=255 {
            let sender = UdpSocket::bind(SocketAddr::new(ip, 0)).unwrap();
            sender.send_to(&[first, 1, 2], to).unwrap();
            let (chosen, other) = if first & 0x40 == 0 {
                (&group.data[0], &group.control)
            } else {
                (&group.control, &group.data[0])
            };
            let mut batch = receive(chosen);
            let (from, datagram) = batch.datagrams().next().unwrap();
            assert_eq!(from, sender.local_addr().unwrap(), "an IPv4 sender is not mapped");
            assert_eq!(datagram.unwrap(), [first, 1, 2]);
            let nothing = other.recv(&mut [0]).unwrap_err();
            assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock, "first byte {first:#x}");
        }
        let sender = UdpSocket::bind(SocketAddr::new(ip, 0)).unwrap();
        sender.send_to(&[], to).unwrap();
        let mut batch = receive(&group.control);
        assert_eq!(batch.datagrams().next().unwrap().1.unwrap(), b"", "empty goes to the first");
    }
}

#[test]
fn each_session_keeps_to_a_socket_and_all_sockets_are_used() {
    let group = bind_group(ANY, NonZeroU8::new(3).unwrap()).unwrap();
    let to = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), group.local.port());
    let mut sessions = [0; 3];
    for session in 0..=255_u8 {
        // A header as of a data packet; the last byte decides alone here, as a random one would.
        let packet = [1, 0, 0, 0, 9, 9, 9, session, 0, 0];
        let came: Vec<_> = (0..2)
            .map(|_| {
                // Another sender each time: the kernel would choose by its address.
                let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
                sender.send_to(&packet, to).unwrap();
                let mut came = group.data.iter().map(|socket| socket.recv(&mut [0; 16]).is_ok());
                came.position(|came| came).expect("loopback delivers at once")
            })
            .collect();
        assert_eq!(came[0], came[1], "session {session}");
        sessions[came[0]] += 1;
    }
    assert!(sessions.iter().all(|count| *count >= 85), "{sessions:?}");
    // Too short to name a session.
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.send_to(&[1, 0, 0, 0, 9, 9, 9], to).unwrap();
    receive(&group.data[0]);
}

#[test]
fn by_processor_each_packet_goes_to_the_socket_of_the_one_that_received_it() {
    let two = NonZeroU8::new(2).unwrap();
    let group = bind_group(ANY, two).unwrap();
    let to = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), group.local.port());
    steer(&group.data[1], two, Steering::ByProcessor).unwrap();
    let all = Processors::allowed().unwrap();
    let came = |first: u8| {
        // Over loopback the processor that sends receives as well.
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.send_to(&[first, 0, 0, 0, 9, 9, 9, 9, 0, 0], to).unwrap();
        let mut sockets = [&group.control, &group.data[0], &group.data[1]].into_iter();
        sockets.position(|socket| socket.recv(&mut [0; 16]).is_ok()).unwrap()
    };
    for rest in [0, 1] {
        let own = all.every(2, rest).expect("this test needs two processors, one of an odd number");
        own.confine().unwrap();
        for _ in 0..20 {
            assert_eq!((came(1), came(0x41)), (1 + rest, 0));
        }
    }
    all.confine().unwrap();
    // And back: a session keeps to a socket, whoever receives.
    steer(&group.control, two, Steering::BySession).unwrap();
    let places = [0, 1].map(|rest| {
        all.every(2, rest).unwrap().confine().unwrap();
        came(1)
    });
    assert_eq!(places[0], places[1]);
    all.confine().unwrap();
}

#[test]
fn the_two_never_have_the_same_hop_limit() {
    for addr in [ANY, "127.0.0.1:0".parse().unwrap()] {
        let group = bind(addr).unwrap();
        let ends = [&group.control, &group.data[0]].map(socket2::SockRef::from);
        let v4 = ends.each_ref().map(|end| end.ttl_v4().unwrap());
        assert_ne!(v4[0], v4[1]);
        if addr.is_ipv6() {
            let v6 = ends.each_ref().map(|end| end.unicast_hops_v6().unwrap());
            assert_ne!(v6[0], v6[1]);
        }
    }
}

#[test]
fn a_port_in_use_is_refused_even_where_it_could_be_shared() {
    let group = bind(ANY).unwrap();
    let port = group.local.port();
    let error = bind(SocketAddr::new(ANY.ip(), port)).unwrap_err();
    assert!(matches!(error, BindError::InUse { port: p } if p == port), "{error}");
    assert!(error.to_string().contains(&format!("UDP port {port} is in use")));
    assert!(error.to_string().contains("--port"));
    drop(group);
    let v4_only = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
    let error = bind(SocketAddr::new(ANY.ip(), port)).unwrap_err();
    assert!(matches!(error, BindError::InUse { .. }), "one family is enough: {error}");
    drop(v4_only);
    bind(SocketAddr::new(ANY.ip(), port)).unwrap();
}

#[test]
fn one_address_of_one_family_can_be_bound() {
    for ip in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()] {
        let group = bind(SocketAddr::new(ip, 0)).unwrap();
        assert_eq!(group.local.ip(), ip);
        assert_ne!(group.local.port(), 0);
        assert_eq!(group.control.local_addr().unwrap(), group.local);
        assert_eq!(group.data[0].local_addr().unwrap(), group.local);
    }
}

#[test]
fn batches_keep_order_content_and_addresses() {
    let PortGroup { data: from, local, .. } = bind(ANY).unwrap();
    let v4 = UdpSocket::bind("127.0.0.1:0").unwrap();
    let v6 = UdpSocket::bind("[::1]:0").unwrap();
    let mut send = SendBatch::new(8192, local, false);
    for number in 0..MAX_BATCH {
        let number = u8::try_from(number).unwrap();
        send.room(number.into()).unwrap().fill(number);
        let to = if number % 2 == 0 { &v4 } else { &v6 };
        send.push(usize::from(number), to.local_addr().unwrap());
    }
    send.send(&from[0], |error| panic!("{error}"));
    assert!(send.is_empty());
    for (socket, parity) in [(&v4, 0), (&v6, 1)] {
        let mut expected = (0..MAX_BATCH).filter(|number| number % 2 == parity);
        let mut batch = receive(socket);
        for (sender, datagram) in batch.datagrams() {
            let number = expected.next().unwrap();
            assert_eq!(sender.port(), local.port());
            assert_eq!(sender.is_ipv4(), parity == 0);
            assert_eq!(datagram.unwrap(), vec![u8::try_from(number).unwrap(); number]);
        }
        assert_eq!(expected.next(), None);
    }
}

#[test]
fn one_bad_datagram_does_not_take_the_others_along() {
    let PortGroup { data: from, local, .. } = bind(ANY).unwrap();
    let to = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut send = SendBatch::new(80_000, local, false);
    for len in [1, 70_000, 2, 3] {
        send.push(len, to.local_addr().unwrap());
    }
    let mut errors = Vec::new();
    send.send(&from[0], |error| errors.push(error.raw_os_error()));
    assert_eq!(errors, [Some(MESSAGE_TOO_LONG)]);
    let lens: Vec<_> =
        receive(&to).datagrams().map(|(_, datagram)| datagram.unwrap().len()).collect();
    assert_eq!(lens, [1, 2, 3]);
}

#[test]
fn trains_arrive_as_the_datagrams_they_were() {
    for ip in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()] {
        let to = bind(SocketAddr::new(ip, 0)).unwrap();
        let from = bind(SocketAddr::new(ip, 0)).unwrap();
        let offload = enable_offload(&to.data[0]);
        assert!(offload.cut && offload.join, "every kernel since 5.0 has both");
        for (sender_cuts, lens) in [
            (true, vec![700; 90]),
            (true, [vec![700; 40], vec![3], vec![700; 3], vec![701, 699], vec![1]].concat()),
            (false, vec![700; 40]),
            (true, [vec![1400; 46], vec![1000; 30]].concat()),
        ] {
            let mut send = SendBatch::new(1 << 18, from.local, sender_cuts);
            for (number, len) in (0..).zip(&lens) {
                // Without the bit that steers to the other socket.
                send.room(*len).unwrap().fill(number & !0x40);
                send.push(*len, to.local);
            }
            send.send(&from.data[0], |error| panic!("{error}"));
            let (mut seen, mut reads) = (Vec::new(), 0);
            let mut batch = RecvBatch::new(4, 65_536);
            while seen.len() < lens.len() {
                receive_into(&mut batch, &to.data[0]);
                reads += 1;
                for (sender, datagram) in batch.datagrams() {
                    let datagram = datagram.unwrap();
                    let number = u8::try_from(seen.len()).unwrap();
                    assert_eq!(sender, from.local);
                    assert!(datagram.iter().all(|byte| *byte == number & !0x40));
                    seen.push(datagram.len());
                }
            }
            assert_eq!(seen, lens);
            assert!(reads <= lens.len().div_ceil(if sender_cuts { 40 } else { 1 }), "{reads}");
        }
    }
}

#[test]
fn a_train_that_is_refused_is_sent_and_reported_singly() {
    // Without a route to it, every datagram of the train fails for itself.
    let from = bind(ANY).unwrap();
    let broadcast = "255.255.255.255:9".parse().unwrap();
    let mut send = SendBatch::new(4096, from.local, true);
    for _ in 0..5 {
        send.room(100).unwrap();
        send.push(100, broadcast);
    }
    let mut errors = 0;
    send.send(&from.data[0], |_| errors += 1);
    assert_eq!(errors, 5);
}

#[test]
fn what_does_not_fit_its_buffer_is_reported_without_content() {
    let to = UdpSocket::bind("127.0.0.1:0").unwrap();
    let from = UdpSocket::bind("127.0.0.1:0").unwrap();
    for len in [8, 9, 7] {
        from.send_to(&[5; 9][..len], to.local_addr().unwrap()).unwrap();
    }
    let mut batch = RecvBatch::new(3, 8);
    assert_eq!(batch.recv(&to).unwrap(), 3);
    let lens: Vec<_> = batch.datagrams().map(|(_, datagram)| datagram.map(|d| d.len())).collect();
    assert_eq!(lens, [Some(8), None, Some(7)]);
    assert_eq!(batch.recv(&to).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert_eq!(batch.datagrams().count(), 0);
}

#[test]
fn addresses_are_mapped_for_dual_stack_sockets_only() {
    let v4: SocketAddr = "192.0.2.1:1".parse().unwrap();
    assert_eq!(mapped_for("0.0.0.0:0".parse().unwrap(), v4), v4);
    assert_eq!(mapped_for(ANY, v4), "[::ffff:192.0.2.1]:1".parse().unwrap());
}

/// A group with one socket for data.
fn bind(addr: SocketAddr) -> Result<PortGroup, BindError> {
    bind_group(addr, NonZeroU8::MIN)
}

/// Waits for datagrams and takes them in.
fn receive(socket: &UdpSocket) -> RecvBatch {
    let mut batch = RecvBatch::new(MAX_BATCH, 2048);
    receive_into(&mut batch, socket);
    batch
}

fn receive_into(batch: &mut RecvBatch, socket: &UdpSocket) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match batch.recv(socket) {
            Ok(_) => return,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
        assert!(Instant::now() < deadline, "no datagram came");
        std::thread::yield_now();
    }
}
