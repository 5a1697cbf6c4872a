//! What an attachment is to look like, decided before anything is touched.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use weft_api::attach::AttachReply;

use super::WireError;

/// The longest name of an interface: `IFNAMSIZ` less the terminating zero.
pub const MAX_IFNAME: usize = 15;

/// The least MTU the kernel takes for a veth (`ETH_MIN_MTU`), bytes of the IP packet.
pub const MIN_MTU: u32 = 68;

/// The MTUs the kernel takes for a veth; the end is `ETH_MAX_MTU`.
const MTU_RANGE: std::ops::RangeInclusive<u32> = MIN_MTU..=65535;

/// An Ethernet address, written as `0a:58:0a:20:00:01`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = WireError;

    fn from_str(text: &str) -> Result<Self, WireError> {
        let invalid = || WireError::Invalid(format!("invalid MAC address \"{text}\""));
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(invalid)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
        }
        if parts.next().is_some() { Err(invalid()) } else { Ok(Self(bytes)) }
    }
}

/// A route in the Pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// The destination.
    pub dst: IpNet,
    /// The gateway; without one the destination is on the link.
    pub via: Option<IpAddr>,
    /// What else the route says.
    pub settings: RouteSettings,
}

impl Route {
    /// Whether it is what the Pod's packets take that no other route wants.
    pub fn is_default(&self) -> bool {
        self.dst.prefix_len() == 0 && self.settings.table() == MAIN_TABLE
    }
}

/// What a route may say beyond destination and gateway, under the names that CNI 1.1.0 has for it.
/// What is not given is the kernel's choice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteSettings {
    /// The MTU on the way to the destination, bytes of the IP packet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The maximum segment size that TCP tells the destination, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advmss: Option<u32>,
    /// The metric: of two routes to one destination, the lower counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// The routing table; 0 is the main one too, as for the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
    /// How far away the destination is: 0 anywhere, 253 on the link, 254 on the host. Of IPv4 only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<u8>,
}

/// The routing table that is meant where none is named (`RT_TABLE_MAIN`).
const MAIN_TABLE: u32 = 254;

/// The scope of what is on the link (`RT_SCOPE_LINK`); what is nearer is higher.
const LINK_SCOPE: u8 = 253;

impl RouteSettings {
    /// The routing table.
    pub(super) fn table(&self) -> u32 {
        self.table.filter(|table| *table != 0).unwrap_or(MAIN_TABLE)
    }

    /// Whether the scope rules out a gateway.
    pub(crate) fn on_link(&self) -> bool {
        self.scope.is_some_and(|scope| scope >= LINK_SCOPE)
    }
}

/// The destination of a default route through `via`.
pub fn default_destination(via: IpAddr) -> IpNet {
    let any = if via.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
    IpNet::new(any, 0).expect("invariant: a prefix of length 0 is one in either family")
}

/// One interface of one Pod, and the port of the bridge that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The path of the Pod's network namespace.
    pub netns: PathBuf,
    /// The interface's name in the Pod.
    pub ifname: String,
    /// The name of the veth's other end, in the namespace of the caller; see [`host_ifname`].
    pub host_ifname: String,
    /// The bridge that the other end becomes a port of.
    pub bridge: String,
    /// The Pod's MAC address.
    pub mac: Mac,
    /// The Pod's addresses, with the prefix length of the range each is from.
    pub ips: Vec<IpNet>,
    /// The MTU of both ends, bytes of the IP packet.
    pub mtu: u32,
    /// Routes beyond those that the addresses bring.
    pub routes: Vec<Route>,
    /// Gateways of default routes, one of a family at most. Each is made unless the Pod has a
    /// default route of that family.
    pub default_via: Vec<IpAddr>,
    /// Whether the port sends the Pod's own frames back to it.
    pub hairpin: bool,
    /// Whether IPv4 multicast (224.0.0.0/4) leaves by this interface, where no other interface of
    /// the Pod has had that route before.
    pub multicast_route: bool,
}

impl Plan {
    /// The plan for what the daemon granted, in the namespace at `netns`: no routes beyond those of
    /// the addresses, and IPv4 multicast through the interface where the Pod has IPv4.
    ///
    /// # Errors
    /// [`WireError::Invalid`] where the reply holds what no interface can have.
    pub fn from_reply(netns: PathBuf, reply: &AttachReply) -> Result<Self, WireError> {
        let attachment = &reply.attachment;
        let plan = Self {
            netns,
            ifname: attachment.ifname.clone(),
            host_ifname: host_ifname(&attachment.container, &attachment.ifname),
            bridge: reply.bridge.clone(),
            mac: attachment.mac.parse()?,
            ips: attachment.ips.clone(),
            mtu: reply.mtu,
            routes: Vec::new(),
            default_via: Vec::new(),
            hairpin: false,
            multicast_route: attachment.ips.iter().any(|ip| ip.addr().is_ipv4()),
        };
        plan.validate()?;
        Ok(plan)
    }

