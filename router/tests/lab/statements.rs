//! What NetworkPolicy means, statement by statement, between Pods of two nodes.
//!
//! The numbers are those of `docs/policy.md`: S is about selection and isolation, R about rules, C about
//! connections. What a statement says of TCP is asked over IPv4 and IPv6, of SCTP over IPv4.

mod cluster;
mod connections;
mod services;

use self::cluster::{Cluster, X, Y};
use crate::probe::{Family, Kind};

/// What is asked, and what must come of it.
struct Row {
    statement: &'static str,
    /// Namespace and spec of the policies. `{x/b}` stands for that Pod's address in the family asked
    /// about, `{all}` for the network of all Pods, `/{one}` for the length of one address.
    policies: &'static [(&'static str, &'static str)],
    asked: &'static [Question],
    /// Rows are sources, columns destinations, both in the order of [`cluster::PODS`].
    expected: [&'static str; 4],
}

type Question = (Kind, u16, Family);

const TCP4: Question = (Kind::Tcp, 80, Family::V4);
const TCP6: Question = (Kind::Tcp, 80, Family::V6);
const TCP: &[Question] = &[TCP4, TCP6];
const TCP_81: &[Question] = &[(Kind::Tcp, 81, Family::V4), (Kind::Tcp, 81, Family::V6)];
const UDP: &[Question] = &[(Kind::Udp, 80, Family::V4), (Kind::Udp, 80, Family::V6)];
const UDP_81: &[Question] = &[(Kind::Udp, 81, Family::V4), (Kind::Udp, 81, Family::V6)];
const SCTP: &[Question] = &[(Kind::Sctp, 80, Family::V4)];

const OPEN: [&str; 4] = ["-...", ".-..", "..-.", "...-"];
/// Nobody may open a connection to a Pod of x.
const IN: [&str; 4] = ["-X..", "X-..", "XX-.", "XX.-"];
/// Nor may a Pod of x to anybody.
const OUT: [&str; 4] = ["-XXX", "X-XX", "..-.", "...-"];
const BOTH: [&str; 4] = ["-XXX", "X-XX", "XX-.", "XX.-"];
/// To Pods of x from those of y alone.
const FROM_Y: [&str; 4] = ["-X..", "X-..", "..-.", "...-"];

const fn row(
    statement: &'static str,
    policies: &'static [(&'static str, &'static str)],
    asked: &'static [Question],
    expected: [&'static str; 4],
) -> Row {
    Row { statement, policies, asked, expected }
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    row("S1", &[], TCP, OPEN),
    row("S2", &[(X, "{podSelector: {matchLabels: {pod: a}}}")], TCP, ["-...", "X-..", "X.-.", "X..-"]),
    row("S2", &[(X, "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress]}")], TCP, ["-XXX", ".-..", "..-.", "...-"]),
    row("S3", &[(X, "{podSelector: {}}")], TCP, IN),
    row("S3", &[(X, "{policyTypes: [Ingress]}")], TCP, IN),
    row("S4", &[(X, "{podSelector: {}, egress: []}")], TCP, IN),
    row("S4", &[(X, "{podSelector: {}, egress: [{to: [{podSelector: {}}]}]}")], TCP, BOTH),
    row("S5", &[(X, "{podSelector: {}, policyTypes: [Egress]}")], TCP, OUT),
    row("S6", &[(X, "{podSelector: {}, policyTypes: [Ingress]}")], TCP, IN),
    row("S6", &[(X, "{podSelector: {}, ingress: [{}]}")], TCP, OPEN),
    row("S7", &[
        (X, "{podSelector: {}}"),
        (X, "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {pod: a}}}]}]}"),
        (X, "{podSelector: {matchLabels: {pod: b}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}}]}]}"),
    ], TCP, ["-...", "X-..", "X.-.", "X..-"]),
    row("S8", &[
        (X, "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {ns: y}}}]}]}"),
        (Y, "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: x}}, podSelector: {matchLabels: {pod: b}}}]}]}"),
    ], TCP, ["-XXX", "X-..", "..-X", "..X-"]),
    row("S9", &[(X, "{podSelector: {}, ingress: [{ports: [{port: nosuch}]}]}")], TCP, IN),
    row("S9", &[(X, "{podSelector: {}, ingress: [{ports: [{port: 80, protocol: SCTP}]}]}")], TCP, IN),

    row("R1", &[(X, "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {pod: a}}}, {podSelector: {matchLabels: {pod: none}}}], ports: [{port: 79}, {port: 80}]}]}")],
        TCP, ["-...", "X-..", "XX-.", "XX.-"]),
    row("R1", &[(X, "{podSelector: {}, ingress: [{from: [], ports: []}]}")], UDP, OPEN),
    row("R2", &[(X, "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}]}]}")], TCP, ["-X..", ".-..", "XX-.", "XX.-"]),
    row("R2", &[(X, "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {pod: b}}}]}]}")],
        TCP, ["-.XX", "X-XX", "..-.", "...-"]),
    row("R3", &[(X, "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}}]}]}")], TCP, FROM_Y),
    row("R3", &[(X, "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {ns: y}}}]}]}")],
        TCP, ["-X..", "X-..", "..-.", "...-"]),
    row("R3", &[(X, "{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}")], TCP, OPEN),
    row("R4", &[(X, "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}, podSelector: {matchLabels: {pod: a}}}]}]}")],
        TCP, ["-X..", "X-..", "..-.", "XX.-"]),
    row("R4", &[(X, "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}}, {podSelector: {matchLabels: {pod: a}}}]}]}")],
        TCP, ["-...", "X-..", "..-.", "...-"]),
    row("R6", &[(X, "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: '{all}', except: ['{x/b}/{one}', '{y/a}/{one}']}}]}]}")],
        TCP, ["-...", "X-..", "XX-.", "...-"]),
    row("R6", &[(X, "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: '{all}', except: ['{x/b}/{one}', '{y/a}/{one}']}}, {podSelector: {matchLabels: {pod: b}}}]}]}")],
        TCP, ["-...", ".-..", "XX-.", "...-"]),
    row("R6", &[(X, "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: '{all}', except: ['{y/a}/{one}']}}]}]}")],
        TCP, ["-.X.", ".-X.", "..-.", "...-"]),
    row("R7", &[(X, "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}")], &[TCP4], OPEN),
    row("R7, C13", &[(X, "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}")], &[TCP6], IN),
    row("R7", &[(X, "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: '::/0'}}]}]}")], &[TCP6], OPEN),
    row("R7, C13", &[(X, "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: '::/0'}}]}]}")], &[TCP4], IN),
    row("R7", &[(X, "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: '{y/a}/{one}'}}]}]}")], TCP, ["-X..", "X-..", "..-.", "XX.-"]),
    row("R8", &[(X, "{podSelector: {}, ingress: [{ports: [{port: 80}]}]}")], TCP, OPEN),
    row("R8", &[(X, "{podSelector: {}, ingress: [{ports: [{port: 80}]}]}")], TCP_81, IN),
    row("R8", &[(X, "{podSelector: {}, ingress: [{ports: [{port: 80}]}]}")], UDP, IN),
    row("R8", &[(X, "{podSelector: {}, ingress: [{ports: [{protocol: UDP}]}]}")], UDP_81, OPEN),
    row("R8", &[(X, "{podSelector: {}, ingress: [{ports: [{protocol: UDP}]}]}")], TCP, IN),
    row("R9", &[(X, "{podSelector: {}, ingress: [{ports: [{port: 79, endPort: 80}]}]}")], TCP, OPEN),
    row("R9", &[(X, "{podSelector: {}, ingress: [{ports: [{port: 79, endPort: 80}]}]}")], TCP_81, IN),
    row("R9", &[(X, "{podSelector: {}, ingress: [{ports: [{port: 81, endPort: 90, protocol: UDP}]}]}")], UDP_81, OPEN),
    // `web` is 80 everywhere but at x/b, where it is 81.
    row("R10", &[(X, "{podSelector: {}, ingress: [{ports: [{port: web}]}]}")], TCP, ["-X..", ".-..", ".X-.", ".X.-"]),
    row("R10", &[(X, "{podSelector: {}, ingress: [{ports: [{port: web}]}]}")], TCP_81, ["-...", "X-..", "X.-.", "X..-"]),
    row("R10", &[(X, "{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: web}]}]}")], TCP, ["-X..", ".-..", "..-.", "...-"]),
    row("R10", &[(X, "{podSelector: {}, ingress: [{ports: [{port: dns}]}]}")], TCP_81, IN),
    row("R10", &[(X, "{podSelector: {}, ingress: [{ports: [{port: dns, protocol: UDP}]}]}")], UDP_81, OPEN),
    row("R11", &[(X, "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: '{all}'}}], ports: [{port: web}]}]}")], TCP, OUT),
    row("R13", &[(X, "{podSelector: {}, ingress: [{ports: [{port: 80, protocol: SCTP}]}]}")], SCTP, OPEN),
    row("R13", &[(X, "{podSelector: {}, ingress: [{ports: [{port: 80}]}]}")], SCTP, IN),
    row("R13", &[(X, "{podSelector: {}, ingress: [{ports: [{port: 80, protocol: UDP}]}]}")], TCP, IN),
    row("R15", &[(X, "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: ns, operator: NotIn, values: [x]}, {key: ns, operator: Exists}]}}]}]}")],
        TCP, FROM_Y),
    row("R15", &[(X, "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {pod: a}, matchExpressions: [{key: nope, operator: DoesNotExist}]}}]}]}")],
        TCP, ["-...", "X-..", "XX-.", "XX.-"]),
    row("R16", &[(X, "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: y}}}]}]}")], TCP, FROM_Y),
    row("C12", &[(X, "{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 80}]}]}")], UDP_81, OUT),
    // What was there last has been deleted.
    row("C9", &[], TCP, OPEN),
];

#[test]
fn each_statement_about_selection_and_rules_holds_between_pods_of_two_nodes() {
    let mut cluster = Cluster::up("statements");
    for (index, row) in ROWS.iter().enumerate() {
        for &(kind, port, family) in row.asked {
            let what = format!("row {index}, {}, {kind:?} {port}, {family:?}", row.statement);
            let policies: Vec<_> = row
                .policies
                .iter()
                .map(|(namespace, spec)| (*namespace, cluster.filled(spec, family)))
                .collect();
            cluster.set_policies(&policies);
            cluster.await_matrix(&what, kind, port, family, &row.expected);
        }
    }
}
