//! `weft policy matrix`: manifests in, a table of who reaches whom out. No daemon is asked. The commands
//! that ask one are in [`objects`].

pub(super) mod objects;

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use serde::Serialize;
use weft_policy::{Cluster, Matrix, Parsed, Peer, PortSpec, Severity, parse};

use super::args::MatrixArgs;
use super::{Failure, output, render};

/// The name that stands for standard input.
const STDIN: &str = "-";
/// The greatest number of Pods: the table has this many squared cells.
const MAX_PODS: usize = 5_000;

/// What `--json` prints: the contract of `policy matrix`.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Document {
    port: String,
    pods: Vec<String>,
    matrix: Vec<String>,
}

/// Prints the table of the files' Pods.
pub(super) fn matrix(args: &MatrixArgs) -> Result<(), Failure> {
    let (cluster, mut remarks) = read(&args.files)?;
    remarks.extend(unknown_port(&cluster, &args.port));
    output::complain(&remarks.join("\n"));
    let matrix = Matrix::new(&cluster, &args.port);
    let pods: Vec<_> = cluster.pods.iter().map(weft_policy::Pod::full_name).collect();
    if args.json {
        output::print_json(&Document { port: args.port.to_string(), pods, matrix: matrix.rows() })?;
    } else {
        let table = render::matrix(&args.port, &pods, &matrix, output::has_colour());
        output::print(&table)?;
    }
    Ok(())
}

/// The Pods that run, the namespaces and the policies of all files, and what is worth a remark.
fn read(files: &[String]) -> Result<(Cluster, Vec<String>), Failure> {
    let mut cluster = Cluster::default();
    let (mut problems, mut remarks) = (Vec::new(), Vec::new());
    for file in files {
        let parsed = contents(file)
            .and_then(|text| parse(shown(file), &text).map_err(|error| error.to_string()));
        let Parsed { objects, faults, ignored } = match parsed {
            Ok(parsed) => parsed,
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        for fault in faults {
            match fault.severity {
                Severity::Invalid => problems.push(fault.to_string()),
                Severity::Unknown => remarks.push(fault.to_string()),
            }
        }
        if !ignored.is_empty() {
            remarks.push(format!("{}: left out: {}", shown(file), ignored.join(", ")));
        }
        if let Err(error) = cluster.add(objects) {
            problems.push(format!("{}: {error}", shown(file)));
        }
    }
    if problems.is_empty() {
        leave_out_finished(&mut cluster, &mut remarks);
        problems.extend(unanswerable(&cluster));
    }
    if !problems.is_empty() {
        return Err(Failure::Failed(problems.join("\n")));
    }
    remarks.extend(unknown_addresses(&cluster));
    Ok((cluster, remarks))
}

fn contents(file: &str) -> Result<String, String> {
    let read = if file == STDIN {
        let mut text = String::new();
        io::stdin().lock().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(Path::new(file))
    };
    read.map_err(|error| format!("cannot read {}: {error}", shown(file)))
}

fn shown(file: &str) -> &str {
    if file == STDIN { "standard input" } else { file }
}

/// A Pod that has ended neither sends nor receives.
fn leave_out_finished(cluster: &mut Cluster, remarks: &mut Vec<String>) {
    cluster.pods.retain(|pod| {
        if pod.finished {
            remarks.push(format!("Pod {} has ended: left out", pod.full_name()));
        }
        !pod.finished
    });
}

/// Why there is no table to print.
fn unanswerable(cluster: &Cluster) -> Option<String> {
    match cluster.pods.len() {
        0 => Some("there is no Pod in the files: the table is of Pods, add their manifests".into()),
        1..=MAX_PODS => None,
        many => Some(format!("{many} Pods are too many for a table: {MAX_PODS} at most")),
    }
}

/// A Pod that has no address yet is in no block of addresses, which may surprise.
fn unknown_addresses(cluster: &Cluster) -> Option<String> {
    let rules = cluster.policies.values().flat_map(|policy| [&policy.ingress, &policy.egress]);
    let mut peers = rules.flatten().flatten().flat_map(|rule| &rule.peers);
    if !peers.any(|peer| matches!(peer, Peer::Block(_))) {
        return None;
    }
    let without = cluster.pods.iter().filter(|pod| pod.addresses.is_empty()).count();
    (without > 0).then(|| {
        format!(
            "{without} of {} Pods have no status.podIP: no ipBlock contains them",
            cluster.pods.len()
        )
    })
}

/// A name that no Pod gives a port, which may be a slip of the pen.
fn unknown_port(cluster: &Cluster, port: &PortSpec) -> Option<String> {
    let PortSpec::Name(name, protocol) = port else { return None };
    let unknown = cluster.pods.iter().all(|pod| pod.numbers(name, *protocol).next().is_none());
    unknown
        .then(|| format!("no Pod has a port {port}: give a number, or a name from a containerPort"))
}

#[cfg(test)]
mod tests;
