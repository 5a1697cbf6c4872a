//! NetworkPolicy, with the validation of `pkg/apis/networking/validation` in Kubernetes.

use std::collections::BTreeSet;

use ipnet::IpNet;
use serde_json::Value;

use super::field::{Fields, Reader};
use super::names;
use super::objects::{self, metadata};
use crate::{
    Direction, Expression, IpBlock, NetworkPolicy, Operator, Peer, PortMatch, Rule, RulePort,
    Selector,
};

/// Reads a policy; `None` if it has no usable name.
pub(super) fn read(reader: &mut Reader, mut top: Fields<'_>) -> Option<NetworkPolicy> {
    let metadata = metadata(reader, &mut top, "NetworkPolicy", true)?;
    // The status went away in Kubernetes 1.28; manifests saved before have it.
    top.allow(&["status"]);
    let mut policy = NetworkPolicy {
        namespace: metadata.namespace,
        name: metadata.name,
        subjects: Selector::default(),
        ingress: Some(Vec::new()),
        egress: None,
    };
    // A policy without a spec isolates all Pods of its namespace for ingress, as an empty spec does.
    if let Some(spec) = top.object(reader, "spec") {
        read_spec(reader, spec, &mut policy);
    }
    top.finish(reader);
    Some(policy)
}

fn read_spec(reader: &mut Reader, mut spec: Fields<'_>, policy: &mut NetworkPolicy) {
    let before = reader.count();
    let subjects = spec.object(reader, "podSelector").map(|fields| selector(reader, fields));
    let types = types(reader, &mut spec);
    let understood = reader.count() == before;

    let ingress = rules(reader, &mut spec, Direction::Ingress);
    let egress = rules(reader, &mut spec, Direction::Egress);
    if understood {
        policy.subjects = subjects.unwrap_or_default();
        let types = types.unwrap_or_else(|| {
            let egress = (!egress.is_empty()).then_some(Direction::Egress);
            [Direction::Ingress].into_iter().chain(egress).collect()
        });
        policy.ingress = types.contains(&Direction::Ingress).then_some(ingress);
        policy.egress = types.contains(&Direction::Egress).then_some(egress);
    } else {
        // Whom it isolates, and in which direction, is not known: everyone, in both. What it allows
        // was not meant for everyone.
        policy.ingress = Some(Vec::new());
        policy.egress = Some(Vec::new());
    }
    spec.finish(reader);
}

/// `policyTypes`; `None` where the default holds, as for a list without elements.
fn types(reader: &mut Reader, spec: &mut Fields<'_>) -> Option<BTreeSet<Direction>> {
    let list = spec.list(reader, "policyTypes");
    if list.is_empty() {
        return None;
    }
    if list.len() > 2 {
        reader.invalid(&spec.at("policyTypes"), "must have at most two elements");
    }
    let mut types = BTreeSet::new();
    for (value, path) in list {
        match value.as_str() {
            Some("Ingress") => types.insert(Direction::Ingress),
            Some("Egress") => types.insert(Direction::Egress),
            _ => {
                reader.invalid(&path, "must be Ingress or Egress");
                false
            }
        };
    }
    Some(types)
}

fn rules(reader: &mut Reader, spec: &mut Fields<'_>, direction: Direction) -> Vec<Rule> {
    let (list, peers) = match direction {
        Direction::Ingress => ("ingress", "from"),
        Direction::Egress => ("egress", "to"),
    };
    let list = spec.list(reader, list);
    list.into_iter().map(|(value, path)| rule(reader, value, &path, peers)).collect()
}

fn rule(reader: &mut Reader, value: &Value, path: &str, peers_key: &'static str) -> Rule {
    let before = reader.count();
    let mut fields = Fields::new(reader, value, path);
    let mut peers = Vec::new();
    for (value, path) in fields.list(reader, peers_key) {
        peers.extend(peer(reader, value, &path));
    }
    let mut ports = Vec::new();
    for (value, path) in fields.list(reader, "ports") {
        ports.extend(port(reader, value, &path));
    }
    fields.finish(reader);
    // A list that lost an element may have become empty, and an empty list means everything.
    let usable = reader.count() == before;
    Rule { peers, ports, usable }
}

fn peer(reader: &mut Reader, value: &Value, path: &str) -> Option<Peer> {
    let mut fields = Fields::new(reader, value, path);
    let pods = fields.object(reader, "podSelector").map(|fields| selector(reader, fields));
    let namespaces =
        fields.object(reader, "namespaceSelector").map(|fields| selector(reader, fields));
    let block = fields.object(reader, "ipBlock");
    let peer = match block {
        Some(block) if pods.is_none() && namespaces.is_none() => {
            ip_block(reader, block).map(Peer::Block)
        }
        Some(block) => {
            reader.invalid(block.path(), "must not stand beside podSelector or namespaceSelector");
            None
        }
        None if !fields.is_object() => None,
        None if pods.is_none() && namespaces.is_none() => {
            reader.invalid(path, "must have podSelector, namespaceSelector or ipBlock");
            None
        }
        None => Some(Peer::Pods { namespaces, pods: pods.unwrap_or_default() }),
    };
    fields.finish(reader);
    peer
}

