//! Everything at once.

use super::{connections, ipam, peers, ps, status, targets};
use crate::cli::query::Report;

/// `weft report`: every table below its name, those without a line left out.
pub(in crate::cli) fn report(report: &Report) -> String {
    let own = &report.status.router.name;
    let mut text = status(&report.status);
    for (title, table) in [
        ("connections", connections(&report.connections)),
        ("peers", peers(own, &report.peers)),
        ("targets", targets(&report.targets)),
        ("ipam", ipam(own, &report.ipam, &report.status.ipam.removals)),
        ("ps", ps(&report.attachments)),
    ] {
        if !table.is_empty() {
            text.push_str(&format!("\n{title}:\n{table}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::example::H2;
    use super::super::{
        connections::tests as connections, ipam::tests as ipam, peers::tests as peers,
        ps::tests as ps, status::tests as status, targets::tests as targets,
    };
    use super::*;

    fn example() -> Report {
        let mut own = status::example();
        own.router.name = H2.into();
        own.router.nickname = "h2".into();
        Report {
            version: "0.1.0",
            status: own,
            connections: connections::example(),
            peers: peers::example(),
            targets: targets::example(),
            ipam: ipam::example(),
            attachments: ps::example(),
        }
    }

    #[test]
    fn all_tables() {
        let head = status::EXAMPLE.replace("a1b2c3d4e5(h1)", "b1b2c3d4e5(h2)");
        let expected = format!(
            "{head}\nconnections:\n{}\npeers:\n{}\ntargets:\n{}\nipam:\n{}\nps:\n{}",
            connections::EXAMPLE,
            peers::EXAMPLE,
            targets::EXAMPLE,
            ipam::EXAMPLE,
            ps::EXAMPLE,
        );
        assert_eq!(report(&example()), expected);
    }

    #[test]
    fn the_json_has_every_part() {
        let json = serde_json::to_value(example()).unwrap();
        let keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            ["attachments", "connections", "ipam", "peers", "status", "targets", "version"]
        );
    }
}
