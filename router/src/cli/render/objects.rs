//! Shared policies and namespaces.

use weft_api::policy::StoredObject;
use weft_policy::{Expression, Labels, NetworkPolicy, Object, Operator, Selector, parse_value};

use super::{clean, name, width};
use crate::utc::utc;

/// `weft policy get`: kind and name, what it is about, when and where it was written.
pub(in crate::cli) fn objects(objects: &[StoredObject]) -> String {
    let titles: Vec<String> = objects.iter().map(title).collect();
    let contents: Vec<String> = objects.iter().map(content).collect();
    let (title_width, content_width) = (width(&titles, 0), width(&contents, 0));
    let mut text = String::new();
    for ((row, title), content) in objects.iter().zip(titles).zip(contents) {
        let (when, whose) = (utc(row.written_ms / 1000), name(&row.writer, &row.nickname));
        text.push_str(&format!("{title:title_width$} {content:content_width$} {when} {whose}\n"));
    }
    text
}

fn title(row: &StoredObject) -> String {
    let namespace = row.id.namespace.as_ref().map(|n| format!("{n}/")).unwrap_or_default();
    clean(&format!("{:13} {namespace}{}", row.id.kind, row.id.name))
}

fn content(row: &StoredObject) -> String {
    let text = match parse_value("object", &row.object).objects.first() {
        Some(Object::NetworkPolicy(policy)) => {
            format!("{} of {}", directions(policy), selected(&policy.subjects))
        }
        Some(Object::Namespace(namespace)) => labels(&namespace.labels),
        Some(Object::Pod(_)) | None => "?".to_owned(),
    };
    clean(&text)
}

fn directions(policy: &NetworkPolicy) -> &'static str {
    match (&policy.ingress, &policy.egress) {
        (Some(_), Some(_)) => "ingress and egress",
        (Some(_), None) => "ingress",
        (None, Some(_)) => "egress",
        (None, None) => "nothing",
    }
}

fn selected(selector: &Selector) -> String {
    let mut parts: Vec<String> = selector.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    parts.extend(selector.expressions.iter().map(expression));
    if parts.is_empty() { "all Pods".to_owned() } else { parts.join(",") }
}

fn expression(expression: &Expression) -> String {
    let values: Vec<&str> = expression.values.iter().map(String::as_str).collect();
    let (key, values) = (&expression.key, values.join(" "));
    match expression.operator {
        Operator::In => format!("{key} in ({values})"),
        Operator::NotIn => format!("{key} not in ({values})"),
        Operator::Exists => key.clone(),
        Operator::DoesNotExist => format!("!{key}"),
    }
}

fn labels(labels: &Labels) -> String {
    let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    labels.join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weft_api::policy::ObjectName;

    use super::*;

    #[test]
    fn the_table_shows_whom_a_policy_isolates_and_escapes_what_others_chose() {
        let row = |kind: &str, namespace: Option<&str>, object| StoredObject {
            id: ObjectName {
                kind: kind.into(),
                namespace: namespace.map(str::to_owned),
                name: "web".into(),
            },
            written_ms: 1_786_042_538_000,
            writer: "a1b2c3d4e5f6".into(),
            nickname: "h\u{7}".into(),
            object,
        };
        let policy = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": { "name": "web", "namespace": "prod" },
            "spec": { "podSelector": { "matchLabels": { "app": "web" }, "matchExpressions": [
                { "key": "tier", "operator": "In", "values": ["a", "b"] } ] } },
        });
        let namespace =
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "web" } });
        let text = objects(&[
            row("Namespace", None, namespace),
            row("NetworkPolicy", Some("prod"), policy),
            row("NetworkPolicy", Some("prod"), json!("garbage")),
        ]);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("Namespace     web      kubernetes.io/metadata.name=web"));
        assert!(
            lines[1].starts_with("NetworkPolicy prod/web ingress of app=web,tier in (a b)"),
            "{text}"
        );
        assert!(lines[1].ends_with(r"2026-08-06 18:55:38 UTC a1b2c3d4e5(h\u{7})"), "{text}");
        assert!(lines[2].starts_with("NetworkPolicy prod/web ?"), "{text}");
    }
}