fn ip_block(reader: &mut Reader, mut fields: Fields<'_>) -> Option<IpBlock> {
    let at = fields.at("cidr");
    let cidr = match fields.value("cidr") {
        Some(value) => network(reader, value, &at),
        None => {
            reader.invalid(&at, "is missing");
            None
        }
    };
    let mut except = Vec::new();
    for (value, path) in fields.list(reader, "except") {
        let Some(hole) = network(reader, value, &path) else { continue };
        if let Some(cidr) = cidr
            && (!cidr.contains(&hole) || cidr == hole)
        {
            reader.invalid(&path, format!("must be inside {cidr} and smaller"));
        }
        except.push(hole);
    }
    fields.finish(reader);
    Some(IpBlock { cidr: cidr?, except })
}

/// A network; bits beyond its length are cut off.
fn network(reader: &mut Reader, value: &Value, path: &str) -> Option<IpNet> {
    let network = value.as_str().and_then(|text| text.parse::<IpNet>().ok());
    if network.is_none() {
        reader.invalid(path, "must be a network such as 10.0.0.0/8 or 2001:db8::/32");
    }
    network.map(|network| network.trunc())
}

fn port(reader: &mut Reader, value: &Value, path: &str) -> Option<RulePort> {
    let mut fields = Fields::new(reader, value, path);
    let protocol = objects::protocol(reader, &mut fields);
    let (port_at, end_at) = (fields.at("port"), fields.at("endPort"));
    let port = fields.value("port");
    let end = fields.value("endPort");
    fields.finish(reader);

    let number = |value: &Value| value.as_u64().and_then(|number| u16::try_from(number).ok());
    let number = |value: &Value| number(value).filter(|&number| number != 0);
    let last = end.and_then(|end| {
        let last = number(end);
        if last.is_none() {
            reader.invalid(&end_at, "must be a number from 1 to 65535");
        }
        last
    });
    let matching = match (port, end) {
        (None, None) => PortMatch::Any,
        (None, Some(_)) => {
            reader.invalid(&end_at, "needs port");
            return None;
        }
        (Some(Value::String(name)), None) => {
            if let Err(rule) = names::port_name(name) {
                reader.invalid(&port_at, rule);
                return None;
            }
            PortMatch::Named(name.clone())
        }
        (Some(Value::String(_)), Some(_)) => {
            reader.invalid(&end_at, "needs a port that is a number");
            return None;
        }
        (Some(port), _) => {
            let Some(first) = number(port) else {
                reader.invalid(&port_at, "must be a number from 1 to 65535, or the name of a port");
                return None;
            };
            match (end, last) {
                (None, _) => PortMatch::Range(first, first),
                (Some(_), Some(last)) if last >= first => PortMatch::Range(first, last),
                (Some(_), Some(_)) => {
                    reader.invalid(&end_at, format!("must not be less than port, {first}"));
                    return None;
                }
                (Some(_), None) => return None,
            }
        }
    };
    Some(RulePort { protocol: protocol?, port: matching })
}

fn selector(reader: &mut Reader, mut fields: Fields<'_>) -> Selector {
    let labels = objects::labels(reader, &mut fields, "matchLabels");
    let mut expressions = Vec::new();
    for (value, path) in fields.list(reader, "matchExpressions") {
        expressions.extend(expression(reader, value, &path));
    }
    fields.finish(reader);
    Selector { labels, expressions }
}

fn expression(reader: &mut Reader, value: &Value, path: &str) -> Option<Expression> {
    let mut fields = Fields::new(reader, value, path);
    let (key_at, operator_at, values_at) =
        (fields.at("key"), fields.at("operator"), fields.at("values"));
    let key = fields.text(reader, "key").unwrap_or_default();
    if let Err(rule) = names::label_key(key) {
        reader.invalid(&key_at, rule);
    }
    let operator = match fields.text(reader, "operator") {
        Some("In") => Some(Operator::In),
        Some("NotIn") => Some(Operator::NotIn),
        Some("Exists") => Some(Operator::Exists),
        Some("DoesNotExist") => Some(Operator::DoesNotExist),
        _ => {
            reader.invalid(&operator_at, "must be In, NotIn, Exists or DoesNotExist");
            None
        }
    };
    let mut values = BTreeSet::new();
    for (value, path) in fields.list(reader, "values") {
        match value
            .as_str()
            .ok_or("must be a string: put it in quotes")
            .map(|text| (text, names::label_value(text)))
        {
            Ok((text, Ok(()))) => {
                values.insert(text.to_owned());
            }
            Ok((_, Err(rule))) | Err(rule) => reader.invalid(&path, rule),
        }
    }
    fields.finish(reader);
    match operator? {
        Operator::In | Operator::NotIn if values.is_empty() => {
            reader.invalid(&values_at, "must not be empty with In and NotIn");
        }
        Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
            reader.invalid(&values_at, "must be empty with Exists and DoesNotExist");
        }
        Operator::In | Operator::NotIn | Operator::Exists | Operator::DoesNotExist => {}
    }
    Some(Expression { key: key.to_owned(), operator: operator?, values })
}
