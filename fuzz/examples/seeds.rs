//! Writes the seeds of the corpora: `cargo run -p weft-fuzz-targets --example seeds`, from the root of the repository.
//!
//! What fuzzers and people have added stays. Needed again when a format changes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use weft_crypto::{Identity, Role, SessionKeys, Suite};
use weft_fuzz_targets::{TARGETS, dataplane};
use weft_gossip::ipam::{Init, Request};
use weft_gossip::{Config, LinkState, Node, Time, Written, fuzzing};

fn main() -> io::Result<()> {
    let mut seeds: BTreeMap<&str, Vec<Vec<u8>>> = BTreeMap::new();
    packets(&mut seeds);
    gossip(&mut seeds);
    text(&mut seeds);
    for target in TARGETS {
        let dir = Path::new("fuzz/corpus").join(target.name);
        fs::create_dir_all(&dir)?;
        for (index, seed) in seeds.remove(target.name).unwrap_or_default().iter().enumerate() {
            fs::write(dir.join(format!("seed-{index:02}")), seed)?;
        }
    }
    Ok(())
}

/// Each behind its length, as the targets of batches read them.
fn batch(strings: &[Vec<u8>]) -> Vec<u8> {
    strings
        .iter()
        .flat_map(|string| {
            let len = u16::try_from(string.len()).unwrap_or(u16::MAX);
            [&len.to_le_bytes()[..], string].concat()
        })
        .collect()
}

/// A TCP segment from the peer's `10.1.0.1` to the local `10.2.0.2`, checksum open, the content `len` bytes at `offset`.
fn tcp(offset: u32, id: u16, len: usize) -> Vec<u8> {
    let total = u16::try_from(40 + len).unwrap_or(u16::MAX);
    let mut frame = vec![0x0a, 0x58, 10, 2, 0, 2, 0x0a, 0x58, 10, 1, 0, 1, 8, 0, 0x45, 0];
    frame.extend(total.to_be_bytes());
    frame.extend(id.to_be_bytes());
    frame.extend([0x40, 0, 64, 6, 0, 0, 10, 1, 0, 1, 10, 2, 0, 2]);
    let sum = ones(&frame[14..34]);
    frame[24..26].copy_from_slice(&(!sum).to_be_bytes());
    frame.extend([0x9c, 0x40, 0, 80]);
    frame.extend((1000 + offset).to_be_bytes());
    frame.extend([0, 0, 0, 1, 0x50, 0x10, 1, 0]);
    let pseudo = [&[10, 1, 0, 1, 10, 2, 0, 2, 0, 6][..], &(total - 20).to_be_bytes()].concat();
    frame.extend(ones(&pseudo).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend((0..len).map(|byte| byte.to_le_bytes()[0]));
    frame
}

/// The one's complement sum of 16-bit words (RFC 1071), not complemented.
fn ones(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}

fn arp(sender: u8, target: u8) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([0x0a, 0x58, 10, sender, 0, 2, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend([0x0a, 0x58, 10, sender, 0, 2, 10, sender, 0, 2]);
    frame.extend([0, 0, 0, 0, 0, 0, 10, target, 0, 1]);
    frame
}

/// A neighbour solicitation for `fd00:1::1`; its checksum is left wrong, nobody looks.
fn solicitation() -> Vec<u8> {
    let address = |second: u8, last: u8| {
        let mut address = [0u8; 16];
        (address[0], address[3], address[15]) = (0xfd, second, last);
        address
    };
    let mut frame = vec![0x33, 0x33, 0xff, 0, 0, 1, 0x0a, 0x58, 10, 2, 0, 2, 0x86, 0xdd];
    frame.extend([0x60, 0, 0, 0, 0, 32, 58, 255]);
    frame.extend(address(2, 2));
    frame.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 1]);
    frame.extend([135, 0, 0, 0, 0, 0, 0, 0]);
    frame.extend(address(1, 1));
    frame.extend([1, 1, 0x0a, 0x58, 10, 2, 0, 2]);
    frame
}

