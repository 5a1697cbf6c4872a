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
    /// `subnet`: the parts of the mesh's ranges that the network's addresses are from.
    pub subnets: Vec<IpNet>,
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
    #[serde(default)]
    subnet: Value,
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
            subnets: parse_subnets(&raw.subnet)?,
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

/// One subnet, or a list with one of each range.
fn parse_subnets(value: &Value) -> Result<Vec<IpNet>, CniError> {
    let all = match value {
        Value::Null => &[][..],
        Value::Array(all) => all,
        one => std::slice::from_ref(one),
    };
    let parse = |one: &Value| one.as_str().and_then(|text| text.parse().ok());
    let subnets = all.iter().map(|one| {
        parse(one)
            .ok_or_else(|| CniError::new(Code::CONFIG, format!("invalid subnet {one}: no CIDR")))
    });
    subnets.collect()
}

#[cfg(test)]
mod tests;
