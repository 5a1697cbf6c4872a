use serde_json::{Value, json};

use super::{Condition, OwnNode, info, own};
use crate::{Object, ObjectId};

fn object(value: Value) -> Object {
    let id = ObjectId { namespace: String::new(), name: "n".to_owned() };
    Object { id, uid: "u".to_owned(), value }
}

#[test]
fn external_addresses_count_only_where_there_is_no_internal_one() {
    let entry = |kind: &str, address: &str| json!({ "type": kind, "address": address });
    let addresses = |listed: Value| {
        let node = info(&object(json!({ "status": { "addresses": listed } })));
        node.addresses.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let both = json!([
        entry("ExternalIP", "198.51.100.1"),
        entry("InternalIP", "192.0.2.1"),
        entry("InternalIP", "2001:db8::1")
    ]);
    assert_eq!(addresses(both), ["192.0.2.1", "2001:db8::1"]);
    assert_eq!(
        addresses(json!([entry("ExternalIP", "198.51.100.1"), entry("Hostname", "n")])),
        ["198.51.100.1"]
    );
    assert_eq!(
        addresses(json!([entry("InternalIP", "not one"), entry("Hostname", "192.0.2.7")])),
        Vec::<String>::new()
    );
}

#[test]
fn anything_may_stand_in_a_node() {
    for value in [
        json!(null),
        json!(7),
        json!({ "status": 7 }),
        json!({ "status": { "addresses": { "a": 1 }, "conditions": [7, "x"] } }),
        json!({ "metadata": { "annotations": [1] } }),
    ] {
        let node = info(&object(value.clone()));
        assert!(node.addresses.is_empty() && node.peer.is_none(), "{value}");
        assert_eq!(own(&value), OwnNode::default());
    }
}

#[test]
fn the_own_node_says_what_was_said_there() {
    let node = json!({
        "metadata": { "annotations": { "weft.network/peer": "p", "other": "o" } },
        "status": { "conditions": [{ "type": "Ready", "status": "True" }, { "type": "NetworkUnavailable", "status": "False", "reason": "WeftIsUp", "message": "m" }] },
    });
    let condition = Condition {
        status: "False".to_owned(),
        reason: "WeftIsUp".to_owned(),
        message: "m".to_owned(),
    };
    assert_eq!(own(&node), OwnNode { peer: Some("p".to_owned()), condition: Some(condition) });
}
