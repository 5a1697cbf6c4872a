//! Who reaches whom.

use weft_policy::{Cell, Matrix, PortSpec};

use super::{clean, width};

/// The cells, what each means, and its colour (SGR parameters).
const LEGEND: [(Cell, &str, &str); 5] = [
    (Cell::Allowed, "allowed", "32"),
    (Cell::Ingress, "blocked at ingress", "33"),
    (Cell::Egress, "blocked at egress", "35"),
    (Cell::Both, "blocked at both", "31"),
    (Cell::NoSuchPort, "no port of that name", "2"),
];

/// `weft policy matrix`: Pods are numbered, rows are sources, columns destinations.
pub(in crate::cli) fn matrix(
    port: &PortSpec,
    pods: &[String],
    matrix: &Matrix,
    colour: bool,
) -> String {
    let names: Vec<_> = pods.iter().map(|name| clean(name)).collect();
    let digits = pods.len().to_string().len();
    let title = format!("{port} from \\ to");
    let name_width = width(&names, title.chars().count().saturating_sub(digits + 1));
    let margin = digits + 1 + name_width;

    let mut text = String::new();
    // The numbers of the columns stand upright, so that a column is one character wide.
    for place in 0..digits {
        let last = place + 1 == digits;
        text.push_str(&format!("{:margin$}", if last { title.as_str() } else { "" }));
        for number in 1..=pods.len() {
            let number = format!("{number:>digits$}");
            text.extend([' ', number.chars().nth(place).unwrap_or(' ')]);
        }
        text.push('\n');
    }
    for (index, (name, row)) in names.iter().zip(matrix.cells()).enumerate() {
        text.push_str(&format!("{:>digits$} {name:name_width$}", index + 1));
        for cell in row {
            text.push(' ');
            text.push_str(&painted(*cell, colour));
        }
        text.push('\n');
    }
    text.push('\n');
    text.push_str(&legend(matrix, colour));
    text
}

/// The meaning of the cells that occur, and how many of all pairs are allowed.
fn legend(matrix: &Matrix, colour: bool) -> String {
    let count = |wanted| matrix.cells().iter().flatten().filter(|&&cell| cell == wanted).count();
    let pairs = matrix.cells().len() * matrix.cells().len();
    let meanings: Vec<_> = LEGEND
        .iter()
        .filter(|(cell, _, _)| count(*cell) > 0)
        .map(|(cell, meaning, _)| format!("{} {meaning}", painted(*cell, colour)))
        .collect();
    format!("{}\n{} of {pairs} pairs allowed\n", meanings.join("   "), count(Cell::Allowed))
}

fn painted(cell: Cell, colour: bool) -> String {
    let symbol = cell.symbol();
    match LEGEND.iter().find(|(known, _, _)| *known == cell) {
        Some((_, _, code)) if colour => format!("\u{1b}[{code}m{symbol}\u{1b}[0m"),
        _ => symbol.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use weft_policy::{Cluster, parse};

    use super::*;

    const MANIFESTS: &str = "
{apiVersion: v1, kind: Pod, metadata: {name: web, labels: {app: web}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db, labels: {app: db}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: job, namespace: batch}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 5432}]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: job, namespace: batch}
spec: {podSelector: {}, policyTypes: [Egress]}
";

    fn table(manifests: &str, port: &str, colour: bool) -> String {
        let mut cluster = Cluster::default();
        cluster.add(parse("test", manifests).unwrap().objects).unwrap();
        let port = port.parse().unwrap();
        let pods: Vec<_> = cluster.pods.iter().map(|pod| pod.full_name()).collect();
        matrix(&port, &pods, &Matrix::new(&cluster, &port), colour)
    }

    #[test]
    fn rows_are_sources_and_columns_destinations() {
        let expected = "\
TCP/5432 from \\ to 1 2 3
1 default/web      . . .
2 default/db       . I .
3 batch/job        E X E

. allowed   I blocked at ingress   E blocked at egress   X blocked at both
5 of 9 pairs allowed
";
        assert_eq!(table(MANIFESTS, "5432/tcp", false), expected);
    }

    #[test]
    fn colour_changes_nothing_but_the_colour() {
        let coloured = table(MANIFESTS, "5432/tcp", true);
        assert!(coloured.contains("\u{1b}[31mX\u{1b}[0m"), "{coloured:?}");
        let mut plain = coloured;
        for code in ["0", "31", "32", "33", "35"] {
            plain = plain.replace(&format!("\u{1b}[{code}m"), "");
        }
        assert_eq!(plain, table(MANIFESTS, "5432/tcp", false));
    }

    #[test]
    fn numbers_of_many_pods_stand_upright() {
        let pod =
            |index| format!("{{kind: Pod, apiVersion: v1, metadata: {{name: p{index}}}}}\n---\n");
        let manifests: String = (1..=11).map(pod).collect();
        let table = table(&manifests, "http/tcp", false);
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines[0], "                                     1 1");
        assert_eq!(lines[1], "TCP/http from \\ to 1 2 3 4 5 6 7 8 9 0 1");
        assert_eq!(lines[2], " 1 default/p1      ? ? ? ? ? ? ? ? ? ? ?");
        assert_eq!(lines[12], "11 default/p11     ? ? ? ? ? ? ? ? ? ? ?");
        assert_eq!(lines[14..], ["? no port of that name", "0 of 121 pairs allowed"]);
    }
}
