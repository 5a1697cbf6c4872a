//! The network configuration on standard input: section 1, "Plugin configuration objects".

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::env::{Command, is_identifier};
use super::error::{CniError, Code};
use super::result::{CniResult, RouteEntry};
use super::version::Version;

/// How long ADD and DEL wait for a daemon that does not answer, unless the configuration says
/// otherwise: a restart takes a second or two, and a runtime waits minutes.
const DEFAULT_RETRY: Duration = Duration::from_secs(10);

/// The configuration, checked. Keys that are not listed here are ignored: runtimes and other
/// plugins of a chain have theirs.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `cniVersion`.
    pub version: Version,
    /// `name`: the network.
    pub name: String,
    /// `socket`: the daemon's socket, before `WEFT_SOCKET`.
    pub socket: Option<PathBuf>,
    /// `mtu`: of the Pod's interface, at most the overlay's, which is what it is by default.
    pub mtu: Option<u32>,
    /// `routes`: beyond those of the addresses.
    pub routes: Vec<RouteEntry>,
    /// `defaultRoute`: whether the host is the Pod's way out, unless the Pod has one.
    pub default_route: bool,
    /// `ipMasq`: whether what leaves the mesh goes out under the host's address.
    pub ip_masq: bool,
    /// `ipMasqExempt`: addresses of Pods for which `ipMasq` does not hold.
    pub ip_masq_exempt: Vec<IpNet>,
    /// `hairpinMode`: whether a Pod's frames may come back to it, as they must where it talks to
    /// itself through a Service.
    pub hairpin: bool,
    /// `retrySeconds`: how long to wait for a daemon that does not answer.
    pub retry: Duration,
    /// `dns`, handed through to the result.
    pub dns: Option<Value>,
    /// `runtimeConfig.ips`, else `args.cni.ips`: addresses asked for by value. [`Config::parse`]
    /// knows nothing of `CNI_ARGS`, whose `IP` counts where both are empty.
    pub ips: Vec<IpNet>,
    /// `args.cni.labels`: the Pod's labels.
    pub labels: BTreeMap<String, String>,
    /// `prevResult`: of the plugins before this one, or of the ADD that CHECK compares with.
    /// Read by [`Config::previous`].
    pub prev_result: Option<Value>,
    /// `cni.dev/valid-attachments`: what GC must leave alone, as (container, interface).
    pub valid_attachments: Option<BTreeSet<(String, String)>>,
}

/// The configuration as it is written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    name: String,
    socket: Option<PathBuf>,
    mtu: Option<u32>,
    #[serde(default)]
    routes: Vec<RouteEntry>,
    default_route: Option<bool>,
    #[serde(default)]
    ip_masq: bool,
    #[serde(default)]
    ip_masq_exempt: Vec<IpNet>,
    #[serde(default)]
    hairpin_mode: bool,
    retry_seconds: Option<u32>,
    dns: Option<Value>,
    ipam: Option<Map<String, Value>>,
    #[serde(default)]
    runtime_config: RuntimeConfig,
    #[serde(default)]
    args: Args,
    prev_result: Option<Value>,
    #[serde(rename = "cni.dev/valid-attachments")]
    valid_attachments: Option<Vec<ValidAttachment>>,
    /// What the draft of the specification called it; libcni writes both.
    #[serde(rename = "cni.dev/attachments")]
    attachments: Option<Vec<ValidAttachment>>,
}

#[derive(Debug, Deserialize)]
struct ValidAttachment {
    #[serde(rename = "containerID")]
    container: String,
    ifname: String,
}

#[derive(Debug, Default, Deserialize)]
struct RuntimeConfig {
    #[serde(default)]
    ips: Vec<String>,
    mac: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Args {
    #[serde(default)]
    cni: CniArgs,
}

#[derive(Debug, Default, Deserialize)]
struct CniArgs {
    #[serde(default)]
    ips: Vec<String>,
    #[serde(default)]
    labels: Vec<Label>,
}

#[derive(Debug, Deserialize)]
struct Label {
    key: String,
    value: String,
}

impl Config {
    /// Reads a configuration. Of one for DEL, only what DEL needs is read: it must not fail on what
    /// made ADD fail.
    ///
    /// # Errors
    /// [`Code::DECODE`] for what is not JSON, [`Code::VERSION`] for a version that is not spoken,
    /// [`Code::CONFIG`] for wrong values, [`Code::FIELD`] for another plugin's address management.
    pub fn parse(input: &[u8], command: Command) -> Result<Self, CniError> {
        Self::from_document(decode(input)?, command)
    }

