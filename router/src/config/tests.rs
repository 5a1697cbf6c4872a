//! Precedence, and the exact text of every complaint.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use weft_crypto::{ClusterSecret, Suite};

use super::*;

const SECRET: (&str, &str) = ("WEFT_SECRET", "kV9#mQ2$xL7!pR4@wZ8%tN3^bH6&yD1*cJ5");

#[test]
fn defaults() {
    let config = Launch::new().config();
    assert_eq!(config.nickname, "the-host");
    assert_same(&config, &Config::with_defaults("the-host".into(), config.secrets.clone()));
    assert!(config.warnings.is_empty());
}

#[test]
fn flags_beat_the_environment_which_beats_the_file() {
    let file = "nickname = \"file\"\nbridge = \"file\"\nport = 1\nmtu = 1001";
    let config = Launch::new()
        .file(file)
        .env("WEFT_BRIDGE", "env")
        .env("WEFT_PORT", "2")
        .env("WEFT_MTU", "")
        .flag(Setting::Port, &["3"])
        .config();
    assert_eq!(config.nickname, "file");
    assert_eq!(config.bridge, "env");
    assert_eq!(config.port, 3);
    assert_eq!(config.mtu, Mtu::Fixed(1001), "an empty variable is an unset one");
}

#[test]
fn a_value_that_is_overridden_is_not_looked_at() {
    let config = Launch::new().file("port = 99999").flag(Setting::Port, &["3"]).config();
    assert_eq!(config.port, 3);
}

#[test]
fn a_list_comes_whole_from_one_source() {
    let launch = || Launch::new().file("peers = [\"a\", \"b:7000\"]");
    assert_eq!(peers(&launch().config()), ["a", "b:7000"]);
    assert_eq!(
        peers(&launch().env("WEFT_PEERS", "c, [fd99::1]:1,").config()),
        ["c", "[fd99::1]:1"]
    );
    assert_eq!(peers(&launch().flag(Setting::Peers, &["d", "D:6783", "e"]).config()), ["d", "e"]);
}

