//! What the engine tells of policies: who they select, and what decides a connection.

use std::net::IpAddr;

use weft_api::enforcement::{DirectionVerdict, ExplainQuery, Explanation, PolicyStatus};
use weft_api::error::{ErrorBody, ErrorCode};
use weft_policy::{
    Cluster, Connection, Decision, Direction, Endpoint, Family, Pod, PolicyRef, PortSpec, Reason,
    Traffic,
};

use super::Engine;

impl Engine {
    /// `weft status policy`, the packets not counted yet; by namespace and name.
    pub(in crate::daemon) fn policy_list(&self) -> Vec<PolicyStatus> {
        let state = self.enforcement.told();
        let own = Some(state.node.as_str());
        let rows = state.cluster.policies.values().map(|policy| {
            let selected = state.cluster.all_pods().filter(|pod| {
                pod.is_selectable()
                    && pod.namespace == policy.namespace
                    && policy.subjects.matches(&pod.labels)
            });
            let (pods, local_pods) = selected.fold((0, 0), |(all, local), pod| {
                (all + 1, local + usize::from(pod.node.as_deref() == own))
            });
            let directions = [("ingress", Direction::Ingress), ("egress", Direction::Egress)];
            PolicyStatus {
                namespace: policy.namespace.clone(),
                name: policy.name.clone(),
                directions: directions
                    .into_iter()
                    .filter(|(_, direction)| policy.rules(*direction).is_some())
                    .map(|(word, _)| word.to_owned())
                    .collect(),
                local_pods,
                pods,
                allowed_packets: 0,
                denied_packets: 0,
            }
        });
        rows.collect()
    }

    /// `weft policy explain`: what this node's policies, as it knows them, say of a connection.
    pub(in crate::daemon) fn explain(
        &self,
        query: &ExplainQuery,
    ) -> Result<Explanation, ErrorBody> {
        explain(&self.enforcement.told().cluster, query)
    }
}

fn explain(cluster: &Cluster, query: &ExplainQuery) -> Result<Explanation, ErrorBody> {
    let invalid = |message: String| ErrorBody { code: ErrorCode::Invalid, message };
    let (source, destination) = (end(cluster, &query.from)?, end(cluster, &query.to)?);
    let port: PortSpec =
        query.port.parse().map_err(|e| invalid(format!("invalid port \"{}\": {e}", query.port)))?;
    let traffic = match (&port, destination) {
        (PortSpec::Number(number, protocol), _) => Traffic::Port(*protocol, *number),
        (PortSpec::Name(name, protocol), Endpoint::Pod(pod)) => {
            let number = pod.numbers(name, *protocol).next();
            let number = number.ok_or_else(|| {
                let pod = pod.full_name();
                invalid(format!("{pod} has no port {name} of {protocol}: give a number"))
            })?;
            Traffic::Port(*protocol, number)
        }
        (PortSpec::Name(name, _), Endpoint::Address(_) | Endpoint::OwnNode) => {
            return Err(invalid(format!("an address has no port {name}: give a number")));
        }
    };
    let v4 = [source, destination].into_iter().all(|end| has(end, Family::V4));
    let family = if v4 { Family::V4 } else { Family::V6 };
    if !v4 && ![source, destination].into_iter().all(|end| has(end, Family::V6)) {
        let message = format!("{} and {} have no family in common", query.from, query.to);
        return Err(invalid(message));
    }
    let verdict = cluster.evaluate(&Connection::new(source, destination, family, traffic));
    Ok(Explanation {
        verdict: word(verdict.is_allowed()),
        egress: direction(&verdict.egress),
        ingress: direction(&verdict.ingress),
    })
}