fn packets(seeds: &mut BTreeMap<&str, Vec<Vec<u8>>>) {
    const OPEN: [u8; 10] = [1, 0, 0, 0, 0, 0, 34, 0, 16, 0];
    const SUPER: [u8; 10] = [1, 1, 54, 0, 100, 0, 34, 0, 16, 0];
    let payload = |header: &[u8; 10], frame: &[u8]| [&[1], &header[..], frame].concat();
    let train: Vec<_> = (0..4u16)
        .map(|n| payload(&OPEN, &tcp(u32::from(n) * 100, n, if n == 3 { 40 } else { 100 })))
        .collect();
    let plain = payload(&[0; 10], &arp(1, 2));
    let probes = [2u8, 3].map(|kind| [&[kind], &7u64.to_le_bytes()[..]].concat());
    let relayed = |which: u8, of: u8, relays: u8| {
        let head = [&[5, which, of, relays][..], &7u32.to_le_bytes(), &[1; 8], &[2; 8]].concat();
        [head, vec![3; 8 * usize::from(relays & 0x0f)], vec![which; 40]].concat()
    };
    let pieces = [(2, 3), (0, 3), (1, 3), (0, 2)].map(|(which, of)| relayed(which, of, 0));
    let relays = [relayed(0, 1, 0x02), relayed(0, 1, 0x12), relayed(1, 2, 0x11)];
    let size = [&[6u8][..], &7u64.to_le_bytes(), &[0; 60]].concat();
    seeds.insert(
        "payloads",
        vec![
            batch(&train),
            batch(&[plain.clone(), train[1].clone()]),
            batch(&probes),
            batch(&pieces),
            batch(&relays),
            batch(&[size]),
        ],
    );

    let keys = SessionKeys::derive(&[9; 32], Role::Client);
    let sealer = keys.sealer(dataplane::RECEIVER, Suite::ChaCha20Poly1305);
    let sealed: Vec<_> = [plain, train[0].clone()]
        .into_iter()
        .map(|payload| {
            let mut packet = [&[0; 16][..], &payload, &[0; 16]].concat();
            sealer.seal(&mut packet).expect("short and new");
            packet
        })
        .collect();
    seeds.insert("datagrams", vec![batch(&sealed), vec![0x40; 40]]);

    // What the local Pod sends: addresses the other way round.
    let mut outward = tcp(0, 1, 350);
    let (destination, source) = ([10, 1, 0, 1], [10, 2, 0, 2]);
    outward[26..30].copy_from_slice(&source);
    outward[30..34].copy_from_slice(&destination);
    let frames = [
        [&SUPER[..], &outward].concat(),
        [&[0; 10][..], &arp(2, 1)].concat(),
        [&[0; 10][..], &solicitation()].concat(),
        [&OPEN[..], &outward].concat(),
    ];
    seeds.insert("bridge_frame", frames.to_vec());
}