#[test]
fn every_setting_has_three_names() {
    // A value for each that is not the default.
    let values = [
        (Setting::Peers, "\"h2\"", "h2"),
        (Setting::Nickname, "\"n\"", "n"),
        (Setting::Port, "7000", "7000"),
        (Setting::DataDir, "\"/d\"", "/d"),
        (Setting::Socket, "\"/s\"", "/s"),
        (Setting::StatusAddr, "\"[::1]:1\"", "[::1]:1"),
        (Setting::IpallocRange, "[\"fd00:77::/48\", \"10.1.0.0/16\"]", "fd00:77::/48,10.1.0.0/16"),
        (Setting::IpallocInit, "\"consensus=3\"", "consensus=3"),
        (Setting::Bridge, "\"br\"", "br"),
        (Setting::Mtu, "1400", "1400"),
        (Setting::NoDiscovery, "true", "1"),
        (Setting::ConnLimit, "7", "7"),
        (Setting::TrustedSubnets, "[\"192.168.0.0/16\"]", "192.168.0.0/16"),
        (Setting::Cipher, "\"chacha20-poly1305\"", "chacha20-poly1305"),
        (Setting::Tunnel, "\"quic\"", "quic"),
        (Setting::RekeyInterval, "60", "60"),
        (Setting::Realtime, "\"off\"", "off"),
        (Setting::Workers, "3", "3"),
        (Setting::PolicyEstablished, "\"keep\"", "keep"),
        (Setting::Kubernetes, "true", "1"),
        (Setting::Kubeconfig, "\"/k\"", "/k"),
        (Setting::KubernetesNode, "\"n1.example\"", "n1.example"),
        (Setting::KubernetesApi, "\"https://[fd00::1]:6443/\"", "https://[fd00::1]:6443/"),
        (Setting::StandBy, "true", "on"),
        (Setting::LogLevel, "\"debug\"", "debug"),
    ];
    let covered: Vec<_> = values.iter().map(|(setting, ..)| *setting).collect();
    for setting in Setting::ALL {
        assert!(covered.contains(&setting) || setting == Setting::SecretFile, "{setting}");
    }
    let (mut by_flag, mut by_env, mut text) = (Launch::new(), Launch::new(), String::new());
    for (setting, toml, plain) in values {
        by_flag = by_flag.flag(setting, &[plain]);
        by_env = by_env.env(&setting.variable(), plain);
        text += &format!("{setting} = {toml}\n");
    }
    let config = by_flag.config();
    assert_same(&config, &by_env.config());
    assert_same(&config, &Launch::new().file(&text).config());

    assert_eq!(config.nickname, "n");
    assert_eq!(config.port, 7000);
    assert_eq!(config.data_dir, Path::new("/d"));
    assert_eq!(config.socket, Path::new("/s"));
    assert_eq!(config.status_addr.to_string(), "[::1]:1");
    assert_eq!(shown(&config.ipalloc_range), ["10.1.0.0/16", "fd00:77::/48"]);
    assert!(config.ipalloc_range_explicit);
    assert_eq!(config.ipalloc_init, IpallocInit::Consensus(Some(3)));
    assert_eq!(config.bridge, "br");
    assert_eq!(config.mtu, Mtu::Fixed(1400));
    assert!(!config.discovery);
    assert_eq!(config.conn_limit, 7);
    assert_eq!(shown(&config.trusted_subnets), ["192.168.0.0/16"]);
    assert_eq!(config.cipher, Cipher(SuitePolicy::Force(Suite::ChaCha20Poly1305)));
    assert_eq!(config.tunnel, Tunnel::Quic);
    assert_eq!(config.rekey_interval.as_secs(), 60);
    assert!(!config.realtime);
    assert_eq!(config.workers.on(64).get(), 3);
    assert_eq!(config.policy_established, PolicyEstablished::Keep);
    let kubernetes = Kubernetes {
        access: weft_kubernetes::Access::Kubeconfig("/k".into()),
        node: "n1.example".into(),
        server: Some("https://[fd00::1]:6443".into()),
    };
    assert_eq!(config.kubernetes, Some(kubernetes));
    assert!(config.stand_by);
    assert_eq!(config.log_level, LogLevel::Debug);
    assert_eq!(
        config.warnings,
        ["trusted-subnets has no effect yet: everything is encrypted everywhere"]
    );
}

#[test]
fn the_ways_to_begin_a_ring() {
    let name = "a1".repeat(32);
    let init = |text: &str| Launch::new().flag(Setting::IpallocInit, &[text]).config().ipalloc_init;
    assert_eq!(init("auto"), IpallocInit::Auto);
    assert_eq!(init("founder"), IpallocInit::Founder);
    assert_eq!(init("observer"), IpallocInit::Observer);
    assert_eq!(init("consensus"), IpallocInit::Consensus(None));
    let seed = IpallocInit::Seed(vec![name.parse().unwrap(), name.parse().unwrap()]);
    assert_eq!(init(&format!("seed={name},{name}")), seed);
}

