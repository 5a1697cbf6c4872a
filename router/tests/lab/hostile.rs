//! A member that knows the secret and talks nonsense: it is named, and nobody else notices.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, RecvStream, SendStream};
use weft_crypto::{
    ADMISSION_EXPORTER_LABEL, Admission, ClusterSecret, EXPORTER_LEN, Identity, Role, SERVER_NAME,
};
use weft_netio::netns::Netns;

use crate::harness::{Lab, PATIENCE, eventually};
use crate::paths::{name, pings, stall};

/// The types of frames.
const PROOF: u8 = 1;
const HELLO: u8 = 2;
const GOSSIP: u8 = 3;

/// How long the other side is waited for.
const DEADLINE: Duration = Duration::from_secs(20);

/// Runs a caller's part in a host's namespace.
pub(crate) fn on_host<T: Send>(lab: &Lab, host: usize, run: impl AsyncFnOnce() -> T + Send) -> T {
    let path = format!("/run/netns/{}", lab.namespace(host));
    let netns = Netns::open(path.as_ref()).expect("the host is there");
    netns
        .run(|| {
            // Threads inherit the namespace. One goes on with QUIC while the test waits for something else.
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = runtime.worker_threads(1).enable_all().build();
            runtime.expect("a runtime").block_on(run())
        })
        .expect("a thread in the host's namespace")
}

/// The QUIC endpoint of such a caller.
pub(crate) fn endpoint(identity: &Identity) -> Endpoint {
    let tls = weft_crypto::client_config(identity).expect("a TLS configuration");
    let tls = QuicClientConfig::try_from(tls).expect("a QUIC configuration");
    let mut config = EndpointConfig::default();
    config.grease_quic_bit(false);
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
    let runtime = Arc::new(quinn::TokioRuntime);
    let mut endpoint = Endpoint::new(config, None, socket, runtime).expect("an endpoint");
    endpoint.set_default_client_config(ClientConfig::new(Arc::new(tls)));
    endpoint
}

/// A connection that has been admitted, or would be if the secret were right.
pub(crate) struct Caller {
    pub(crate) connection: Connection,
    send: SendStream,
    recv: RecvStream,
}

impl Caller {
    /// Dials, proves the secret, and says hello. `None` where the other side would not have it.
    pub(crate) async fn admitted(
        endpoint: &Endpoint,
        to: SocketAddr,
        identity: &Identity,
        secret: &ClusterSecret,
    ) -> Option<Self> {
        let connecting = endpoint.connect(to, SERVER_NAME).expect("it can be dialled");
        let connection = tokio::time::timeout(DEADLINE, connecting).await.ok()?.ok()?;
        let mut exporter = [0; EXPORTER_LEN];
        connection.export_keying_material(&mut exporter, ADMISSION_EXPORTER_LABEL, b"").ok()?;
        let key = connection.peer_identity()?;
        let key = key.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().ok()?;
        let server = weft_crypto::peer_name(&key).ok()?;
        let admission = Admission::new(secret, &exporter, identity.name(), server);
        let (send, recv) = connection.open_bi().await.ok()?;
        let mut caller = Self { connection, send, recv };
        caller.say(PROOF, admission.proof(Role::Client).as_bytes()).await?;
        caller.hear().await.filter(|(kind, _)| *kind == PROOF)?;
        // A boot id, a dial number, an index; no word of ciphers.
        caller.say(HELLO, &[1; 20]).await?;
        caller.hear().await.filter(|(kind, _)| *kind == HELLO)?;
        Some(caller)
    }

    /// Sends a frame; `None` where the connection is over.
    async fn say(&mut self, kind: u8, body: &[u8]) -> Option<()> {
        let mut frame = Vec::new();
        frame.extend(u32::try_from(body.len() + 1).expect("it is short").to_le_bytes());
        frame.push(kind);
        frame.extend(body);
        self.send.write_all(&frame).await.ok()
    }

    async fn hear(&mut self) -> Option<(u8, Vec<u8>)> {
        let heard = async {
            let mut length = [0; 4];
            self.recv.read_exact(&mut length).await.ok()?;
            let length = usize::try_from(u32::from_le_bytes(length)).ok()?;
            let mut frame = vec![0; length];
            self.recv.read_exact(&mut frame).await.ok()?;
            Some((*frame.first()?, frame.split_off(1)))
        };
        tokio::time::timeout(DEADLINE, heard).await.ok().flatten()
    }
}

/// The secret of the lab.
pub(crate) fn secret(lab: &Lab) -> ClusterSecret {
    let text = std::fs::read_to_string(lab.dir().join("secret")).expect("the lab has a secret");
    ClusterSecret::parse(text.trim()).expect("it is a good one")
}

