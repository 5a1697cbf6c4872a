use super::*;

fn parse(input: &str) -> Result<Config, CniError> {
    Config::parse(input.as_bytes(), Command::Add)
}

fn refused(input: &str) -> (Code, String) {
    let error = parse(input).unwrap_err();
    (error.code, error.msg)
}

#[test]
fn the_least_configuration_has_the_defaults() {
    let config = parse(r#"{"cniVersion":"1.0.0","name":"weft","type":"weft-net"}"#).unwrap();
    assert_eq!(config.version, Version::V1_0_0);
    assert_eq!((config.socket, config.mtu, config.dns), (None, None, None));
    assert_eq!(config.retry, DEFAULT_RETRY);
    assert!(config.ips.is_empty() && config.labels.is_empty() && config.routes.is_empty());
    assert!(config.default_route && !config.ip_masq && !config.hairpin);
    assert_eq!(config.valid_attachments, None);
}

#[test]
fn all_keys_are_read_and_unknown_ones_ignored() {
    let config = parse(
        r#"{"cniVersion":"1.1.0","name":"weft","type":"weft-net","socket":"/tmp/w.sock",
            "mtu":1280,"retrySeconds":0,"dns":{"nameservers":["10.0.0.1"]},"ipam":{},
            "routes":[{"dst":"0.0.0.0/0","gw":"10.32.0.9"},{"dst":"fd00::/8","mtu":1280,"advmss":1200,"priority":7,"table":100,"scope":253,"x":1}],
            "runtimeConfig":{"ips":["10.32.0.7"],"portMappings":[]},
            "subnet":["10.32.8.0/24","fd00:0:0:8::/64"],"defaultRoute":false,"ipMasq":true,"ipMasqExempt":["10.32.8.0/24"],"hairpinMode":true,
            "cni.dev/valid-attachments":[{"containerID":"c1","ifname":"eth0"}],
            "args":{"cni":{"labels":[{"key":"app","value":"web"}],"ips":["10.32.0.8/12"]}},
            "capabilities":{"ips":true},"whatever":[1]}"#,
    )
    .unwrap();
    assert_eq!(config.socket, Some("/tmp/w.sock".into()));
    assert_eq!((config.mtu, config.retry), (Some(1280), Duration::ZERO));
    assert_eq!(config.ips, ["10.32.0.7/32".parse().unwrap()]);
    let subnets = ["10.32.8.0/24", "fd00:0:0:8::/64"].map(|subnet| subnet.parse().unwrap());
    assert_eq!(config.subnets, subnets);
    assert_eq!(config.labels.get("app").map(String::as_str), Some("web"));
    assert!(!config.default_route && config.ip_masq && config.hairpin);
    assert_eq!(config.ip_masq_exempt, ["10.32.8.0/24".parse().unwrap()]);
    let valid = BTreeSet::from([("c1".to_owned(), "eth0".to_owned())]);
    assert_eq!(config.valid_attachments, Some(valid));
    assert_eq!(config.routes.len(), 2);
    assert_eq!(config.routes[0].gw, Some("10.32.0.9".parse().unwrap()));
    let settings = config.routes[1].settings;
    assert_eq!((settings.mtu, settings.advmss), (Some(1280), Some(1200)));
    assert_eq!((settings.priority, settings.table), (Some(7), Some(100)));
    assert_eq!(settings.scope, Some(253));
}

#[test]
fn del_reads_what_it_needs_and_nothing_else() {
    let wrong = br#"{"cniVersion":"1.0.0","name":"weft","mtu":"big","routes":7,"ipam":{"type":"x"},
        "socket":"/tmp/w.sock","retrySeconds":3,"prevResult":[],"args":1}"#;
    let config = Config::parse(wrong, Command::Del).unwrap();
    assert_eq!(config.socket, Some("/tmp/w.sock".into()));
    assert_eq!(config.retry, Duration::from_secs(3));
    for command in [Command::Add, Command::Check, Command::Gc, Command::Status] {
        assert_eq!(Config::parse(wrong, command).unwrap_err().code, Code::CONFIG);
    }
}