    /// Reads the configuration of a plugin that has its addresses from `weft-ipam`: what is meant
    /// for that stands in `ipam`, the rest is the other plugin's. No way out is asked for unless
    /// `ipam.defaultRoute` says so, since the network is not ours.
    ///
    /// # Errors
    /// As [`Config::parse`].
    pub fn parse_ipam(input: &[u8], command: Command) -> Result<Self, CniError> {
        const SHARED: [&str; 7] = [
            "cniVersion",
            "name",
            "args",
            "runtimeConfig",
            "prevResult",
            "cni.dev/valid-attachments",
            "cni.dev/attachments",
        ];
        let mut outer = decode(input)?;
        let ours = outer.get_mut("ipam").map(Value::take);
        let mut document = match ours {
            Some(Value::Object(ipam)) => ipam,
            _ => {
                return Err(CniError::new(Code::CONFIG, "the configuration has no ipam section"));
            }
        };
        document.remove("type");
        document.entry("defaultRoute").or_insert(Value::Bool(false));
        for key in SHARED {
            document.remove(key);
            if let Some(value) = outer.get_mut(key) {
                document.insert(key.to_owned(), value.take());
            }
        }
        // The interface's MAC address is the other plugin's affair.
        if let Some(config) = document.get_mut("runtimeConfig").and_then(Value::as_object_mut) {
            config.remove("mac");
        }
        Self::from_document(Value::Object(document), command)
    }

    fn from_document(mut document: Value, command: Command) -> Result<Self, CniError> {
        const FOR_DEL: [&str; 4] = ["cniVersion", "name", "socket", "retrySeconds"];
        if let (Command::Del, Some(keys)) = (command, document.as_object_mut()) {
            keys.retain(|key, _| FOR_DEL.contains(&key.as_str()));
        }
        let asked = document.get("cniVersion").and_then(Value::as_str).unwrap_or_default();
        let version = Version::parse(asked)?;
        let raw: Raw = serde_json::from_value(document).map_err(|error| {
            CniError::new(Code::CONFIG, format!("invalid network configuration: {error}"))
        })?;
        if !is_identifier(&raw.name) {
            return Err(CniError::new(
                Code::CONFIG,
                format!("invalid network name \"{}\"", raw.name),
            ));
        }
        refuse_foreign_ipam(raw.ipam.as_ref())?;
        if let Some(mac) = raw.runtime_config.mac.filter(|mac| !mac.is_empty()) {
            return Err(foreign_mac("runtimeConfig.mac", &mac));
        }
        let asked = if raw.runtime_config.ips.is_empty() {
            raw.args.cni.ips
        } else {
            raw.runtime_config.ips
        };
        Ok(Self {
            version,
            name: raw.name,
            socket: raw.socket,
            mtu: raw.mtu,
            routes: raw.routes,
            default_route: raw.default_route.unwrap_or(true),
            ip_masq: raw.ip_masq,
            ip_masq_exempt: raw.ip_masq_exempt,
            hairpin: raw.hairpin_mode,
            retry: raw
                .retry_seconds
                .map_or(DEFAULT_RETRY, |seconds| Duration::from_secs(seconds.into())),
            dns: raw.dns.filter(|dns| !dns.is_null()),
            ips: asked.iter().map(|ip| parse_ip(ip)).collect::<Result<_, _>>()?,
            labels: raw.args.cni.labels.into_iter().map(|label| (label.key, label.value)).collect(),
            prev_result: raw.prev_result,
            valid_attachments: raw
                .valid_attachments
                .or(raw.attachments)
                .map(|all| all.into_iter().map(|valid| (valid.container, valid.ifname)).collect()),
        })
    }
}

impl Config {
    /// The previous result, if there is one.
    ///
    /// # Errors
    /// [`Code::CONFIG`] where it is no result.
    pub fn previous(&self) -> Result<Option<CniResult>, CniError> {
        let previous = self.prev_result.clone().map(serde_json::from_value).transpose();
        previous
            .map_err(|error| CniError::new(Code::CONFIG, format!("invalid prevResult: {error}")))
    }

