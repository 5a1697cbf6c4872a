//! Policies in force: real sockets between Pods of two nodes, and what becomes of open connections.

use serde_json::Value;

use crate::harness::{Background, Lab, PATIENCE, binaries, eventually};

/// Two nodes that know each other.
fn mesh_of_two(name: &str, arguments: &[&str]) -> Lab {
    let lab = Lab::up(name, 2);
    lab.launch(1, &[&["--ipalloc-init", "founder"], arguments].concat());
    lab.launch(2, &[&["h1"], arguments].concat());
    lab.await_mesh(PATIENCE);
    lab
}

/// A Pod of namespace x with labels, attached by hand; its address.
fn pod(lab: &Lab, host: usize, name: &str, labels: &[&str]) -> String {
    pod_of(lab, host, "x", name, labels)
}

fn pod_of(lab: &Lab, host: usize, namespace: &str, name: &str, labels: &[&str]) -> String {
    let netns = lab.pod_namespace(host, name);
    lab.ok(["exec", &host.to_string(), "ip", "netns", "add", &netns]);
    let netns = format!("/run/netns/{netns}");
    let mut arguments = vec![
        "attach",
        "--netns",
        &netns,
        "--namespace",
        namespace,
        "--pod",
        name,
        "--port",
        "web=8080/tcp",
    ];
    for label in labels {
        arguments.extend(["--label", label]);
    }
    let outcome = lab.weft(host, &arguments);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    outcome.stdout.trim().split('/').next().expect("an address").to_owned()
}