#[test]
fn bad_values() {
    use Setting::*;
    let cases = [
        (Peers, "a b", "invalid peer \"a b\": not a host name or address, write host[:port]"),
        (Peers, "h1:x", "invalid peer \"h1:x\": the port must be a number from 1 to 65535"),
        (Peers, "", "invalid peer \"\": the host is missing, write host[:port]"),
        (Nickname, "", "invalid --nickname \"\": must have 1 to 63 characters"),
        (
            Nickname,
            "a\nb",
            "invalid --nickname \"a\\nb\": must be of ASCII letters, digits and punctuation \
             without parentheses",
        ),
        (Port, "99999", "invalid --port \"99999\": must be a number from 1 to 65535"),
        (Port, "0", "invalid --port \"0\": must be a number from 1 to 65535"),
        (Realtime, "no", "invalid --realtime \"no\": must be on or off"),
        (DataDir, "", "invalid --data-dir \"\": must not be empty"),
        (
            StatusAddr,
            "6782",
            "invalid --status-addr \"6782\": must be address:port, such as 127.0.0.1:6782 or \
             [::1]:6782",
        ),
        (
            IpallocRange,
            "10.32.0.0",
            "invalid --ipalloc-range \"10.32.0.0\": must be a network such as 10.32.0.0/12 or \
             fd00:77::/48",
        ),
        (
            IpallocRange,
            "10.32.0.1/12",
            "invalid --ipalloc-range \"10.32.0.1/12\": the host bits are not zero, write \
             10.32.0.0/12",
        ),
        (
            IpallocRange,
            "10.32.0.0/30",
            "invalid --ipalloc-range \"10.32.0.0/30\": the prefix length must be from /8 to /29",
        ),
        (
            IpallocRange,
            "fd00::/8",
            "invalid --ipalloc-range \"fd00::/8\": the prefix length must be from /16 to /120",
        ),
        (
            IpallocRange,
            "169.0.0.0/8",
            "invalid --ipalloc-range \"169.0.0.0/8\": must be unicast space, not loopback, \
             link-local, multicast or reserved",
        ),
        (
            IpallocRange,
            "10.1.0.0/16,10.2.0.0/16",
            "invalid --ipalloc-range \"10.1.0.0/16,10.2.0.0/16\": at most one range of IPv4 and \
             one of IPv6",
        ),
        (
            IpallocInit,
            "paxos",
            "invalid --ipalloc-init \"paxos\": must be auto, founder, consensus[=N], \
             seed=NAME,.. or observer",
        ),
        (
            IpallocInit,
            "consensus=0",
            "invalid --ipalloc-init \"consensus=0\": consensus=N needs a number of nodes, at \
             least 1",
        ),
        (
            IpallocInit,
            "seed=h1,h2",
            "invalid --ipalloc-init \"seed=h1,h2\": seed=A,B,.. needs the full names of the \
             nodes, 64 hexadecimal digits each",
        ),
        (
            Bridge,
            "a-name-too-long-",
            "invalid --bridge \"a-name-too-long-\": must have 1 to 15 characters",
        ),
        (
            Bridge,
            "a/b",
            "invalid --bridge \"a/b\": must be the name of an interface: ASCII without spaces, \
             / : or %",
        ),
        (Mtu, "575", "invalid --mtu \"575\": must be auto or a number from 576 to 65535"),
        (
            RekeyInterval,
            "1",
            "invalid --rekey-interval \"1\": must be a number of seconds from 2 to 120",
        ),
        (ConnLimit, "0", "invalid --conn-limit \"0\": must be a number from 1 to 65535"),
        (
            TrustedSubnets,
            "10.0.0.1/8",
            "invalid --trusted-subnets \"10.0.0.1/8\": the host bits are not zero, write \
             10.0.0.0/8",
        ),
        (
            Cipher,
            "rot13",
            "invalid --cipher \"rot13\": must be auto, aes-256-gcm or chacha20-poly1305",
        ),
        (Tunnel, "tcp", "invalid --tunnel \"tcp\": must be auto, udp or quic"),
        (Workers, "0", "invalid --workers \"0\": must be auto or a number from 1 to 64"),
        (Workers, "65", "invalid --workers \"65\": must be auto or a number from 1 to 64"),
        (PolicyEstablished, "drop", "invalid --policy-established \"drop\": must be cut or keep"),
        (
            LogLevel,
            "loud",
            "invalid --log-level \"loud\": must be error, warn, info, debug or trace",
        ),
    ];
    for (setting, text, expected) in cases {
        assert_eq!(Launch::new().flag(setting, &[text]).problems(), [expected]);
    }
    let long = format!("/{}", "s".repeat(107));
    assert_eq!(
        Launch::new().flag(Socket, &[&long]).problems(),
        [format!("invalid --socket \"{long}\": must have at most 107 bytes as an absolute path")]
    );
}

