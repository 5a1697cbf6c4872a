//! The plugin under containerd's CRI service, which is what a kubelet talks to.

use serde_json::json;

use crate::cri_client::{Cri, Pod};
use crate::harness::{Lab, PATIENCE, eventually};

const RANGES: [&str; 2] = ["--ipalloc-range", "10.32.0.0/12,fd00:77::/48"];

#[test]
fn pods_of_two_kubelets_have_the_addresses_that_are_reported() {
    let lab = Lab::up("cri", 2);
    lab.launch(1, &[&RANGES[..], &["--ipalloc-init", "founder"]].concat());
    lab.launch(2, &[&RANGES[..], &["h1"]].concat());
    lab.await_mesh(PATIENCE);
    let hosts = [1, 2].map(|host: usize| {
        lab.ok(["containerd", &host.to_string()]);
        let cri = Cri::connect(&lab.host_dir(host).join("containerd/containerd.sock"));
        eventually("the runtime's network", PATIENCE, || cri.network_ready());
        cri
    });
    let web = hosts[0].run_pod(&Pod { namespace: "shop", name: "web-0" });
    let client = hosts[1].run_pod(&Pod { namespace: "shop", name: "client-0" });
    // What the kubelet would tell the API is what the daemon knows: IPv4 first, then IPv6.
    for (host, pod, name) in [(1, &web, "web-0"), (2, &client, "client-0")] {
        let reported = hosts[host - 1].addresses(pod);
        assert_eq!(reported.len(), 2, "{reported:?}");
        let ps = lab.ps(host).expect("the daemon answers");
        assert_eq!((&ps[0]["namespace"], &ps[0]["pod"]), (&json!("shop"), &json!(name)));
        let known = ps[0]["ips"].as_array().expect("a list").iter();
        let known: Vec<_> =
            known.filter_map(|ip| Some(ip.as_str()?.split_once('/')?.0.to_owned())).collect();
        assert_eq!(reported, known);
    }
    let server = hosts[0].run_container(&web, &["httpd", "-f", "-h", "/www"]);
    let shell = hosts[1].run_container(&client, &["sleep", "1000"]);
    for address in hosts[0].addresses(&web) {
        eventually(&format!("a page from {address}"), PATIENCE, || {
            let get = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc {address} 80");
            let page = hosts[1].exec(&shell, &["sh", "-c", &get]);
            if page.contains("a page from a container") { Ok(()) } else { Err(page) }
        });
    }
    let addresses = hosts[0].exec(&server, &["ip", "address", "show", "dev", "eth0"]);
    assert!(hosts[0].addresses(&web).iter().all(|ip| addresses.contains(ip)), "{addresses}");

    for (host, pod) in [(1, &web), (2, &client)] {
        hosts[host - 1].remove_pod(pod);
        assert_eq!(lab.ps(host), Ok(json!([])), "DEL frees the addresses");
        assert!(
            !lab.links(host).iter().any(|link| link.starts_with("wv")),
            "{:?}",
            lab.links(host)
        );
    }
}
