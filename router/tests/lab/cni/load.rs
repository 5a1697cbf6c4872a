//! Many at once.

use serde_json::json;

use super::{Sandbox, network};
use crate::harness::Lab;

#[test]
fn a_hundred_adds_at_once_all_succeed() {
    let lab = Lab::up("hundred", 1);
    lab.launch(1, &["--ipalloc-init", "founder"]);
    let pods: Vec<_> = (0..100).map(|pod| Sandbox::new(&lab, &format!("p{pod}"))).collect();
    let all = |verb: &str| {
        let start = |pod: &Sandbox| pod.start(&lab, (1, "weft-net", verb), &network(), &[]);
        let calls: Vec<_> = pods.iter().map(start).collect();
        calls.into_iter().map(|call| call.answer().ok()).collect::<Vec<_>>()
    };
    let results = all("ADD");
    let mut addresses: Vec<_> = results.iter().map(|add| add["ips"].to_string()).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 100, "{addresses:?}");
    let wires = || lab.links(1).iter().filter(|link| link.starts_with("wv")).count();
    assert_eq!(wires(), 100);
    let known = lab.ps(1).expect("the daemon answers");
    assert_eq!(known.as_array().map(Vec::len), Some(100));
    all("DEL");
    assert_eq!((lab.ps(1), wires()), (Ok(json!([])), 0));
}