/// The Pod of that name or address, or the address.
fn end<'a>(cluster: &'a Cluster, text: &str) -> Result<Endpoint<'a>, ErrorBody> {
    if let Ok(address) = text.parse::<IpAddr>() {
        let pod = cluster.all_pods().find(|pod| pod.addresses.contains(&address));
        return Ok(pod.map_or(Endpoint::Address(address), Endpoint::Pod));
    }
    let is = |pod: &&Pod| match text.split_once('/') {
        Some((namespace, name)) => pod.namespace == namespace && pod.name == name,
        None => false,
    };
    cluster.all_pods().find(is).map(Endpoint::Pod).ok_or_else(|| ErrorBody {
        code: ErrorCode::NotFound,
        message: format!("no Pod {text} is known here: give NAMESPACE/NAME or an address"),
    })
}

fn has(end: Endpoint<'_>, family: Family) -> bool {
    match end {
        Endpoint::Pod(pod) => pod.addresses.iter().any(|address| Family::of(*address) == family),
        Endpoint::Address(address) => Family::of(address) == family,
        Endpoint::OwnNode => true,
    }
}

fn word(allowed: bool) -> String {
    if allowed { "allowed" } else { "denied" }.to_owned()
}

fn direction(decision: &Decision) -> DirectionVerdict {
    let name = |policy: &PolicyRef| match &policy.namespace {
        Some(namespace) => format!("{namespace}/{}", policy.name),
        None => policy.name.clone(),
    };
    let mut verdict = DirectionVerdict {
        verdict: word(decision.allowed),
        reason: String::new(),
        policy: None,
        rule: None,
        isolated_by: Vec::new(),
    };
    verdict.reason = match &decision.reason {
        Reason::NotAPod => "no Pod that policies see".to_owned(),
        Reason::Established => "part of a connection that was allowed".to_owned(),
        Reason::Neighbour => "neighbour discovery always passes".to_owned(),
        Reason::OwnNode => "the other end is the Pod's own node".to_owned(),
        Reason::NotIsolated => "no policy isolates the Pod".to_owned(),
        Reason::Rule { policy, rule, .. } => {
            verdict.policy = Some(name(policy));
            verdict.rule = Some(*rule);
            format!("rule {rule} of {}", name(policy))
        }
        Reason::NoRule { policies } => {
            verdict.isolated_by = policies.iter().map(name).collect();
            format!("no rule of {}", verdict.isolated_by.join(", "))
        }
    };
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(from: &str, to: &str, port: &str) -> Result<String, String> {
        let text = "
{apiVersion: v1, kind: Pod, metadata: {name: a}, status: {podIP: 10.0.0.1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: b, labels: {app: web}}, spec: {containers: [{ports: [{name: web, containerPort: 80}]}]}, status: {podIP: 10.0.0.2}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p}
spec: {podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: 80}]}]}
";
        let mut cluster = Cluster::default();
        cluster.add(weft_policy::parse("test", text).unwrap().objects).unwrap();
        let [from, to, port] = [from, to, port].map(str::to_owned);
        let answer = explain(&cluster, &ExplainQuery { from, to, port });
        let text =
            |e: Explanation| format!("{}: {}; {}", e.verdict, e.egress.reason, e.ingress.reason);
        answer.map(text).map_err(|error| error.message)
    }

    #[test]
    fn what_decided_is_named() {
        let open = "no policy isolates the Pod";
        let rule = Ok(format!("allowed: {open}; rule 0 of default/p"));
        assert_eq!(ask("default/a", "default/b", "80/tcp"), rule);
        assert_eq!(ask("10.0.0.1", "10.0.0.2", "web"), rule);
        let none = Ok(format!("denied: {open}; no rule of default/p"));
        assert_eq!(ask("default/a", "default/b", "81"), none);
        let outside = Ok("denied: no Pod that policies see; no rule of default/p".to_owned());
        assert_eq!(ask("192.0.2.1", "default/b", "80/udp"), outside);
    }

    #[test]
    fn what_is_not_known_is_named() {
        for (from, to, port, part) in [
            ("default/c", "default/b", "80", "no Pod default/c is known"),
            ("a", "default/b", "80", "no Pod a is known"),
            ("default/a", "default/b", "x y", "invalid port \"x y\""),
            ("default/b", "default/a", "web", "default/a has no port web"),
            ("fd00::9", "default/a", "80", "no family in common"),
        ] {
            let error = ask(from, to, port).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