#[test]
fn the_ways_to_kubernetes() {
    use weft_kubernetes::Access;
    assert_eq!(Launch::new().env("WEFT_KUBERNETES", "0").config().kubernetes, None);
    let config = Launch::new().flag(Setting::Kubernetes, &["true"]).config().kubernetes.unwrap();
    assert_eq!((config.access, config.node.as_str()), (Access::InCluster, "the-host"));
    let launch = Launch::new().env("WEFT_KUBECONFIG", "/k").flag(Setting::Nickname, &["n2"]);
    let config = launch.config().kubernetes.unwrap();
    assert_eq!(config.access, Access::Kubeconfig("/k".into()));
    assert_eq!((config.node.as_str(), config.server), ("n2", None));
}

#[test]
fn settings_of_kubernetes_that_do_not_go_together() {
    use Setting::*;
    let alone = "it says nothing without --kubernetes or --kubeconfig FILE";
    let on = || Launch::new().env("WEFT_KUBERNETES", "1");
    let cases = [
        (
            Launch::new().flag(KubernetesNode, &["n1"]),
            format!("invalid --kubernetes-node \"n1\": {alone}"),
        ),
        (
            Launch::new().env("WEFT_KUBERNETES_API", "https://a"),
            format!("invalid WEFT_KUBERNETES_API \"https://a\": {alone}"),
        ),
        (
            Launch::new().env("WEFT_KUBERNETES", "off").flag(Kubeconfig, &["/k"]),
            "invalid --kubeconfig \"/k\": kubernetes is off: leave one of them out".to_owned(),
        ),
        (
            on().flag(Nickname, &["Node_1"]),
            "the nickname \"Node_1\" cannot be this node's Node (must be the name of a Node: at most \
             253 lower-case letters, digits, - and .): give --kubernetes-node NAME"
                .to_owned(),
        ),
        (
            on().flag(KubernetesNode, &["n1."]),
            "invalid --kubernetes-node \"n1.\": must be the name of a Node: at most 253 lower-case \
             letters, digits, - and ."
                .to_owned(),
        ),
        (
            on().flag(KubernetesApi, &["10.0.0.1:6443"]),
            "invalid --kubernetes-api \"10.0.0.1:6443\": must be a URL such as \
             https://10.0.0.1:6443, without a user"
                .to_owned(),
        ),
        (
            Launch::new().flag(Kubeconfig, &[""]),
            "invalid --kubeconfig \"\": must not be empty".to_owned(),
        ),
    ];
    for (launch, problem) in cases {
        assert_eq!(launch.problems(), [problem]);
    }
}

#[test]
fn a_bad_value_names_its_source() {
    let launch = Launch::new().env("WEFT_PEERS", "h1,:1").env("WEFT_NO_DISCOVERY", "maybe");
    let launch = launch.file("port = 0\nmtu = 1.5\nno-discovery = \"x\"");
    let path = launch.path();
    assert_eq!(
        launch.problems(),
        [
            format!("invalid mtu in {path}: must be a text in quotes or a whole number"),
            format!("invalid no-discovery in {path}: must be true or false"),
            format!("invalid port \"0\" in {path}: must be a number from 1 to 65535"),
            "invalid WEFT_NO_DISCOVERY \"maybe\": must be true or false".to_owned(),
            "invalid peer \":1\" in WEFT_PEERS: the host is missing, write host[:port]".to_owned(),
        ]
    );
}

#[test]
fn the_variable_that_kubernetes_sets_is_recognised() {
    assert_eq!(
        Launch::new().env("WEFT_PORT", "tcp://10.96.0.7:6783").problems(),
        ["invalid WEFT_PORT \"tcp://10.96.0.7:6783\": must be a number from 1 to 65535; \
          Kubernetes sets this variable for a Service named weft, set enableServiceLinks to \
          false in the Pod"]
    );
}

#[test]
fn a_variable_that_is_no_text() {
    let mut launch = Launch::new();
    launch.env.insert("WEFT_BRIDGE".into(), OsString::from_vec(vec![0xff]));
    assert_eq!(launch.problems(), ["WEFT_BRIDGE is not UTF-8 text"]);
}

