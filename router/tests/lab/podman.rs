//! The plugin under podman 4 with its CNI backend.

use serde_json::{Value, json};

use crate::harness::{Lab, PATIENCE, eventually};

const IMAGE: &str = "localhost/weft-lab:1";

/// The address that podman itself tells of a container.
fn told(lab: &Lab, host: &str, name: &str) -> String {
    let inspected = lab.ok(["podman", host, "inspect", name]);
    let inspected: Value = serde_json::from_str(&inspected).expect("podman prints JSON");
    let network = &inspected[0]["NetworkSettings"]["Networks"]["weft"];
    assert!(network["Gateway"].as_str().is_some_and(|gateway| !gateway.is_empty()), "{network}");
    network["IPAddress"].as_str().expect("it has an address").to_owned()
}

#[test]
fn containers_of_podman_on_two_hosts_talk_http() {
    let lab = Lab::up("podman", 2);
    lab.launch(1, &["--ipalloc-init", "founder"]);
    lab.launch(2, &["h1"]);
    lab.await_mesh(PATIENCE);
    let run = |host: &str, name: &str, more: &[&str], command: &[&str]| {
        let fixed = ["podman", host, "run", "--detach", "--name", name, "--network", "weft"];
        let image = [IMAGE];
        lab.ok(fixed.iter().chain(more).chain(&image).chain(command));
    };
    run("1", "web", &["--publish", "8088:80"], &["httpd", "-f", "-h", "/www"]);
    run("2", "client", &[], &["sleep", "1000"]);
    let address = told(&lab, "1", "web");
    let ps = lab.ps(1).expect("the daemon answers");
    assert_eq!(ps[0]["ips"], json!([format!("{address}/12")]), "both tell the same");
    eventually("a page from the other host", PATIENCE, || {
        let get = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc {address} 80");
        let page = lab.lab(["podman", "2", "exec", "client", "sh", "-c", &get]);
        if page.stdout.contains("a page from a container") { Ok(()) } else { Err(page.stderr) }
    });
    // Debian's portmap behind ours.
    let published = "curl -sS --max-time 2 http://10.99.0.1:8088/";
    eventually("the published port", PATIENCE, || {
        let page = lab.exec(2, &["sh", "-c", published]);
        if page.stdout.contains("a page from a container") { Ok(()) } else { Err(page.stderr) }
    });
    // Out of the mesh, masqueraded.
    eventually("a ping out of the mesh", PATIENCE, || {
        let ping = ["podman", "2", "exec", "client", "ping", "-c", "1", "-W", "1", "10.99.0.254"];
        let ping = lab.lab(ping);
        if ping.code == 0 { Ok(()) } else { Err(ping.stdout) }
    });
    // An address asked for by value, of the host's own part of the range.
    let wanted = address.rsplit_once('.').map(|(net, _)| format!("{net}.200")).expect("IPv4");
    lab.ok([
        "podman",
        "1",
        "run",
        "--detach",
        "--name",
        "fixed",
        "--network",
        "weft",
        "--ip",
        &wanted,
        IMAGE,
        "sleep",
        "1000",
    ]);
    assert_eq!(told(&lab, "1", "fixed"), wanted);

    for (host, names) in [("1", &["web", "fixed"][..]), ("2", &["client"])] {
        for name in names {
            lab.ok(["podman", host, "rm", "--force", "--time", "0", name]);
        }
    }
    for host in [1, 2] {
        assert_eq!(lab.ps(host), Ok(json!([])), "DEL frees the address");
        assert!(
            !lab.links(host).iter().any(|link| link.starts_with("wv")),
            "{:?}",
            lab.links(host)
        );
    }
}
