//! The plugin under a real container runtime.

use serde_json::json;

use crate::harness::{Lab, PATIENCE, eventually};

#[test]
fn containers_of_two_hosts_talk_http() {
    let lab = Lab::up("containers", 2);
    lab.launch(1, &["--ipalloc-init", "founder"]);
    lab.launch(2, &["h1"]);
    lab.await_mesh(PATIENCE);
    for host in ["1", "2"] {
        lab.ok(["containerd", host]);
    }
    let address = lab.ok(["container", "1", "web", "httpd", "-f", "-h", "/www"]);
    let client = lab.ok(["container", "2", "client", "sleep", "1000"]);
    assert_ne!(address, client);
    let ps = lab.ps(1).expect("the daemon answers");
    assert!(ps.to_string().contains(&format!("\"{address}/")), "{ps}");

    eventually("ping from the other container", PATIENCE, || {
        let ping =
            lab.lab(["containerexec", "2", "client", "ping", "-c", "1", "-W", "1", &address]);
        if ping.code == 0 { Ok(()) } else { Err(ping.stdout) }
    });
    // busybox-static's wget crashes on some machines; HTTP by hand does not.
    let get = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc {address} 80");
    let page = lab.ok(["containerexec", "2", "client", "sh", "-c", &get]);
    assert!(page.contains("200 OK") && page.contains("a page from a container"), "{page}");

    // ctr names no namespace when it calls DEL.
    for (host, name) in [(2, "client"), (1, "web")] {
        lab.ok(["uncontainer", &host.to_string(), name]);
        assert_eq!(lab.ps(host), Ok(json!([])), "DEL frees the address");
        let links = lab.links(host);
        assert!(
            !links.iter().any(|link| link.starts_with("wv")),
            "DEL removes the wire: {links:?}"
        );
    }
}