#[test]
fn an_unknown_key_names_its_neighbour() {
    let launch =
        Launch::new().file("prot = 1\nipalloc_range = \"\"\nsecret = \"x\"\n[mtu]\na = 1\n[zebra]");
    let path = launch.path();
    assert_eq!(
        launch.problems(),
        [
            format!("unknown key \"ipalloc_range\" in {path}: did you mean \"ipalloc-range\"?"),
            format!("invalid mtu in {path}: must be a text in quotes or a whole number"),
            format!("unknown key \"prot\" in {path}: did you mean \"port\"?"),
            format!(
                "unknown key \"secret\" in {path}: the secret itself has no place here, name its \
                 file with \"secret-file\""
            ),
            format!(
                "unknown key \"zebra\" in {path}: the keys are the flags of `weft launch --help`"
            ),
        ]
    );
}

#[test]
fn a_file_that_is_not_toml_or_not_there() {
    let launch = Launch::new().file("port = 1\nport = 2\n");
    let path = launch.path();
    assert_eq!(launch.problems(), [format!("configuration file {path}: line 2: duplicate key")]);
    let mut launch = Launch::new();
    launch.config_file = Some("/nowhere/weft.toml".into());
    assert_eq!(
        launch.problems(),
        ["configuration file /nowhere/weft.toml: cannot be read: No such file or directory (os \
          error 2)"]
    );
    let launch = Launch::new().env("WEFT_CONFIG", "/nowhere/env.toml");
    assert!(launch.problems()[0].starts_with("configuration file /nowhere/env.toml: cannot"));
}

#[test]
fn secrets() {
    let mut launch = Launch::new();
    launch.env.clear();
    assert_eq!(
        launch.problems(),
        ["no cluster secret: give --secret-file FILE or set WEFT_SECRET; make one with \
          `weft secret new`"]
    );
    let short = Launch::new().env("WEFT_SECRET", "password").problems();
    assert_eq!(short.len(), 1);
    assert!(short[0].starts_with("WEFT_SECRET: cluster secret is too short (8 bytes"), "{short:?}");
    assert!(!short[0].contains("password"));
    assert_eq!(
        Launch::new().env("WEFT_SECRET_FILE", "/x").problems(),
        ["WEFT_SECRET and WEFT_SECRET_FILE are both set: unset one of them"]
    );
    assert_eq!(
        Launch::new().flag(Setting::SecretFile, &["/nowhere/secret"]).problems(),
        ["/nowhere/secret: cluster secret cannot be read: No such file or directory (os error 2)"]
    );
}

/// The one secret of a configuration.
fn only(config: &Config) -> &ClusterSecret {
    assert!(!config.secrets.is_changing());
    config.secrets.iter().next().unwrap()
}

#[test]
fn a_secret_file_may_hold_two() {
    let launch = Launch::new();
    let path = launch.dir.path().join("secret");
    let [old, new] = [7, 8].map(|byte| ClusterSecret::from_entropy([byte; 32]).to_text());
    std::fs::write(&path, format!("{}\n{}\n", *old, *new)).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    let name = path.display().to_string();
    let launch = launch.flag(Setting::SecretFile, &[&name]);
    let config = launch.config();
    assert!(config.secrets.is_changing());
    assert_eq!(config.secret_file, Some(path.clone()));

    std::fs::write(&path, format!("{}\npassword\n", *old)).unwrap();
    let problems = launch.problems();
    assert!(problems[0].starts_with(&format!("{name}: line 2: cluster secret is too short")));
    assert_eq!(problems.len(), 1);
}

#[test]
fn a_secret_file_beats_the_variable_only_as_a_flag() {
    let launch = Launch::new();
    let path = launch.dir.path().join("secret");
    let name = path.display().to_string();
    let other = ClusterSecret::from_entropy([7; 32]);
    std::fs::write(&path, format!("{}\n", *other.to_text())).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    let in_file = launch.file(&format!("secret-file = \"{name}\""));
    assert_eq!(*only(&in_file.config()).to_text(), SECRET.1);
    let by_flag = in_file.flag(Setting::SecretFile, &[&name]);
    assert_eq!(only(&by_flag.config()).to_text(), other.to_text());
    assert!(by_flag.config().warnings.is_empty());

    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    assert_eq!(
        by_flag.config().warnings,
        [format!("secret file {name} is open to other users (mode 0644): chmod 600 it")]
    );

    std::fs::write(&path, vec![b'x'; 5000]).unwrap();
    assert_eq!(
        by_flag.problems(),
        [format!("{name}: cluster secret is longer than 4096 bytes: is this the right file?")]
    );
}

