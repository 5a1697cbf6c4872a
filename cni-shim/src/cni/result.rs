//! The result of ADD: section 5, "ADD Success", in the shape of each version.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::version::Version;
use crate::wire::RouteSettings;

/// A result, ours or that of the plugins before. Fields that this plugin does not know are kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CniResult {
    /// The interfaces, in the order that the addresses refer to; none in the result of an IPAM
    /// plugin.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    /// The addresses.
    #[serde(default)]
    pub ips: Vec<IpEntry>,
    /// The routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteEntry>,
    /// Name resolution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<Value>,
    /// What else there is, `cniVersion` too.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// An interface that an ADD has made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Interface {
    /// The name.
    pub name: String,
    /// The MAC address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The MTU, bytes of the IP packet. Of version 1.1.0 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The path of the namespace; absent for an interface of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// What else there is.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// An address that an ADD has given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IpEntry {
    /// `4` or `6`: before version 1.0.0 only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The address and the prefix length.
    pub address: IpNet,
    /// The gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// The index of its interface in the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<usize>,
    /// What else there is.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A route, as results and configurations write it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteEntry {
    /// The destination.
    pub dst: IpNet,
    /// The gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gw: Option<IpAddr>,
    /// `mtu`, `advmss`, `priority`, `table` and `scope`: in results of version 1.1.0 on.
    #[serde(flatten)]
    pub settings: RouteSettings,
    /// What else there is.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl CniResult {
    /// The document to print, in the shape of `version`.
    pub fn to_json(mut self, version: Version) -> Value {
        self.other.insert("cniVersion".into(), version.as_str().into());
        for interface in &mut self.interfaces {
            if version < Version::V1_1_0 {
                interface.mtu = None;
                for key in ["socketPath", "pciID"] {
                    interface.other.remove(key);
                }
            }
        }
        for route in &mut self.routes {
            if version < Version::V1_1_0 {
                route.settings = RouteSettings::default();
            }
        }
        for ip in &mut self.ips {
            let family = if ip.address.addr().is_ipv4() { "4" } else { "6" };
            ip.version = (version < Version::V1_0_0).then(|| family.to_owned());
        }
        serde_json::to_value(self).expect("invariant: the result's keys are strings")
    }

    /// The interface called `ifname` in the namespace `sandbox`, and its index.
    pub fn interface(&self, ifname: &str, sandbox: &str) -> Option<(usize, &Interface)> {
        self.interfaces.iter().enumerate().find(|(_, interface)| {
            interface.name == ifname && interface.sandbox.as_deref() == Some(sandbox)
        })
    }

    /// The index of the host's interface called `name`.
    pub fn host_interface(&self, name: &str) -> Option<usize> {
        self.interfaces.iter().position(|interface| {
            interface.name == name && interface.sandbox.as_deref().unwrap_or_default().is_empty()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn result() -> CniResult {
        CniResult {
            interfaces: vec![
                Interface { name: "weft".into(), ..Default::default() },
                Interface {
                    name: "eth0".into(),
                    mac: Some("0a:58:0a:20:00:01".into()),
                    mtu: Some(1400),
                    sandbox: Some("/run/netns/p".into()),
                    ..Default::default()
                },
            ],
            ips: ["10.32.0.1/12", "fd00::1/64"]
                .map(|address| IpEntry {
                    version: None,
                    address: address.parse().unwrap(),
                    gateway: None,
                    interface: Some(1),
                    other: Map::new(),
                })
                .into(),
            ..Default::default()
        }
    }

    #[test]
    fn every_version_has_its_shape() {
        for version in [Version::V0_3_1, Version::V0_4_0] {
            assert_eq!(
                result().to_json(version),
                json!({
                    "cniVersion": version.as_str(),
                    "interfaces": [
                        {"name": "weft"},
                        {"name": "eth0", "mac": "0a:58:0a:20:00:01", "sandbox": "/run/netns/p"},
                    ],
                    "ips": [
                        {"version": "4", "address": "10.32.0.1/12", "interface": 1},
                        {"version": "6", "address": "fd00::1/64", "interface": 1},
                    ],
                })
            );
        }
        let old = result().to_json(Version::V1_0_0);
        assert_eq!(old["ips"][0], json!({"address": "10.32.0.1/12", "interface": 1}));
        assert_eq!(old["interfaces"][1].get("mtu"), None);
        let new = result().to_json(Version::V1_1_0);
        assert_eq!(new["interfaces"][1]["mtu"], 1400);
        assert_eq!(new["ips"], old["ips"]);
    }

    #[test]
    fn what_came_with_1_1_0_is_left_out_before() {
        let new = json!({
            "cniVersion": "1.1.0",
            "interfaces": [{"name": "x", "mtu": 1400, "socketPath": "/s", "pciID": "0000:00:1f.6"}],
            "ips": [],
            "routes": [{"dst": "0.0.0.0/0", "gw": "192.0.2.254", "mtu": 1300, "advmss": 1200,
                "priority": 7, "table": 100, "scope": 0, "theirs": true}],
        });
        let read: CniResult = serde_json::from_value(new.clone()).unwrap();
        assert_eq!(read.routes[0].settings.table, Some(100));
        assert_eq!(read.clone().to_json(Version::V1_1_0), new);
        for version in [Version::V0_3_1, Version::V0_4_0, Version::V1_0_0] {
            let old = read.clone().to_json(version);
            assert_eq!(old["interfaces"], json!([{"name": "x"}]));
            let route = json!({"dst": "0.0.0.0/0", "gw": "192.0.2.254", "theirs": true});
            assert_eq!(old["routes"], json!([route]));
        }
    }

    #[test]
    fn what_other_plugins_wrote_is_kept() {
        let theirs = json!({
            "cniVersion": "1.1.0",
            "interfaces": [{"name": "x", "socketPath": "/s"}],
            "ips": [{"address": "192.0.2.1/24", "gateway": "192.0.2.254", "theirs": [1]}],
            "routes": [{"dst": "0.0.0.0/0", "priority": 7}],
            "dns": {"search": ["a"]},
            "own": {"deep": true},
        });
        let read: CniResult = serde_json::from_value(theirs.clone()).unwrap();
        assert_eq!(read.to_json(Version::V1_1_0), theirs);
    }
}
