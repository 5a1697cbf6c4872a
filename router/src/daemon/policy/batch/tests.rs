use super::super::alone::in_own_namespace;
use super::*;

const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 32, 0, 1));

/// The bytes of the messages of a batch.
fn bytes(changes: &[Change]) -> Vec<Vec<u8>> {
    requests(changes).iter().map(Request::bytes).collect()
}

fn commands(commands: Vec<Command>) -> Option<Vec<Change>> {
    changes(&Transaction { commands })
}

#[test]
fn an_element_is_told_in_three_messages() {
    let one = Elements::Addresses(BTreeSet::from([ADDRESS]));
    let changes = commands(vec![Command::DeleteElements("s".to_owned(), one)]).unwrap();
    let messages = bytes(&changes);
    let [begin, change, end] = &messages[..] else { panic!("three: {messages:?}") };
    assert_eq!(begin[..6], [20, 0, 0, 0, 16, 0]);
    assert_eq!(begin[16..], [0, 0, 0, 10], "for nftables");
    assert_eq!(end[..6], [20, 0, 0, 0, 17, 0]);
    assert_eq!(change[..8], [64, 0, 0, 0, DELETE_ELEMENTS, 10, 5, 0], "asks to be confirmed");
    assert_eq!(change[16..20], [INET, 0, 0, 0]);
    assert_eq!(change[20..36], *b"\x10\0\x01\0weft-policy\0");
    assert_eq!(change[36..44], *b"\x06\0\x02\0s\0\0\0");
    // The list, its element, the key, its value.
    let list = [20, 0, 3, 128, 16, 0, 1, 128, 12, 0, 1, 128];
    assert_eq!(change[44..], [&list[..], &[8, 0, 1, 0, 10, 32, 0, 1]].concat()[..]);
}

#[test]
fn what_is_not_elements_alone_is_for_nft() {
    let prefix = Elements::Prefixes(BTreeSet::from(["10.0.0.0/8".parse().unwrap()]));
    assert_eq!(commands(vec![Command::AddElements("s".to_owned(), prefix)]), None);
    assert_eq!(commands(vec![Command::FlushChain("c".to_owned())]), None);
    let nothing = commands(Vec::new()).unwrap();
    assert!(bytes(&nothing).is_empty());
    let many = (0..=u16::try_from(MOST).unwrap()).map(|port| (ADDRESS, Protocol::Tcp, port));
    let many = Elements::Ports(many.collect());
    let many = commands(vec![Command::AddElements("s".to_owned(), many)]).unwrap();
    assert!(!fits(&many));
}

/// What the kernel has after a batch, as `nft` shows it, is what `nft` itself would have made of the
/// same transaction.
#[test]
fn the_kernel_takes_a_batch_as_it_takes_nft() {
    if !in_own_namespace("batch::tests::the_kernel_takes_a_batch_as_it_takes_nft") {
        return;
    }

    let v6: IpAddr = "fd00::1".parse().unwrap();
    let ports = |address, base| {
        let all = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().zip(base..);
        Elements::Ports(all.map(|(protocol, port)| (address, protocol, port)).collect())
    };
    let addresses = |all: &[IpAddr]| Elements::Addresses(all.iter().copied().collect());
    let made = "add table inet weft-policy
        add chain inet weft-policy c
        add chain inet weft-policy d
        add set inet weft-policy a4 { type ipv4_addr; }
        add set inet weft-policy a6 { type ipv6_addr; }
        add set inet weft-policy p4 { type ipv4_addr . inet_proto . inet_service; }
        add set inet weft-policy p6 { type ipv6_addr . inet_proto . inet_service; }
        add map inet weft-policy m4 { type ipv4_addr : verdict; }
        add map inet weft-policy m6 { type ipv6_addr : verdict; }";
    let add = |set: &str, of| Command::AddElements(set.to_owned(), of);
    let lead = |map: &str, address, chain: &str| {
        Command::AddMembers(map.to_owned(), vec![(address, chain.to_owned())])
    };
    let many: Vec<_> = (0..=255).map(|last| IpAddr::from([10, 33, 0, last])).collect();
    let first = Transaction {
        commands: vec![
            add("a4", addresses(&many)),
            add("a6", addresses(&[v6])),
            add("p4", ports(ADDRESS, 80)),
            add("p6", ports(v6, 8080)),
            lead("m4", ADDRESS, "c"),
            lead("m6", v6, "c"),
        ],
    };
    let second = Transaction {
        commands: vec![
            Command::DeleteElements("a4".to_owned(), addresses(&many[..200])),
            Command::DeleteElements("p6".to_owned(), ports(v6, 8080)),
            Command::DeleteMembers("m4".to_owned(), vec![(ADDRESS, "c".to_owned())]),
            lead("m4", ADDRESS, "d"),
            Command::DeleteMembers("m6".to_owned(), vec![(v6, "c".to_owned())]),
        ],
    };
    let listed = |by: &dyn Fn(&Transaction)| {
        super::super::nft::run_script(&format!("flush ruleset\n{made}\n")).unwrap();
        by(&first);
        let before = show();
        by(&second);
        (before, show())
    };
    let ours = listed(&|transaction| {
        run(&mut Channel::default(), &changes(transaction).unwrap()).unwrap()
    });
    let theirs =
        listed(&|transaction| super::super::nft::run_json(&transaction.to_json()).unwrap());
    assert_eq!(ours, theirs);
    assert!(ours.0.contains("fd00::1 . sctp . 8082") && ours.0.contains("10.32.0.1 : jump c"));
    let mut channel = Channel::default();
    let there = changes(&Transaction { commands: second.commands[3..4].to_vec() }).unwrap();
    assert_eq!(lacking(&mut channel, &there).unwrap(), None);
    let gone = changes(&Transaction { commands: vec![add("p6", ports(v6, 8080))] }).unwrap();
    assert_eq!(lacking(&mut channel, &gone).unwrap(), gone.first());
    assert!(ours.1.contains("10.32.0.1 : jump d") && ours.1.contains("10.33.0.255"));

    // All or nothing: the last change cannot be made, so the first is not.
    let bad = Transaction {
        commands: vec![
            add("a6", addresses(&["fd00::2".parse().unwrap()])),
            add("none", addresses(&[ADDRESS])),
        ],
    };
    assert_eq!(
        run(&mut channel, &changes(&bad).unwrap()).unwrap_err().kind(),
        io::ErrorKind::NotFound
    );
    let bad = Transaction { commands: bad.commands.into_iter().rev().collect() };
    assert_eq!(
        run(&mut channel, &changes(&bad).unwrap()).unwrap_err().kind(),
        io::ErrorKind::NotFound
    );
    assert_eq!(show(), theirs.1);
}

/// The table as nft shows it, its elements in order.
fn show() -> String {
    let output =
        std::process::Command::new("nft").args(["list", "table", "inet", TABLE]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut words: Vec<_> = text.split([',', '\n']).map(str::trim).map(str::to_owned).collect();
    words.sort();
    words.join("\n")
}