/// Two nodes with one ring, one of which gets its space from the other and is removed in the end.
fn gossip(seeds: &mut BTreeMap<&str, Vec<Vec<u8>>>) {
    let identities = [[2; 32], [4; 32]].map(Identity::from_seed);
    let names = [identities[0].name(), identities[1].name()];
    let mut at = Duration::ZERO;
    let mut nodes: Vec<Node> = identities
        .into_iter()
        .enumerate()
        .filter_map(|(index, identity)| {
            let config = Config {
                nickname: format!("h{index}"),
                version: "0".into(),
                boot_id: 1,
                port: 6783,
                ranges: ["10.32.0.0/24", "fd00::/120"]
                    .iter()
                    .filter_map(|range| range.parse().ok())
                    .collect(),
                init: if index == 0 { Init::Founder } else { Init::Observer },
                targets: 1,
                cool_down: Duration::from_secs(30),
            };
            Node::new(config, Arc::new(identity), [3; 32], None, Time::from_start(at)).ok()
        })
        .collect();
    let address: SocketAddr = ([192, 0, 2, 2], 6783).into();
    for (index, node) in nodes.iter_mut().enumerate() {
        node.handle_connected(names[1 - index], address, index == 0, Time::from_start(at));
        node.handle_link_state(names[1 - index], LinkState::Direct(0), Time::from_start(at));
    }
    let (mut messages, mut records, mut snapshots) = (Vec::new(), BTreeMap::new(), Vec::new());
    for round in 0..40u32 {
        at += Duration::from_millis(300);
        let now = Time::from_start(at);
        let until = now + Duration::from_secs(30);
        match round {
            2 => drop(nodes[0].allocate("a", Request::default(), until, now)),
            5 => drop(nodes[1].allocate("b", Request::default(), until, now)),
            20 => drop(nodes[0].release("a", now)),
            30 => drop(nodes[0].remove(names[1], false, 1, now)),
            _ => {}
        }
        for from in 0..nodes.len() {
            nodes[from].handle_timeout(now);
            while let Some(persist) = nodes[from].poll_persist() {
                nodes[from].persisted(persist.token, now);
                let (Written::Snapshot(bytes) | Written::Append(bytes)) = persist.what;
                snapshots.push(bytes);
            }
            while let Some(transmit) = nodes[from].poll_transmit() {
                for (kind, value) in fuzzing::values(&transmit.bytes) {
                    let kind = kind.0.to_le_bytes()[0];
                    records.insert([&[kind][..], &value].concat(), ());
                }
                let _ = nodes[1 - from].handle_message(names[from], &transmit.bytes, now);
                messages.push(transmit.bytes);
            }
            while nodes[from].poll_event().is_some() {}
        }
    }
    messages.sort_by_key(|message| (message.get(1).copied(), message.len()));
    messages.dedup_by_key(|message| (message.get(1).copied(), message.len() / 64));
    snapshots.sort_by_key(Vec::len);
    snapshots.dedup_by_key(|snapshot| snapshot.len() / 128);
    seeds.insert("gossip_message", messages);
    seeds.insert("gossip_record", records.into_keys().collect());
    seeds.insert("gossip_restore", snapshots);
}

fn text(seeds: &mut BTreeMap<&str, Vec<Vec<u8>>>) {
    let configs = [
        r#"{"cniVersion":"1.1.0","name":"weft","type":"weft-net","ipMasq":true,"hairpinMode":true,"mtu":1400,
            "runtimeConfig":{"ips":["10.32.0.9/12"]},"args":{"cni":{"labels":[{"key":"app","value":"web"}]}},
            "prevResult":{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","sandbox":"/run/netns/a"}],
            "ips":[{"address":"10.32.0.9/12","interface":0}],"routes":[{"dst":"0.0.0.0/0","gw":"10.32.0.1"}]}}"#,
        r#"{"cniVersion":"0.3.1","name":"weft","type":"weft-net","cni.dev/valid-attachments":
            [{"containerID":"a","ifname":"eth0"}]}"#,
        r#"{"cniVersion":"1.0.0","name":"b","type":"bridge","ipam":{"type":"weft-ipam","defaultRoute":true}}"#,
    ];
    seeds.insert("cni_config", configs.map(|text| text.as_bytes().to_vec()).to_vec());
    let manifests = [
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: x, labels: {a: b}}}\n\
         - apiVersion: v1\n  kind: Pod\n  metadata: {name: p, namespace: x, labels: {app: web}}\n  spec: {containers: \
         [{ports: [{name: http, containerPort: 80, protocol: TCP}]}]}\n  status: {podIPs: [{ip: 10.32.0.2}]}\n",
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: n, namespace: x}\nspec:\n  podSelector: \
         {matchExpressions: [{key: app, operator: In, values: [web, db]}]}\n  policyTypes: [Ingress, Egress]\n  ingress:\n  \
         - from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}, {namespaceSelector: {}, podSelector: {}}]\n    \
         ports: [{port: 80, endPort: 90, protocol: TCP}, {port: http}]\n  egress: [{}]\n---\n{\"apiVersion\": \"v1\", \
         \"kind\": \"Pod\", \"metadata\": {\"name\": \"q\", \"namespace\": \"x\"}}\n",
    ];
    seeds.insert("policy_yaml", manifests.map(|text| text.as_bytes().to_vec()).to_vec());
}
