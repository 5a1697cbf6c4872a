//! The connections of this node.

use weft_api::status::{Connection, ConnectionState, Direction};

use super::{ADDRESS_WIDTH, address_key, clean, name, width};

/// The width of states: the longest is `established`.
const STATE_WIDTH: usize = 11;

/// `weft status connections`: a line each, by address.
pub(in crate::cli) fn connections(connections: &[Connection]) -> String {
    let mut sorted: Vec<_> = connections.iter().collect();
    sorted.sort_by_key(|row| (address_key(&row.address), row.direction, row.state));
    let addresses: Vec<_> = sorted.iter().map(|row| clean(&row.address)).collect();
    let address_width = width(&addresses, ADDRESS_WIDTH);
    let columns = Columns::of(connections);
    let mut text = String::new();
    for (row, address) in sorted.into_iter().zip(addresses) {
        let line = format!(
            "{} {address:address_width$} {:STATE_WIDTH$} {}",
            arrow(row.direction),
            state(row.state),
            info(row, &columns),
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The arrow from this node's side.
pub(super) fn arrow(direction: Direction) -> &'static str {
    match direction {
        Direction::Out => "->",
        Direction::In => "<-",
    }
}

fn state(state: ConnectionState) -> &'static str {
    match state {
        ConnectionState::Established => "established",
        ConnectionState::Pending => "pending",
        ConnectionState::Retrying => "retrying",
        ConnectionState::Failed => "failed",
        ConnectionState::Connecting => "connecting",
    }
}

/// The widths that the texts of all rows need.
struct Columns {
    cipher: usize,
    transport: usize,
    path: usize,
}

impl Columns {
    fn of(rows: &[Connection]) -> Self {
        let widest = |text: fn(&Connection) -> String| {
            rows.iter().map(|row| text(row).chars().count()).max().unwrap_or(0)
        };
        Self { cipher: widest(cipher), transport: widest(transport), path: widest(path) }
    }
}

fn cipher(row: &Connection) -> String {
    row.cipher.as_deref().map(clean).unwrap_or_default()
}

fn transport(row: &Connection) -> String {
    row.transport.as_deref().map(clean).unwrap_or_default()
}

fn path(row: &Connection) -> String {
    match (&row.path, &row.via) {
        (Some(path), Some(via)) => format!("{} via {}", clean(path), name(via, "")),
        (Some(path), None) => clean(path),
        (None, _) => String::new(),
    }
}

/// What follows the state: how the packets go and to whom, or why they do not.
fn info(row: &Connection, columns: &Columns) -> String {
    let mut words = Vec::new();
    if let Some(peer) = &row.peer {
        for (text, width) in [
            (cipher(row), columns.cipher),
            (transport(row), columns.transport),
            (path(row), columns.path),
        ] {
            // A column that no row fills is left out.
            if width > 0 {
                words.push(format!("{text:width$}"));
            }
        }
        words.push(name(peer, row.nickname.as_deref().unwrap_or_default()));
    }
    words.extend(row.mtu.map(|mtu| format!("mtu={mtu}")));
    words.extend(row.rtt_us.map(|rtt| format!("rtt={}", duration(rtt))));
    words.extend(row.detail.as_deref().map(clean));
    words.join(" ")
}

/// Microseconds to about three digits: `412us`, `12.3ms`, `1.2s`.
fn duration(microseconds: u64) -> String {
    let (us, tenth_of_ms, tenth_of_s) = (microseconds, microseconds / 100, microseconds / 100_000);
    match microseconds {
        0..1_000 => format!("{us}us"),
        1_000..1_000_000 => format!("{}.{}ms", tenth_of_ms / 10, tenth_of_ms % 10),
        _ => format!("{}.{}s", tenth_of_s / 10, tenth_of_s % 10),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::example::{H1, H2, H3};
    use super::*;

    fn live(direction: Direction, address: &str, peer: &str, nickname: &str) -> Connection {
        Connection {
            direction,
            address: address.into(),
            state: ConnectionState::Established,
            peer: Some(peer.into()),
            nickname: Some(nickname.into()),
            transport: Some("udp".into()),
            path: Some("direct".into()),
            via: None,
            cipher: Some("chacha20-poly1305".into()),
            mtu: Some(1404),
            offload: None,
            loss_percent: None,
            rtt_us: Some(412),
            detail: None,
            faults: Default::default(),
            quarantine_s: None,
        }
    }

    fn dead(address: &str, state: ConnectionState, detail: Option<&str>) -> Connection {
        Connection {
            direction: Direction::Out,
            address: address.into(),
            state,
            peer: None,
            nickname: None,
            transport: None,
            path: None,
            via: None,
            cipher: None,
            mtu: None,
            offload: None,
            loss_percent: None,
            rtt_us: None,
            detail: detail.map(str::to_owned),
            faults: Default::default(),
            quarantine_s: None,
        }
    }

    /// One of each state.
    pub(in crate::cli::render) fn example() -> Vec<Connection> {
        let mut relayed = live(Direction::Out, "10.99.0.3:6783", H3, "h3");
        relayed.path = Some("relay".into());
        relayed.via = Some(H2.into());
        relayed.rtt_us = Some(12_345);
        let mut pending = live(Direction::In, "10.99.0.12:40112", H1, "");
        pending.state = ConnectionState::Pending;
        pending.mtu = None;
        pending.rtt_us = None;
        vec![
            dead("h9", ConnectionState::Connecting, None),
            dead(
                "10.99.0.15:6783",
                ConnectionState::Failed,
                Some("connection refused, retry: 2026-08-06 18:55:38 UTC"),
            ),
            dead("10.99.0.14:6783", ConnectionState::Retrying, Some("no route to host")),
            pending,
            relayed,
            live(Direction::In, "10.99.0.2:33866", H2, "h2"),
        ]
    }

    pub(in crate::cli::render) const EXAMPLE: &str = "\
<- 10.99.0.2:33866       established chacha20-poly1305 udp direct               b1b2c3d4e5(h2) mtu=1404 rtt=412us
-> 10.99.0.3:6783        established chacha20-poly1305 udp relay via b1b2c3d4e5 c1b2c3d4e5(h3) mtu=1404 rtt=12.3ms
<- 10.99.0.12:40112      pending     chacha20-poly1305 udp direct               a1b2c3d4e5
-> 10.99.0.14:6783       retrying    no route to host
-> 10.99.0.15:6783       failed      connection refused, retry: 2026-08-06 18:55:38 UTC
-> h9                    connecting
";

    #[test]
    fn one_of_each_state() {
        assert_eq!(connections(&example()), EXAMPLE);
    }

    #[test]
    fn the_order_of_the_answer_does_not_matter() {
        let mut reversed = example();
        reversed.reverse();
        assert_eq!(connections(&reversed), EXAMPLE);
    }

    #[test]
    fn a_long_address_widens_its_column() {
        let rows = [
            dead(
                "[2001:db8:1111:2222:3333:4444:5555:6666]:6783",
                ConnectionState::Connecting,
                None,
            ),
            dead("h9", ConnectionState::Failed, Some("no such host")),
        ];
        let expected = "\
-> [2001:db8:1111:2222:3333:4444:5555:6666]:6783 connecting
-> h9                                            failed      no such host
";
        assert_eq!(connections(&rows), expected);
    }

    #[test]
    fn none() {
        assert_eq!(connections(&[]), "");
    }

    #[test]
    fn round_trips_have_three_digits() {
        let shown: Vec<_> = [0, 999, 1_000, 99_950, 999_999, 1_000_000, 61_500_000]
            .into_iter()
            .map(duration)
            .collect();
        assert_eq!(shown, ["0us", "999us", "1.0ms", "99.9ms", "999.9ms", "1.0s", "61.5s"]);
    }
}
