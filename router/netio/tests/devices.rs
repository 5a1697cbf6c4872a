//! Real devices and namespaces. Needs root: CAP_SYS_ADMIN for namespaces, CAP_NET_ADMIN and /dev/net/tun for
//! TAPs. Everything happens in nameless namespaces, which vanish with the test.

#![allow(clippy::unwrap_used)]

use std::io;
use std::net::UdpSocket;
use std::num::NonZeroU8;
use std::process::Command;
use std::time::{Duration, Instant};

use weft_netio::netns::Netns;
use weft_netio::tap::{Tap, TapError, VNET_HEADER_LEN};
use weft_netio::wait::{Waker, readable_or_raised};

#[test]
fn frames_go_both_ways_through_a_tap() {
    fresh_netns()
        .run(|| {
            let tap = open_tap("weft-tap");
            let waker = Waker::new().unwrap();
            ip("link set weft-tap up");
            ip("addr add 10.32.0.1/12 dev weft-tap");
            // The kernel asks for the neighbour: a frame comes out.
            let asked = std::net::UdpSocket::bind("10.32.0.1:0").unwrap();
            asked.send_to(b"x", "10.32.0.2:9").unwrap();
            let request = loop {
                assert!(readable_or_raised(&tap, &waker).unwrap().source);
                let mut buffer = [0xff; 2048];
                let len = tap.recv(&mut buffer).unwrap();
                assert_eq!(
                    buffer[..VNET_HEADER_LEN],
                    [0; VNET_HEADER_LEN],
                    "nothing is left undone in such frames"
                );
                // Skip what IPv6 says on a link that comes up.
                if buffer[VNET_HEADER_LEN + 12..][..2] == [0x08, 0x06] {
                    break buffer[VNET_HEADER_LEN..len].to_vec();
                }
            };
            // Answered by hand, the neighbour becomes known: a frame goes in.
            let mut answer = vec![0; VNET_HEADER_LEN];
            answer.extend_from_slice(&request[6..12]);
            answer
                .extend_from_slice(&[0x0a, 0x58, 10, 32, 0, 2, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2]);
            answer.extend_from_slice(&[0x0a, 0x58, 10, 32, 0, 2, 10, 32, 0, 2]);
            answer.extend_from_slice(&request[22..32]);
            assert_eq!(tap.send(&answer).unwrap(), answer.len());
            until(|| ip("neigh show 10.32.0.2").contains("0a:58:0a:20:00:02"));
        })
        .unwrap();
}

#[test]
fn an_idle_tap_would_block_and_a_removed_one_fails() {
    fresh_netns()
        .run(|| {
            let tap = open_tap("weft-tap");
            let nothing = tap.recv(&mut [0; 2048]).unwrap_err();
            assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
            assert!(tap.send(&[0; 64]).is_err(), "the device is down");
            assert_ne!(tap.ifindex(), 0);
            ip("link del weft-tap");
            let waker = Waker::new().unwrap();
            assert!(readable_or_raised(&tap, &waker).unwrap().source);
            let gone = tap.recv(&mut [0; 2048]).unwrap_err();
            assert_ne!(gone.kind(), io::ErrorKind::WouldBlock);
        })
        .unwrap();
}

#[test]
fn a_name_that_is_taken_is_never_taken_over() {
    fresh_netns()
        .run(|| {
            let tap = open_tap("weft-tap");
            assert_eq!(tap.name(), "weft-tap");
            ip("tuntap add mode tap name persistent");
            ip("link add bridge0 type bridge");
            for name in ["weft-tap", "persistent", "bridge0"] {
                let error = Tap::open(name).unwrap_err();
                assert!(matches!(error, TapError::Exists { .. }), "{name}: {error}");
                assert!(error.to_string().contains(&format!("`ip link del {name}`")));
            }
            drop(tap);
            until(|| !ip("link").contains("weft-tap"));
            open_tap("weft-tap");
        })
        .unwrap();
}

#[test]
fn a_flow_keeps_to_a_queue_and_all_queues_are_used() {
    fresh_netns()
        .run(|| {
            let queues = Tap::open_queues("weft-tap", NonZeroU8::new(3).unwrap())
                .expect("this test needs CAP_NET_ADMIN and /dev/net/tun");
            assert_eq!(queues.len(), 3);
            assert!(queues.iter().all(|queue| queue.ifindex() == queues[0].ifindex()));
            assert!(queues.iter().all(|queue| queue.offload() == queues[0].offload()));
            assert!(matches!(Tap::open("weft-tap"), Err(TapError::Exists { .. })));
            let many = Tap::open_queues("weft-tap", NonZeroU8::new(2).unwrap());
            assert!(matches!(many, Err(TapError::Exists { .. })));
            ip("link set weft-tap up");
            ip("addr add 10.32.0.1/24 dev weft-tap");
            ip("neigh add 10.32.0.2 lladdr 02:00:00:00:00:02 dev weft-tap nud permanent");
            let mut used = [0; 3];
            for port in 1000_u16..1064 {
                let socket = UdpSocket::bind(("10.32.0.1", port)).unwrap();
                let mut came: Vec<usize> = Vec::new();
                for _ in 0..4 {
                    socket.send_to(b"x", "10.32.0.2:9").unwrap();
                    until(|| {
                        let before = came.len();
                        for (place, queue) in queues.iter().enumerate() {
                            came.extend(udp_frames_from(queue, port).map(|()| place));
                        }
                        came.len() > before
                    });
                }
                assert!(came.iter().all(|place| *place == came[0]), "port {port}: {came:?}");
                used[came[0]] += 1;
            }
            assert!(used.iter().all(|flows| *flows > 0), "{used:?}");
            drop(queues);
            until(|| !ip("link").contains("weft-tap"));
        })
        .unwrap();
}

/// Empties a queue; one item for each frame that is a UDP datagram of this port's.
fn udp_frames_from(queue: &Tap, port: u16) -> impl Iterator<Item = ()> {
    let mut frame = [0; 2048];
    // Behind the virtio-net header lie 14 bytes of Ethernet and 20 of IPv4.
    let udp = VNET_HEADER_LEN + 34;
    std::iter::from_fn(move || queue.recv(&mut frame).ok().map(|len| frame[..len].to_vec()))
        .filter(move |frame| frame.get(udp..udp + 2) == Some(&port.to_be_bytes()))
        .map(|_| ())
}

#[test]
fn a_namespace_is_entered_by_one_thread_alone() {
    let netns = fresh_netns();
    let inside = netns.run(|| std::fs::read_link("/proc/thread-self/ns/net").unwrap()).unwrap();
    let outside = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    assert_ne!(inside, outside);
    let current = Netns::current().unwrap();
    assert_eq!(
        current.run(|| std::fs::read_link("/proc/thread-self/ns/net").unwrap()).unwrap(),
        outside
    );
    let no_namespace = Netns::open("/dev/null".as_ref()).unwrap();
    assert!(no_namespace.run(|| unreachable!("must not run outside")).is_err());
}

fn fresh_netns() -> Netns {
    Netns::unshared().expect("this test needs root: CAP_SYS_ADMIN to make network namespaces")
}

fn open_tap(name: &str) -> Tap {
    Tap::open(name).expect("this test needs CAP_NET_ADMIN and /dev/net/tun")
}

/// Runs `ip` in the calling thread's namespace and returns what it prints.
fn ip(arguments: &str) -> String {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .expect("this test needs the command `ip` (package iproute2)");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Waits for a condition, at most 10 s.
fn until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "the condition did not come true");
        std::thread::sleep(Duration::from_millis(5));
    }
}
