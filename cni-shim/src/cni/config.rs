//! The network configuration on standard input: section 1, "Plugin configuration objects".

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::env::is_identifier;
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
    /// `retrySeconds`: how long to wait for a daemon that does not answer.
    pub retry: Duration,
    /// `dns`, handed through to the result.
    pub dns: Option<Value>,
    /// `runtimeConfig.ips`, else `args.cni.ips`: addresses asked for by value.
    pub ips: Vec<IpNet>,
    /// `args.cni.labels`: the Pod's labels.
    pub labels: BTreeMap<String, String>,
    /// `prevResult`: of the plugins before this one, or of the ADD that CHECK compares with.
    /// Read by [`Config::previous`] only: DEL, which needs none, must not fail on one.
    pub prev_result: Option<Value>,
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
    retry_seconds: Option<u32>,
    dns: Option<Value>,
    ipam: Option<Map<String, Value>>,
    #[serde(default)]
    runtime_config: RuntimeConfig,
    #[serde(default)]
    args: Args,
    prev_result: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
struct RuntimeConfig {
    #[serde(default)]
    ips: Vec<String>,
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
    /// Reads a configuration.
    ///
    /// # Errors
    /// [`Code::DECODE`] for what is not JSON, [`Code::VERSION`] for a version that is not spoken,
    /// [`Code::CONFIG`] for wrong values, [`Code::FIELD`] for another plugin's address management.
    pub fn parse(input: &[u8]) -> Result<Self, CniError> {
        let document = decode(input)?;
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
            retry: raw
                .retry_seconds
                .map_or(DEFAULT_RETRY, |seconds| Duration::from_secs(seconds.into())),
            dns: raw.dns.filter(|dns| !dns.is_null()),
            ips: asked.iter().map(|ip| parse_ip(ip)).collect::<Result<_, _>>()?,
            labels: raw.args.cni.labels.into_iter().map(|label| (label.key, label.value)).collect(),
            prev_result: raw.prev_result,
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

/// An address, with or without a prefix length.
fn parse_ip(text: &str) -> Result<IpNet, CniError> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| CniError::new(Code::CONFIG, format!("invalid address \"{text}\" in ips")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(input: &str) -> (Code, String) {
        let error = Config::parse(input.as_bytes()).unwrap_err();
        (error.code, error.msg)
    }

    #[test]
    fn the_least_configuration_has_the_defaults() {
        let config =
            Config::parse(br#"{"cniVersion":"1.0.0","name":"weft","type":"weft-net"}"#).unwrap();
        assert_eq!(config.version, Version::V1_0_0);
        assert_eq!((config.socket, config.mtu, config.dns), (None, None, None));
        assert_eq!(config.retry, DEFAULT_RETRY);
        assert!(config.ips.is_empty() && config.labels.is_empty() && config.routes.is_empty());
    }

    #[test]
    fn all_keys_are_read_and_unknown_ones_ignored() {
        let config = Config::parse(
            br#"{"cniVersion":"1.1.0","name":"weft","type":"weft-net","socket":"/tmp/w.sock",
                "mtu":1280,"retrySeconds":0,"dns":{"nameservers":["10.0.0.1"]},"ipam":{},
                "routes":[{"dst":"0.0.0.0/0","gw":"10.32.0.9"},{"dst":"fd00::/8","mtu":9}],
                "runtimeConfig":{"ips":["10.32.0.7"],"portMappings":[]},
                "args":{"cni":{"labels":[{"key":"app","value":"web"}],"ips":["10.32.0.8/12"]}},
                "capabilities":{"ips":true},"whatever":[1]}"#,
        )
        .unwrap();
        assert_eq!(config.socket, Some("/tmp/w.sock".into()));
        assert_eq!((config.mtu, config.retry), (Some(1280), Duration::ZERO));
        assert_eq!(config.ips, ["10.32.0.7/32".parse().unwrap()]);
        assert_eq!(config.labels.get("app").map(String::as_str), Some("web"));
        assert_eq!(config.routes.len(), 2);
        assert_eq!(config.routes[0].gw, Some("10.32.0.9".parse().unwrap()));
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
        let config = Config::parse(plugin.to_string().as_bytes()).unwrap();
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
    }
}
