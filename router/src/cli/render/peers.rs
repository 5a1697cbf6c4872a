//! The known nodes.

use weft_api::status::Peer;

use super::connections::arrow;
use super::{ADDRESS_WIDTH, NAME_WIDTH, address_key, clean, name, width};

/// `weft status peers`: this node first, the others by nickname; each with its connections as it
/// tells of them.
pub(in crate::cli) fn peers(own: &str, peers: &[Peer]) -> String {
    let mut sorted: Vec<_> = peers.iter().collect();
    sorted.sort_by_key(|peer| (peer.peer != own, &peer.nickname, &peer.peer));
    let connections = || peers.iter().flat_map(|peer| &peer.connections);
    let addresses: Vec<_> = connections().map(|row| clean(&row.address)).collect();
    let names: Vec<_> = connections().map(|row| name(&row.peer, &row.nickname)).collect();
    let (address_width, name_width) = (width(&addresses, ADDRESS_WIDTH), width(&names, NAME_WIDTH));
    let mut text = String::new();
    for peer in sorted {
        text.push_str(&name(&peer.peer, &peer.nickname));
        if !peer.reachable && peer.peer != own {
            text.push_str(" - unreachable!");
        }
        text.push('\n');
        let mut rows: Vec<_> = peer.connections.iter().collect();
        rows.sort_by_key(|row| (address_key(&row.address), &row.peer, row.direction));
        for row in rows {
            text.push_str(&format!(
                "   {} {:address_width$} {:name_width$} {}\n",
                arrow(row.direction),
                clean(&row.address),
                name(&row.peer, &row.nickname),
                if row.established { "established" } else { "pending" },
            ));
        }
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::example::{H1, H2, H3};
    use super::*;
    use weft_api::status::{Direction, PeerConnection};

    fn connection(peer: &str, nickname: &str, address: &str, established: bool) -> PeerConnection {
        let direction = if address.ends_with(":6783") { Direction::Out } else { Direction::In };
        PeerConnection {
            peer: peer.into(),
            nickname: nickname.into(),
            address: address.into(),
            direction,
            established,
        }
    }

    fn peer(peer: &str, nickname: &str, connections: Vec<PeerConnection>) -> Peer {
        Peer {
            peer: peer.into(),
            nickname: nickname.into(),
            reachable: true,
            version: "0.1.0".into(),
            connections,
        }
    }

    /// Two nodes that are connected and one that is gone, seen from `h2`.
    pub(in crate::cli::render) fn example() -> Vec<Peer> {
        let mut gone = peer(H3, "h3", Vec::new());
        gone.reachable = false;
        vec![
            gone,
            peer(H1, "h1", vec![connection(H2, "h2", "10.99.0.2:6783", true)]),
            peer(
                H2,
                "h2",
                vec![
                    connection(H1, "h1", "10.99.0.1:39634", true),
                    connection(H3, "h3", "[fd99::3]:6783", false),
                ],
            ),
        ]
    }

    pub(in crate::cli::render) const EXAMPLE: &str = "\
b1b2c3d4e5(h2)
   <- 10.99.0.1:39634       a1b2c3d4e5(h1)                        established
   -> [fd99::3]:6783        c1b2c3d4e5(h3)                        pending
a1b2c3d4e5(h1)
   -> 10.99.0.2:6783        b1b2c3d4e5(h2)                        established
c1b2c3d4e5(h3) - unreachable!
";

    #[test]
    fn this_node_comes_first() {
        assert_eq!(peers(H2, &example()), EXAMPLE);
    }

    #[test]
    fn the_order_of_the_answer_does_not_matter() {
        let mut reversed = example();
        reversed.reverse();
        for peer in &mut reversed {
            peer.connections.reverse();
        }
        assert_eq!(peers(H2, &reversed), EXAMPLE);
    }
}