/// Two nodes with a Pod each, and a third host without a daemon.
fn two_and_a_stranger(tag: &str) -> (Lab, String) {
    let lab = Lab::up(tag, 3);
    lab.launch(1, &["--ipalloc-init", "founder"]);
    lab.launch(2, &["h1"]);
    lab.pod(1, "a");
    let two = lab.pod(2, "a");
    lab.await_ping(1, "a", &two);
    (lab, two)
}

#[test]
fn a_member_that_talks_nonsense_is_named_and_not_listened_to() {
    let (lab, two) = two_and_a_stranger("nonsense");
    let (secret, identity) = (secret(&lab), Identity::from_seed([77; 32]));
    let to = SocketAddr::from(([10, 99, 0, 1], 6783));
    let member = identity.name().to_string();
    let pings = pings(&lab, 1, "a", &two);
    on_host(&lab, 3, async || {
        let endpoint = endpoint(&identity);
        let mut caller =
            Caller::admitted(&endpoint, to, &identity, &secret).await.expect("a member is let in");
        // What it hears first, with a bit flipped here and there: records that nobody signed so, among others.
        let (kind, heard) = caller.hear().await.expect("members are told something");
        assert_eq!(kind, GOSSIP);
        for at in (0..heard.len()).step_by(heard.len().div_ceil(100).max(1)) {
            let mut bent = heard.clone();
            bent[at] ^= 0x10;
            caller.say(GOSSIP, &bent).await.expect("a bad message ends nothing");
        }
        for n in 0..5_000_u32 {
            let nonsense: Vec<u8> = n.to_le_bytes().repeat(1 + usize::from(n.to_le_bytes()[0]));
            caller.say(GOSSIP, &nonsense).await.expect("a bad message ends nothing");
        }
        let row = eventually("the member is named", PATIENCE, || {
            let table = lab.json(1, &["status", "connections", "--json"])?;
            let mut rows = table.as_array().into_iter().flatten();
            let row = rows.find(|row| row["peer"] == member.as_str());
            let row = row.ok_or("it is not in the table")?.clone();
            if row["quarantine_s"].is_u64() { Ok(row) } else { Err(row.to_string()) }
        });
        let faults = row["faults"].as_object().expect("an object");
        let sum: u64 = faults.values().filter_map(serde_json::Value::as_u64).sum();
        assert!(sum > 8, "{row}");
        let text = lab.weft(1, &["status", "connections"]).stdout;
        assert!(text.contains("not read for another"), "{text}");
        let warnings = lab.status(1).expect("the daemon answers")["warnings"].to_string();
        assert!(warnings.contains("sends what no node should"), "{warnings}");
        eventually("what it says is passed over", PATIENCE, || {
            let ignored = lab.metric(1, "weft_gossip_ignored_total").unwrap_or_default();
            if ignored > 1000.0 { Ok(()) } else { Err(format!("{ignored} ignored")) }
        });
        assert!(caller.connection.close_reason().is_none(), "the connection stands");
    });
    assert_eq!(lab.metric(1, "weft_peers_quarantined"), Some(1.0));
    assert_eq!(lab.metric(2, "weft_peers_quarantined"), Some(0.0));

    // Who breaks the framing loses the connection, and in the end is not let in.
    let to = SocketAddr::from(([10, 99, 0, 2], 6783));
    on_host(&lab, 3, async || {
        let endpoint = endpoint(&identity);
        let mut refused = false;
        for _ in 0..40 {
            let Some(mut caller) = Caller::admitted(&endpoint, to, &identity, &secret).await else {
                refused = true;
                break;
            };
            // It may have been closed already.
            let _ = caller.send.write_all(&u32::MAX.to_le_bytes()).await;
            caller.connection.closed().await;
        }
        let barred = lab.metric(2, "weft_peers_quarantined") == Some(1.0);
        assert!(refused || barred, "it is let in for ever");
    });
    assert!(lab.metric(2, "weft_peer_faults_total{kind=\"frame\"}") > Some(8.0));

    lab.await_ping(1, "a", &two);
    let (answers, _) = stall(&pings.stop());
    assert!(answers > 10, "{answers} pings were answered");
    for (host, peer) in [(1, "h2"), (2, "h1")] {
        let log = lab.log(host);
        assert!(!log.contains("panicked"), "{log}");
        let ended = log.lines().find(|line| line.contains("disconnected") && line.contains(peer));
        assert_eq!(ended, None, "an honest connection ended");
        assert!(log.lines().count() < 200, "the log is full of it: {} lines", log.lines().count());
    }
    // Nobody was cut off: the two still agree on new things.
    lab.pod(2, "b");
    assert_eq!(name(&lab, 1).len(), 64);
}
