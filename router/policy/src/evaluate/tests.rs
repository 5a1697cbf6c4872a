//! Truth tables, one or more for each statement of what NetworkPolicy means. S is about selection and
//! isolation, R about rules, C about connections; the numbers are those of docs/policy.md.

use std::sync::Arc;

use super::*;
use crate::{Labels, Matrix, Namespace, Object, parse};

mod connections;
mod rules;
mod selection;
mod tiers;

/// Namespaces x and y, each with Pods a and b: addresses 10.0.0.1 to 10.0.0.4 and fd00::1 to fd00::4,
/// label `pod` as named, and the ports `web` (80, TCP) and `dns` (53, UDP). Namespaces have the label
/// `ns`.
fn base() -> Cluster {
    let mut cluster = Cluster::default();
    for (index, (namespace, name)) in
        [("x", "a"), ("x", "b"), ("y", "a"), ("y", "b")].into_iter().enumerate()
    {
        let ns = Namespace::new(namespace, labels(&[("ns", namespace)]));
        Arc::make_mut(&mut cluster.namespaces).insert(namespace.to_owned(), ns);
        let pod = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: {namespace}, \
             labels: {{pod: {name}}}}}, spec: {{containers: [{{ports: [{{name: web, \
             containerPort: 80}}, {{name: dns, containerPort: 53, protocol: UDP}}]}}]}}, status: \
             {{podIPs: [{{ip: 10.0.0.{n}}}, {{ip: 'fd00::{n}'}}]}}}}",
            n = index + 1
        );
        cluster.add(parse("test", &pod).unwrap().objects).unwrap();
    }
    cluster
}

/// [`base`] with policies `p0`, `p1`, .. in namespace x.
fn with(specs: &[&str]) -> Cluster {
    let mut cluster = base();
    for (index, spec) in specs.iter().enumerate() {
        put(&mut cluster, "x", &format!("p{index}"), spec);
    }
    cluster
}

/// Adds a policy, sound or not.
fn put(cluster: &mut Cluster, namespace: &str, name: &str, spec: &str) {
    let text = format!(
        "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: {name}, \
         namespace: {namespace}}}, spec: {spec}}}"
    );
    let objects = parse("test", &text).unwrap().objects;
    assert!(matches!(objects[..], [Object::NetworkPolicy(_)]));
    cluster.add(objects).unwrap();
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The table of x/a, x/b, y/a, y/b on a port.
fn table(cluster: &Cluster, port: &str) -> Vec<String> {
    Matrix::new(cluster, &port.parse().unwrap()).rows()
}

fn pod<'a>(cluster: &'a Cluster, name: &str) -> &'a Pod {
    cluster.pods.iter().find(|pod| pod.full_name() == name).unwrap()
}

fn outside(address: &str) -> Endpoint<'static> {
    Endpoint::Address(address.parse().unwrap())
}

const HTTP: Traffic = Traffic::Port(Protocol::Tcp, 80);

/// Whether HTTP over IPv4 may be opened.
fn http(cluster: &Cluster, source: Endpoint<'_>, destination: Endpoint<'_>) -> bool {
    cluster.evaluate(&Connection::new(source, destination, Family::V4, HTTP)).is_allowed()
}

const OPEN: [&str; 4] = ["....", "....", "....", "...."];
