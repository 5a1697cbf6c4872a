//! Every Pod to every Pod, on one port.

use crate::{Cluster, Connection, Endpoint, Family, Pod, PortSpec, Traffic, Verdict};

/// Verdicts of all pairs of Pods, the Pods in the order in which the cluster has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matrix {
    cells: Vec<Vec<Cell>>,
}

/// What happens between two Pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cell {
    /// Allowed.
    Allowed,
    /// Denied at the destination.
    Ingress,
    /// Denied at the source.
    Egress,
    /// Denied at both.
    Both,
    /// The destination has no port of the name asked for.
    NoSuchPort,
}

impl Cell {
    /// The character that stands for it.
    pub const fn symbol(self) -> char {
        match self {
            Self::Allowed => '.',
            Self::Ingress => 'I',
            Self::Egress => 'E',
            Self::Both => 'X',
            Self::NoSuchPort => '?',
        }
    }
}

impl From<&Verdict> for Cell {
    fn from(verdict: &Verdict) -> Self {
        match (verdict.egress.allowed, verdict.ingress.allowed) {
            (true, true) => Self::Allowed,
            (true, false) => Self::Ingress,
            (false, true) => Self::Egress,
            (false, false) => Self::Both,
        }
    }
}

impl Matrix {
    /// Asks for all pairs. A connection uses IPv4, unless an end has addresses and only IPv6 ones.
    pub fn new(cluster: &Cluster, port: &PortSpec) -> Self {
        let row = |source| cluster.all_pods().map(move |to| cell(cluster, source, to, port));
        Self { cells: cluster.all_pods().map(|source| row(source).collect()).collect() }
    }

    /// The cells: a row for each source, in it a cell for each destination.
    pub fn cells(&self) -> &[Vec<Cell>] {
        &self.cells
    }

    /// The rows as texts, a character a cell.
    pub fn rows(&self) -> Vec<String> {
        self.cells.iter().map(|row| row.iter().map(|cell| cell.symbol()).collect()).collect()
    }
}

fn cell(cluster: &Cluster, source: &Pod, destination: &Pod, port: &PortSpec) -> Cell {
    let traffic = match port {
        PortSpec::Number(number, protocol) => Traffic::Port(*protocol, *number),
        PortSpec::Name(name, protocol) => match destination.numbers(name, *protocol).next() {
            Some(number) => Traffic::Port(*protocol, number),
            None => return Cell::NoSuchPort,
        },
    };
    let only_v6 = |pod: &Pod| {
        !pod.addresses.is_empty() && pod.addresses.iter().all(|address| address.is_ipv6())
    };
    let family = if only_v6(source) || only_v6(destination) { Family::V6 } else { Family::V4 };
    let (source, destination) = (Endpoint::Pod(source), Endpoint::Pod(destination));
    Cell::from(&cluster.evaluate(&Connection::new(source, destination, family, traffic)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    #[test]
    fn a_name_is_looked_up_at_each_destination() {
        let text = "
{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{ports: [{name: web, containerPort: 80}]}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: b}, spec: {containers: [{ports: [{name: web, containerPort: 81}]}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: c}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p}
spec: {podSelector: {}, ingress: [{ports: [{port: 80}]}]}
";
        let mut cluster = Cluster::default();
        cluster.add(parse("test", text).unwrap().objects).unwrap();
        let rows = |port: &str| Matrix::new(&cluster, &port.parse().unwrap()).rows();
        assert_eq!(rows("web/tcp"), [".I?", ".I?", ".I?"]);
        assert_eq!(rows("web/udp"), ["???", "???", "???"]);
        assert_eq!(rows("80/tcp"), ["...", "...", "..."]);
    }

    #[test]
    fn the_family_is_one_that_both_have_where_there_is_one() {
        let text = "
{apiVersion: v1, kind: Pod, metadata: {name: a}, status: {podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: b}, status: {podIPs: [{ip: 'fd00::2'}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: c}, status: {podIP: 10.0.0.3}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p}
spec: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 'fd00::/8'}}]}]}
";
        let mut cluster = Cluster::default();
        cluster.add(parse("test", text).unwrap().objects).unwrap();
        assert_eq!(Matrix::new(&cluster, &"80".parse().unwrap()).rows(), ["I.I", "...", "III"]);
    }
}
