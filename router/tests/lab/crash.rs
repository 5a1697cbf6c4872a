//! `kill -9`: what was promised is kept.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;
use weft_api::attach::{AttachRequest, AttachmentQuery};
use weft_cni_shim::client::{Client, ClientError};

use crate::harness::{Lab, PATIENCE, eventually};

/// All (container, addresses) that a host's daemon tells of, sorted.
fn attachments(lab: &Lab, host: usize) -> Vec<(String, String)> {
    let ps = lab.ps(host).expect("the daemon answers");
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut all: Vec<_> = ps
        .as_array()
        .expect("ps is a list")
        .iter()
        .map(|entry| (text(&entry["container"]), text(&entry["ips"])))
        .collect();
    all.sort();
    all
}

#[test]
fn a_killed_daemon_comes_back_as_it_was() {
    let lab = Lab::mesh("killed");
    let remote = lab.pod(1, "a");
    let one = lab.pod(2, "a");
    let two = lab.pod(2, "b");
    lab.await_ping(1, "a", &one);
    let before = (lab.status(2).expect("the daemon answers"), attachments(&lab, 2));
    assert_eq!(before.1.len(), 2);

    lab.ok(["kill", "2", "-9"]);
    let local = lab.podexec(2, "a", &["ping", "-n", "-c", "1", "-W", "2", &two]);
    assert_eq!(local.code, 0, "Pods of one host need no daemon: {}", local.stdout);
    lab.launch(2, &["h1"]);
    let after = (lab.status(2).expect("the daemon answers"), attachments(&lab, 2));
    assert_eq!(after.0["router"]["name"], before.0["router"]["name"]);
    assert_eq!(after.0["ipam"]["owned"], before.0["ipam"]["owned"]);
    assert_eq!(after.1, before.1);
    lab.await_mesh(PATIENCE);
    lab.await_ping(1, "a", &one);
    lab.await_ping(2, "b", &remote);
    let fresh = lab.pod(2, "c");
    assert!(![&remote, &one, &two].contains(&&fresh), "{fresh} is in use");
    lab.await_ping(1, "a", &fresh);
    lab.ok(["podcheck", "2", "a"]);
    lab.ok(["unpod", "2", "a"]);
    assert_eq!(attachments(&lab, 2).len(), 2);
}

#[test]
fn killed_while_it_hands_out_addresses_it_keeps_every_promise() {
    let lab = Lab::up("promise", 1);
    lab.launch(1, &["--ipalloc-init", "founder"]);
    for round in 0..4 {
        // A few Pods are under way at the moment of the kill, whatever the moment.
        let mut pods: Vec<_> = (0..4)
            .map(|pod| {
                let mut command = lab.command(["pod", "1", &format!("p{round}-{pod}")]);
                command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
                command.spawn().expect("scripts/lab starts")
            })
            .collect();
        if round % 2 == 0 {
            pods[round].wait().expect("it ends");
        }
        lab.ok(["kill", "1", "-9"]);
        lab.launch(1, &["--ipalloc-init", "founder"]);
        // The plugin tries again while the daemon restarts; a Pod may also have failed. Both are
        // fine.
        for pod in &mut pods {
            pod.wait().expect("it ends");
        }
    }
    let pods = lab.ok(["pods"]);
    let known = attachments(&lab, 1);
    let mut addresses: Vec<_> = Vec::new();
    for line in pods.lines() {
        let mut words = line.split(' ').skip(1);
        let (name, address) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let container = lab.pod_namespace(1, name);
        let entry = known.iter().find(|(other, _)| *other == container);
        assert!(
            entry.is_some_and(|(_, ips)| ips.contains(&format!("\"{address}/"))),
            "{line} was promised, and the daemon knows {known:?}"
        );
        addresses.push(address.to_owned());
    }
    let count = addresses.len();
    assert!(count > 0, "no Pod at all");
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), count, "an address twice: {pods}");
    eventually("pings between all of them", PATIENCE, || {
        let pings = lab.lab(["pingall", "1"]);
        if pings.code == 0 { Ok(()) } else { Err(pings.stdout) }
    });
}

/// Attaches and detaches that the loop carries out at least.
const CALLS: usize = 500;
/// Kills meanwhile, at equal numbers of calls.
const KILLS: usize = 12;
/// Callers at the same time.
const CALLERS: usize = 4;

/// What callers were told they have: address to container.
type Held = Mutex<BTreeMap<String, String>>;

#[test]
fn killed_again_and_again_during_500_attaches_and_detaches_it_keeps_every_promise() {
    let lab = Lab::up("loop", 1);
    lab.launch(1, &["--ipalloc-init", "founder"]);
    let socket = lab.host_dir(1).join("weft.sock");
    let (held, calls, over) = (Held::default(), AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (socket, held, calls, over) = (socket.clone(), &held, &calls, &over);
            scope.spawn(move || call_until(over, caller, Client::new(socket), held, calls));
        }
        for kill in 1..=KILLS {
            // Each round gets something done before the next kill.
            let goal = (kill * CALLS).div_ceil(KILLS);
            eventually("calls that are answered", 4 * PATIENCE, || {
                let now = calls.load(Ordering::SeqCst);
                if now >= goal { Ok(()) } else { Err(format!("{now} calls of {goal}")) }
            });
            lab.ok(["kill", "1", "-9"]);
            lab.launch(1, &["--ipalloc-init", "founder"]);
        }
        over.store(true, Ordering::SeqCst);
    });
    let held = held.into_inner().expect("no caller panicked");
    let known: BTreeMap<String, String> = attachments(&lab, 1)
        .into_iter()
        .map(|(container, ips)| (ips.trim_matches(['[', ']', '"']).to_owned(), container))
        .collect();
    assert_eq!(known, held, "what the daemon knows, and what was promised");
    let status = lab.status(1).expect("the daemon answers");
    assert_eq!(status["ipam"]["active"], held.len(), "{status}");
}

/// One caller: attaches, and now and then detaches what it attached, until it is `over`. A call whose
/// answer got lost is repeated, as a runtime does.
fn call_until(over: &AtomicBool, caller: usize, client: Client, held: &Held, calls: &AtomicUsize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be made");
    let mut own: Vec<(String, String)> = Vec::new();
    for number in 0.. {
        if over.load(Ordering::SeqCst) {
            return;
        }
        if number % 3 == 2 && !own.is_empty() {
            let (address, container) = own.remove(0);
            // From here on the address may be another's: it is promised to nobody.
            held.lock().expect("no caller panicked").remove(&address);
            let query = AttachmentQuery { container: Some(container), ..Default::default() };
            repeat(&runtime, || client.detach(&query));
        } else {
            let container = format!("c{caller}-{number}");
            let request = AttachRequest {
                container: container.clone(),
                ifname: "eth0".to_owned(),
                ..Default::default()
            };
            let reply = repeat(&runtime, || client.attach(&request, PATIENCE));
            let address = reply.attachment.ips[0].to_string();
            let before =
                held.lock().expect("no caller panicked").insert(address.clone(), container.clone());
            assert_eq!(before, None, "{address} was given to {container}, too");
            own.push((address, container));
        }
        calls.fetch_add(1, Ordering::SeqCst);
    }
}

/// Repeats a call until it is answered.
fn repeat<T, F: Future<Output = Result<T, ClientError>>>(
    runtime: &tokio::runtime::Runtime,
    call: impl Fn() -> F,
) -> T {
    eventually("answer", 4 * PATIENCE, || runtime.block_on(call()).map_err(|e| e.to_string()))
}