/// Applies policies on host 1 and waits until both hosts enforce as many.
fn apply(lab: &Lab, text: &str, policies: usize) {
    let path = lab.dir().join("policies.yaml");
    std::fs::write(&path, text).expect("the lab's folder can be written");
    let outcome = lab.weft(1, &["policy", "apply", "-f", path.to_str().expect("UTF-8")]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    for host in [1, 2] {
        eventually("policies in force", PATIENCE, || {
            let policy = lab.status(host)?["policy"].clone();
            let right = policy["policies"] == policies && policy["enforcing"] == true;
            if right { Ok(()) } else { Err(policy.to_string()) }
        });
    }
}

fn policy(name: &str, spec: &str) -> String {
    format!(
        "---\n{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: {name}, namespace: x}}, spec: {spec}}}\n"
    )
}

fn server(lab: &Lab, host: usize, pod: &str, listen: &str) -> Background {
    lab.podspawn(host, pod, &["socat", &format!("{listen},reuseaddr,fork"), "SYSTEM:echo hello"])
}

/// Runs a shell's line in a Pod.
fn run(lab: &Lab, host: usize, pod: &str, line: &str) -> String {
    let net = format!("--net=/run/netns/{}", lab.pod_namespace(host, pod));
    lab.exec(host, &["nsenter", &net, "sh", "-c", line]).stdout
}

/// Whether a Pod gets an answer.
fn reaches(lab: &Lab, host: usize, pod: &str, to: &str) -> bool {
    run(lab, host, pod, &format!("echo ask | socat -T2 -t2 - {to}")).contains("hello")
}

#[track_caller]
fn becomes(lab: &Lab, host: usize, pod: &str, to: &str, wanted: bool) {
    eventually(&format!("{pod} to {to}: {wanted}"), PATIENCE, || {
        if reaches(lab, host, pod, to) == wanted { Ok(()) } else { Err("otherwise".to_owned()) }
    });
}

#[test]
fn policies_hold_between_pods_of_two_nodes() {
    let lab = mesh_of_two("policy", &[]);
    let server_ip = pod(&lab, 1, "db", &["app=db"]);
    let _web = pod(&lab, 2, "web", &["app=web"]);
    let _other = pod(&lab, 2, "other", &["app=other"]);
    let _near = pod(&lab, 1, "near", &["app=web"]);
    let _tcp = server(&lab, 1, "db", "TCP-LISTEN:8080");
    let _tcp2 = server(&lab, 1, "db", "TCP-LISTEN:8081");
    let _udp = server(&lab, 1, "db", "UDP-LISTEN:5353");
    let tcp = format!("TCP:{server_ip}:8080,connect-timeout=1");
    let tcp2 = format!("TCP:{server_ip}:8081,connect-timeout=1");
    let udp = format!("UDP:{server_ip}:5353");
    for to in [&tcp, &tcp2, &udp] {
        becomes(&lab, 2, "web", to, true);
        becomes(&lab, 2, "other", to, true);
    }

    // Nobody may come in.
    apply(&lab, &policy("db", "{podSelector: {matchLabels: {app: db}}}"), 1);
    for to in [&tcp, &udp] {
        becomes(&lab, 2, "web", to, false);
        becomes(&lab, 1, "near", to, false);
    }
    let isolated = lab.status(1).expect("it answers")["policy"]["isolated_pods"].clone();
    assert_eq!(isolated, 1);
    eventually("a drop that is named", PATIENCE, || {
        let drops = lab.json(1, &["policy", "drops", "--json"])?;
        let found = drops.as_array().into_iter().flatten().any(|drop| {
            drop["source_pod"] == "x/web"
                && drop["destination_pod"] == "x/db"
                && drop["port"] == 8080
                && drop["reason"] == "isolated for ingress by x/db"
        });
        if found { Ok(()) } else { Err(drops.to_string()) }
    });

    // Those with a label, on a named port.
    let spec = "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: \
                {matchLabels: {app: web}}}], ports: [{port: web}]}]}";
    apply(&lab, &policy("db", spec), 1);
    becomes(&lab, 2, "web", &tcp, true);
    becomes(&lab, 1, "near", &tcp, true);
    for (from, to) in [("web", &tcp2), ("web", &udp), ("other", &tcp)] {
        assert!(!reaches(&lab, 2, from, to), "{from} to {to}");
    }
    let explained = ["policy", "explain", "--from", "x/other", "--to", "x/db", "--port", "web/tcp"];
    let explained = lab.json(1, &[&explained[..], &["--json"]].concat()).expect("it explains");
    assert_eq!(explained["verdict"], "denied");
    assert_eq!(explained["ingress"]["isolated_by"][0], "x/db");
    let rows = lab.json(1, &["status", "policy", "--json"]).expect("it counts");
    assert_eq!((&rows[0]["name"], &rows[0]["local_pods"]), (&"db".into(), &1.into()));
    assert!(rows[0]["allowed_packets"].as_u64() > Some(0), "{rows}");
    assert!(rows[0]["denied_packets"].as_u64() > Some(0), "{rows}");

    // Egress at the source's node; UDP and a range.
    let spec = "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{ipBlock: {cidr: \
                10.32.0.0/12}}], ports: [{port: 5000, endPort: 6000, protocol: UDP}]}]}";
    let egress = "{podSelector: {matchLabels: {app: other}}, policyTypes: [Egress]}";
    apply(&lab, &format!("{}{}", policy("db", spec), policy("other", egress)), 2);
    becomes(&lab, 2, "web", &udp, true);
    becomes(&lab, 2, "other", &udp, false);
    assert!(!reaches(&lab, 2, "web", &tcp));

    // 4 KB in fragments.
    let big =
        format!("head -c 4000 /dev/zero | tr '\\0' x | socat -u -b 4000 - UDP:{server_ip}:5354");
    let got = lab.dir().join("got");
    let sink = format!("OPEN:{},creat,append", got.display());
    let _sink = lab.podspawn(1, "db", &["socat", "-u", "UDP-RECV:5354", &sink]);
    eventually("a datagram of 4 KB", PATIENCE, || {
        run(&lab, 2, "web", &big);
        let size = std::fs::metadata(&got).map(|data| data.len()).unwrap_or(0);
        if size >= 4000 { Ok(()) } else { Err(format!("{size} bytes")) }
    });

    // The rules outlive the daemon, and its restart.
    lab.ok(["kill", "1", "-9"]);
    assert!(!reaches(&lab, 1, "near", &tcp) && reaches(&lab, 1, "near", &udp), "killed");
    lab.launch(1, &[]);
    assert!(!reaches(&lab, 1, "near", &tcp), "restarted");
    becomes(&lab, 1, "near", &udp, true);
    becomes(&lab, 2, "web", &udp, true);

    let deleted = lab.weft(2, &["policy", "delete", "x/db", "x/other"]);
    assert_eq!(deleted.code, 0, "{}", deleted.stderr);
    becomes(&lab, 2, "other", &tcp, true);
}

/// Opens a connection that sends a line twenty times a second; answers how many have arrived so far.
fn stream(lab: &Lab, to: &str, port: u16, got: &std::path::Path) -> [Background; 2] {
    let sink = format!("OPEN:{},creat,append", got.display());
    let listen = format!("TCP-LISTEN:{port},reuseaddr");
    let server = lab.podspawn(1, "db", &["socat", "-u", &listen, &sink]);
    let send = format!(
        "while sleep 0.05; do echo line; done | socat -u - TCP:{to}:{port},retry=100,interval=0.1"
    );
    [server, lab.podspawn(2, "web", &["sh", "-c", &send])]
}

fn size(path: &std::path::Path) -> u64 {
    std::fs::metadata(path).map(|data| data.len()).unwrap_or(0)
}

/// Waits until more has arrived.
fn grows(path: &std::path::Path) -> Result<(), String> {
    let before = size(path);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(3);
    while std::time::Instant::now() < deadline {
        if size(path) > before {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    Err("nothing arrives".to_owned())
}

#[test]
fn connections_that_are_not_allowed_any_more_are_cut_or_kept() {
    for (option, kept) in [("cut", false), ("keep", true)] {
        let lab = mesh_of_two(&format!("est{option}"), &["--policy-established", option]);
        let to = pod(&lab, 1, "db", &["app=db"]);
        pod(&lab, 2, "web", &["app=web"]);
        let got = lab.dir().join("stream");
        let deny = format!("TCP:{to}:9001,connect-timeout=1");
        let _other = server(&lab, 1, "db", "TCP-LISTEN:9001");
        becomes(&lab, 2, "web", &deny, true);
        let _stream = stream(&lab, &to, 9000, &got);
        eventually("a stream", PATIENCE, || grows(&got));
        apply(&lab, &policy("db", "{podSelector: {matchLabels: {app: db}}}"), 1);
        becomes(&lab, 2, "web", &deny, false);
        if kept {
            grows(&got).expect("it is kept");
        } else {
            eventually("end of the stream", PATIENCE, || match grows(&got) {
                Ok(()) => Err("it goes on".to_owned()),
                Err(_) => Ok(()),
            });
        }
    }
}

#[test]
fn of_the_connections_of_a_peer_that_is_not_selected_any_more_those_denied_are_cut() {
    let lab = mesh_of_two("estpeer", &[]);
    let to = pod(&lab, 1, "db", &["app=db"]);
    pod_of(&lab, 2, "y", "web", &["app=web"]);
    let namespace = |tier: &str| {
        format!(
            "---\n{{apiVersion: v1, kind: Namespace, metadata: {{name: y, labels: {{tier: {tier}}}}}}}\n"
        )
    };
    let spec = "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: \
                {matchLabels: {tier: front}}}]}, {from: [{ipBlock: {cidr: 10.32.0.0/12}}], ports: \
                [{port: 9100}]}]}";
    apply(&lab, &format!("{}{}", namespace("front"), policy("db", spec)), 1);
    let (by_peer, by_block) = (lab.dir().join("peer"), lab.dir().join("block"));
    let _streams = [stream(&lab, &to, 9000, &by_peer), stream(&lab, &to, 9100, &by_block)];
    for got in [&by_peer, &by_block] {
        eventually("a stream", PATIENCE, || grows(got));
    }
    // More that is allowed touches neither.
    let wider = "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {}}], \
                 ports: [{port: 1}]}]}";
    apply(&lab, &policy("wider", wider), 2);
    for got in [&by_peer, &by_block] {
        grows(got).expect("it is still allowed");
    }
    apply(&lab, &namespace("back"), 2);
    eventually("end of the stream that the label allowed", PATIENCE, || match grows(&by_peer) {
        Ok(()) => Err("it goes on".to_owned()),
        Err(_) => Ok(()),
    });
    grows(&by_block).expect("the block allows it still");
}

#[test]
fn drops_are_told_as_they_come_and_once() {
    let lab = Lab::up("follow", 1);
    lab.launch(1, &["--ipalloc-init", "founder"]);
    let to = pod(&lab, 1, "db", &["app=db"]);
    pod(&lab, 1, "web", &["app=web"]);
    let path = lab.dir().join("deny.yaml");
    let deny = policy("db", "{podSelector: {matchLabels: {app: db}}}");
    std::fs::write(&path, deny).expect("the lab's folder can be written");
    lab.ok(["weft", "1", "policy", "apply", "-f", path.to_str().expect("UTF-8")]);
    eventually("an isolated Pod", PATIENCE, || {
        let policy = lab.status(1)?["policy"].clone();
        if policy["isolated_pods"] == 1 { Ok(()) } else { Err(policy.to_string()) }
    });
    let follow = |options: &str, file: &str| {
        let (weft, socket) = (binaries().join("weft"), lab.host_dir(1).join("weft.sock"));
        let line = format!(
            "WEFT_SOCKET={} exec {} policy drops --follow {options} >{}",
            socket.display(),
            weft.display(),
            lab.dir().join(file).display()
        );
        lab.spawn(1, &["sh", "-c", &line])
    };
    let read = |file: &str| std::fs::read_to_string(lab.dir().join(file)).unwrap_or_default();
    let drops = || -> Vec<Value> {
        let text = read("json");
        text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
    };
    let send = |port: u16| run(&lab, 1, "web", &format!("echo x | socat -u - UDP:{to}:{port}"));
    let _followers = [follow("--json", "json"), follow("", "text")];
    // What is told of one is told before the next is sent, so it comes while it is waited for.
    for (number, port) in [5001, 5002, 5003].into_iter().enumerate() {
        send(port);
        eventually("a drop that is told", PATIENCE, || {
            let told = drops();
            if told.len() == number + 1 { Ok(()) } else { Err(format!("{told:?}")) }
        });
        let told = &drops()[number];
        assert_eq!(told["source_pod"], "x/web", "{told}");
        assert_eq!(told["destination_pod"], "x/db", "{told}");
        assert_eq!((&told["protocol"], &told["port"]), (&"UDP".into(), &port.into()), "{told}");
        assert_eq!(told["reason"], "isolated for ingress by x/db", "{told}");
    }
    eventually("the same for people", PATIENCE, || {
        let text = read("text");
        let line = format!("-> x/db ({to}) port 5003: isolated for ingress by x/db");
        let right = text.lines().count() == 3 && text.contains(&line);
        if right { Ok(()) } else { Err(text) }
    });
}