    /// Refuses what the kernel would refuse half-way, so that a bad plan touches nothing.
    ///
    /// # Errors
    /// [`WireError::Invalid`], naming the value.
    pub fn validate(&self) -> Result<(), WireError> {
        for name in [&self.ifname, &self.host_ifname, &self.bridge] {
            validate_ifname(name)?;
        }
        if !MTU_RANGE.contains(&self.mtu) {
            return Err(WireError::Invalid(format!(
                "MTU {} is outside {} to {}",
                self.mtu,
                MTU_RANGE.start(),
                MTU_RANGE.end()
            )));
        }
        if self.mac.0[0] & 1 == 1 || self.mac.0 == [0; 6] {
            return Err(WireError::Invalid(format!("{} is no unicast MAC address", self.mac)));
        }
        if self.ips.is_empty() {
            return Err(WireError::Invalid("no address to give to the interface".into()));
        }
        for route in &self.routes {
            if route.via.is_some_and(|via| via.is_ipv4() != route.dst.addr().is_ipv4()) {
                return Err(WireError::Invalid(format!(
                    "the route to {} has a gateway of the other address family",
                    route.dst
                )));
            }
            if route.via.is_some() && route.settings.on_link() {
                return Err(WireError::Invalid(format!(
                    "the route to {} has a gateway, and a scope that has none",
                    route.dst
                )));
            }
        }
        Ok(())
    }
}

/// Checks a name of an interface by the kernel's rules.
///
/// # Errors
/// [`WireError::Invalid`], naming the name.
pub fn validate_ifname(name: &str) -> Result<(), WireError> {
    let bad = name.is_empty()
        || name.len() > MAX_IFNAME
        || name == "."
        || name == ".."
        || name.chars().any(|c| c == '/' || c == ':' || c.is_whitespace() || c.is_control());
    if bad {
        return Err(WireError::Invalid(format!(
            "invalid interface name \"{name}\": 1 to {MAX_IFNAME} bytes, no space, slash or colon"
        )));
    }
    Ok(())
}

/// The name of the host's end of an attachment's veth: `wv` and 10 hexadecimal digits of a hash of
/// the key. It depends on nothing else, so a detach finds the interface when all else is forgotten.
pub fn host_ifname(container: &str, ifname: &str) -> String {
    // A container's id holds no zero byte, so the key cannot be cut in two ways.
    let digest = Sha256::new().chain_update(container).chain_update([0]).chain_update(ifname);
    let mut name = String::from("wv");
    for byte in digest.finalize().iter().take(5) {
        name.push_str(&format!("{byte:02x}"));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            netns: "/run/netns/p".into(),
            ifname: "eth0".into(),
            host_ifname: "wv0123456789".into(),
            bridge: "weft".into(),
            mac: Mac([0x0a, 0x58, 10, 32, 0, 1]),
            ips: vec!["10.32.0.1/12".parse().unwrap()],
            mtu: 1400,
            routes: vec![],
            default_via: vec![],
            hairpin: false,
            multicast_route: true,
        }
    }

    #[test]
    fn a_mac_reads_what_it_writes_and_nothing_else() {
        let mac: Mac = "0A:58:0a:20:00:ff".parse().unwrap();
        assert_eq!(mac, Mac([0x0a, 0x58, 0x0a, 0x20, 0, 0xff]));
        assert_eq!(mac.to_string(), "0a:58:0a:20:00:ff");
        for bad in ["", "0a:58", "0a:58:0a:20:00:ff:00", "0a58.0a20.00ff", "+a:58:0a:20:00:ff:"] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_name_of_the_hosts_end_is_frozen_and_fits() {
        assert_eq!(host_ifname("c1", "eth0").len(), 12);
        assert_eq!(host_ifname("c1", "eth0"), host_ifname("c1", "eth0"));
        assert_ne!(host_ifname("c1", "eth0"), host_ifname("c1", "eth1"));
        assert_ne!(host_ifname("c1", "eth0"), host_ifname("c1e", "th0"));
        // What stands on machines after an upgrade must still be found.
        assert_eq!(host_ifname("container", "eth0"), "wvf452902c55");
    }

    #[test]
    fn what_no_interface_can_have_is_refused_by_name() {
        let refused = |change: fn(&mut Plan), text: &str| {
            let mut plan = plan();
            change(&mut plan);
            assert_eq!(plan.validate().unwrap_err().to_string(), text);
        };
        assert!(plan().validate().is_ok());
        refused(
            |plan| plan.ifname = "a-very-long-name".into(),
            "invalid interface name \"a-very-long-name\": 1 to 15 bytes, no space, slash or colon",
        );
        refused(
            |plan| plan.bridge = "a/b".into(),
            "invalid interface name \"a/b\": 1 to 15 bytes, no space, slash or colon",
        );
        refused(|plan| plan.mtu = 67, "MTU 67 is outside 68 to 65535");
        refused(
            |plan| plan.mac = Mac([1, 0, 0, 0, 0, 1]),
            "01:00:00:00:00:01 is no unicast MAC address",
        );
        refused(|plan| plan.ips.clear(), "no address to give to the interface");
        refused(
            |plan| {
                plan.routes = vec![Route {
                    dst: "::/0".parse().unwrap(),
                    via: Some("10.32.0.9".parse().unwrap()),
                    ..Route::default()
                }];
            },
            "the route to ::/0 has a gateway of the other address family",
        );
        refused(
            |plan| {
                plan.routes = vec![Route {
                    dst: "10.0.0.0/8".parse().unwrap(),
                    via: Some("10.32.0.9".parse().unwrap()),
                    settings: RouteSettings { scope: Some(253), ..RouteSettings::default() },
                }];
            },
            "the route to 10.0.0.0/8 has a gateway, and a scope that has none",
        );
    }
}