#[test]
fn the_secret_is_never_shown() {
    let config = Launch::new().config();
    assert!(!format!("{config:?}").contains(SECRET.1));
}

#[test]
fn a_host_without_a_usable_name() {
    let mut launch = Launch::new();
    launch.hostname = "my host".into();
    assert_eq!(
        launch.problems(),
        ["the host's name \"my host\" cannot serve as nickname (must be of ASCII letters, digits \
          and punctuation without parentheses): give --nickname NAME"]
    );
    assert_eq!(launch.flag(Setting::Nickname, &["h1"]).config().nickname, "h1");
}

#[test]
fn the_example_file_shows_the_defaults() {
    let text = include_str!("../../../docs/weft.toml");
    let keys: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix('#')?.split_once(" = "))
        .map(|(key, _)| key)
        .filter(|key| !key.starts_with(' '))
        .collect();
    assert_eq!(keys, Setting::ALL.map(Setting::key));
    assert_same(&Launch::new().file(text).config(), &Launch::new().config());

    // The same file with every key in force. Nickname, secret and what belongs to Kubernetes have no fixed
    // default, and a range that is written down counts as explicit.
    let without =
        ["#nickname", "#secret-file", "#kubeconfig", "#kubernetes-node", "#kubernetes-api"];
    let in_force: String = text
        .lines()
        .filter(|line| !without.iter().any(|key| line.starts_with(key)))
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase()) => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let mut config = Launch::new().file(&in_force).config();
    assert!(config.ipalloc_range_explicit);
    config.ipalloc_range_explicit = false;
    assert_same(&config, &Launch::new().config());
}

/// A launch to be: a secret in the environment, a host's name, a file if one was written.
struct Launch {
    flags: BTreeMap<Setting, Vec<String>>,
    env: BTreeMap<String, OsString>,
    config_file: Option<PathBuf>,
    hostname: String,
    dir: tempfile::TempDir,
}

impl Launch {
    fn new() -> Self {
        Self {
            flags: BTreeMap::new(),
            env: BTreeMap::from([(SECRET.0.into(), SECRET.1.into())]),
            config_file: None,
            hostname: "the-host".into(),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn flag(mut self, setting: Setting, texts: &[&str]) -> Self {
        self.flags.insert(setting, texts.iter().map(|text| (*text).to_owned()).collect());
        self
    }

    fn env(mut self, name: &str, text: &str) -> Self {
        self.env.insert(name.into(), text.into());
        self
    }

    fn file(self, text: &str) -> Self {
        std::fs::write(self.path(), text).unwrap();
        self
    }

    fn path(&self) -> String {
        self.dir.path().join("weft.toml").display().to_string()
    }

    fn resolve(&self) -> Result<Config, Problems> {
        Config::resolve(&Sources {
            flags: self.flags.clone(),
            config_file: self.config_file.clone(),
            default_file: self.path().into(),
            environment: &|name| self.env.get(name).cloned(),
            hostname: self.hostname.clone(),
        })
    }

    fn config(&self) -> Config {
        self.resolve().unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn problems(&self) -> Vec<String> {
        self.resolve().unwrap_err().to_string().lines().map(str::to_owned).collect()
    }
}

/// Two configurations say the same; the texts of their fields compare all but the secret.
fn assert_same(left: &Config, right: &Config) {
    assert_eq!(format!("{left:#?}"), format!("{right:#?}"));
}

fn peers(config: &Config) -> Vec<String> {
    config.peers.iter().map(ToString::to_string).collect()
}

fn shown(networks: &[IpNet]) -> Vec<String> {
    networks.iter().map(ToString::to_string).collect()
}