#[test]
fn an_ipam_section_is_read_out_of_another_plugins_configuration() {
    let config = Config::parse_ipam(
        br#"{"cniVersion":"1.0.0","name":"lan","type":"bridge","mtu":"theirs","ipMasq":true,
            "ipam":{"type":"weft-ipam","socket":"/tmp/w.sock","subnet":"10.32.8.0/24","routes":[{"dst":"10.0.0.0/8"}]},
            "runtimeConfig":{"ips":["10.32.0.7"],"mac":"02:00:00:00:00:01"}}"#,
        Command::Add,
    )
    .unwrap();
    assert_eq!((config.name.as_str(), config.mtu), ("lan", None));
    assert_eq!(config.socket, Some("/tmp/w.sock".into()));
    assert_eq!((config.routes.len(), config.ips.len()), (1, 1));
    assert_eq!(config.subnets, ["10.32.8.0/24".parse().unwrap()]);
    assert!(!config.default_route && !config.ip_masq);
    let bare = br#"{"cniVersion":"1.0.0","name":"lan"}"#;
    let none = Config::parse_ipam(bare, Command::Add).unwrap_err();
    assert_eq!(
        (none.code, none.msg.as_str()),
        (Code::CONFIG, "the configuration has no ipam section")
    );
}

#[test]
fn the_example_of_the_manual_is_read() {
    let manual = include_str!("../../../../docs/cni.md");
    let example = manual.split("```json").nth(1).unwrap().split("```").next().unwrap();
    let list: Value = serde_json::from_str(example).unwrap();
    // A runtime puts the list's name and version into each plugin's configuration.
    let mut plugin = list["plugins"][0].clone();
    plugin["cniVersion"] = list["cniVersion"].clone();
    plugin["name"] = list["name"].clone();
    let config = parse(&plugin.to_string()).unwrap();
    assert_eq!((config.version, config.name.as_str()), (Version::V1_0_0, "weft"));
}

#[test]
fn each_fault_has_its_code() {
    assert_eq!(refused("{").0, Code::DECODE);
    assert_eq!(refused("").0, Code::DECODE);
    assert_eq!(refused("[]").0, Code::DECODE);
    assert_eq!(refused("{}").0, Code::VERSION);
    assert_eq!(refused(r#"{"cniVersion":"2.0.0","name":"x"}"#).0, Code::VERSION);
    assert_eq!(
        refused(r#"{"cniVersion":"1.0.0","name":"-"}"#),
        (Code::CONFIG, "invalid network name \"-\"".into())
    );
    assert_eq!(refused(r#"{"cniVersion":"1.0.0","name":"x","mtu":"big"}"#).0, Code::CONFIG);
    assert_eq!(refused(r#"{"cniVersion":"1.0.0","name":"x","mtu":-1}"#).0, Code::CONFIG);
    assert_eq!(
        refused(r#"{"cniVersion":"1.0.0","name":"x","routes":[{"dst":"10.0.0.0/33"}]}"#).0,
        Code::CONFIG
    );
    assert_eq!(
        refused(r#"{"cniVersion":"1.0.0","name":"x","args":{"cni":{"ips":["10.0.0"]}}}"#),
        (Code::CONFIG, "invalid address \"10.0.0\" in ips".into())
    );
    assert_eq!(
        refused(r#"{"cniVersion":"1.0.0","name":"x","ipam":{"type":"host-local"}}"#).0,
        Code::FIELD
    );
    for (subnet, shown) in [("\"10.32.8.0\"", "\"10.32.8.0\""), ("7", "7"), ("[{}]", "{}")] {
        assert_eq!(
            refused(&format!(r#"{{"cniVersion":"1.0.0","name":"x","subnet":{subnet}}}"#)),
            (Code::CONFIG, format!("invalid subnet {shown}: no CIDR"))
        );
    }
    let mac = r#"{"cniVersion":"1.0.0","name":"x","runtimeConfig":{"mac":"02:00:00:00:00:01"}}"#;
    assert_eq!(refused(mac).0, Code::FIELD);
}