    /// The previous result, which CHECK cannot do without.
    ///
    /// # Errors
    /// [`Code::CONFIG`] where there is none, or it is no result.
    pub fn previous_of_check(&self) -> Result<CniResult, CniError> {
        self.previous()?.ok_or_else(|| {
            CniError::new(Code::CONFIG, "prevResult is missing: CHECK compares with it")
        })
    }
}

/// The document as JSON, whatever it says.
///
/// # Errors
/// [`Code::DECODE`] where it is none, or no object.
pub(super) fn decode(input: &[u8]) -> Result<Value, CniError> {
    let document: Value = serde_json::from_slice(input).map_err(|error| {
        CniError::new(Code::DECODE, format!("the network configuration is not JSON: {error}"))
    })?;
    if !document.is_object() {
        return Err(CniError::new(Code::DECODE, "the network configuration is no JSON object"));
    }
    Ok(document)
}

/// Addresses come from the mesh alone: an `ipam` section that names a plugin would be a promise
/// that nothing keeps.
fn refuse_foreign_ipam(ipam: Option<&Map<String, Value>>) -> Result<(), CniError> {
    match ipam.and_then(|ipam| ipam.get("type")).and_then(Value::as_str) {
        None | Some("") => Ok(()),
        Some(name) => Err(CniError::new(
            Code::FIELD,
            format!(
                "unsupported field ipam.type \"{name}\": weft-net hands out the mesh's addresses"
            ),
        )),
    }
}

/// A MAC address asked for by name: a Pod's follows from its address, and other nodes rely on that.
pub(super) fn foreign_mac(field: &str, mac: &str) -> CniError {
    CniError::new(
        Code::FIELD,
        format!(
            "unsupported field {field} \"{mac}\": a Pod's MAC address follows from its IP address"
        ),
    )
}

/// An address, with or without a prefix length.
pub(super) fn parse_ip(text: &str) -> Result<IpNet, CniError> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| CniError::new(Code::CONFIG, format!("invalid address \"{text}\" in ips")))
}

#[cfg(test)]
mod tests {
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
                "defaultRoute":false,"ipMasq":true,"ipMasqExempt":["10.32.8.0/24"],"hairpinMode":true,
                "cni.dev/valid-attachments":[{"containerID":"c1","ifname":"eth0"}],
                "args":{"cni":{"labels":[{"key":"app","value":"web"}],"ips":["10.32.0.8/12"]}},
                "capabilities":{"ips":true},"whatever":[1]}"#,
        )
        .unwrap();
        assert_eq!(config.socket, Some("/tmp/w.sock".into()));
        assert_eq!((config.mtu, config.retry), (Some(1280), Duration::ZERO));
        assert_eq!(config.ips, ["10.32.0.7/32".parse().unwrap()]);
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
        let wrong =
            br#"{"cniVersion":"1.0.0","name":"weft","mtu":"big","routes":7,"ipam":{"type":"x"},
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
                "ipam":{"type":"weft-ipam","socket":"/tmp/w.sock","routes":[{"dst":"10.0.0.0/8"}]},
                "runtimeConfig":{"ips":["10.32.0.7"],"mac":"02:00:00:00:00:01"}}"#,
            Command::Add,
        )
        .unwrap();
        assert_eq!((config.name.as_str(), config.mtu), ("lan", None));
        assert_eq!(config.socket, Some("/tmp/w.sock".into()));
        assert_eq!((config.routes.len(), config.ips.len()), (1, 1));
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
        let manual = include_str!("../../../docs/cni.md");
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
        let mac =
            r#"{"cniVersion":"1.0.0","name":"x","runtimeConfig":{"mac":"02:00:00:00:00:01"}}"#;
        assert_eq!(refused(mac).0, Code::FIELD);
    }
}
