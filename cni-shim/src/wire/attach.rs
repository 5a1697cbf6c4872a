//! Making the attachment.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::Ipv4Net;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::AddressHeaderFlags;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoVeth, LinkAttribute, LinkMessage,
};
use netlink_packet_route::neighbour::{NeighbourFlags, NeighbourState};
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteMetric, RouteScope};
use nix::errno::Errno;
use rtnetlink::{LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use super::namespace::Namespace;
use super::netlink::{Netlink, errno, refused};
use super::{Mac, Plan, Route, RouteSettings, WireError, default_destination, host_ifname, undo};
use crate::fault;

/// All of IPv4 multicast (RFC 5771).
pub(super) const MULTICAST: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4);

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wired {
    /// The MAC address of the host's end.
    pub host_mac: Mac,
    /// The MAC address of the Pod's end: the plan's.
    pub pod_mac: Mac,
    /// The MAC address of the bridge.
    pub bridge_mac: Option<Mac>,
    /// The gateways of [`Plan::default_via`] that a route was made through.
    pub defaults: Vec<IpAddr>,
}

/// A Pod's namespace and the host's, each with a netlink socket: what an attachment is made with.
#[derive(Debug)]
pub struct Place {
    namespace: Namespace,
    host: Netlink,
    pod: Netlink,
}

impl Place {
    /// Enters the namespace at `netns`.
    ///
    /// # Errors
    /// [`WireError::Namespace`] or [`WireError::OwnNamespace`] if it cannot be a Pod's.
    pub async fn open(netns: &Path) -> Result<Self, WireError> {
        let namespace = Namespace::open(netns)?;
        let host = Netlink::open()?;
        let pod = Netlink::open_in(&namespace).await?;
        Ok(Self { namespace, host, pod })
    }

    /// Checks that (container, ifname) can be attached here: nothing of that key or that name is
    /// there. Ask this before asking for addresses: whoever frees the addresses of a failed
    /// attachment must not free those of one that stands.
    ///
    /// # Errors
    /// [`WireError::InterfaceExists`] or [`WireError::HostInterfaceExists`].
    pub async fn vacant(&self, container: &str, ifname: &str) -> Result<(), WireError> {
        if self.pod.link(ifname).await?.is_some() {
            return Err(exists(self.namespace.path(), ifname));
        }
        let name = host_ifname(container, ifname);
        if self.host.link(&name).await?.is_some() {
            return Err(WireError::HostInterfaceExists { name });
        }
        Ok(())
    }

    /// Makes the veth pair of `plan` and all that belongs to it. When this returns, the port
    /// forwards, and the Pod's addresses have been announced.
    ///
    /// Not cancel-safe: a future that is dropped half-way leaves what it has made, which
    /// [`super::detach()`] removes.
    ///
    /// # Errors
    /// Any [`WireError`]. What was made is removed again; see [`WireError::NotUndone`] for when
    /// that fails too.
    pub async fn attach(&self, plan: &Plan) -> Result<Wired, WireError> {
        plan.validate()?;
        let bridge = self.host.link(&plan.bridge).await?;
        let bridge = bridge.ok_or_else(|| WireError::NoBridge { bridge: plan.bridge.clone() })?;
        create(plan, &self.host, &self.pod, &self.namespace, bridge.index).await?;
        fault::point("pair");
        match self.finish(plan).await {
            Ok((host_mac, defaults)) => {
                Ok(Wired { host_mac, pod_mac: plan.mac, bridge_mac: bridge.mac, defaults })
            }
            Err(cause) => Err(undo::roll_back(&self.host, &plan.host_ifname, cause).await),
        }
    }

    /// Everything after the pair stands; a failure here is rolled back by deleting the pair.
    ///
    /// The port knows the Pod's address before it comes up, so nothing for the Pod goes astray.
    async fn finish(&self, plan: &Plan) -> Result<(Mac, Vec<IpAddr>), WireError> {
        let index = set_pod(plan, &self.pod, &self.namespace).await?;
        fault::point("pod");
        let host_mac = set_port(plan, &self.host).await?;
        fault::point("port");
        let defaults = set_routes(plan, &self.pod, index).await?;
        fault::point("routes");
        await_carrier(&self.host, &plan.host_ifname).await?;
        await_carrier(&self.pod, &plan.ifname).await?;
        fault::point("carrier");
        announce(plan, &self.pod, index).await?;
        fault::point("announced");
        loopback_up(&self.pod).await?;
        Ok((host_mac, defaults))
    }
}

/// The MAC address of an interface in the namespace at `netns`, if it is there.
///
/// # Errors
/// [`WireError::Namespace`] or [`WireError::OwnNamespace`] if that is no Pod's namespace.
pub async fn mac_of(netns: &Path, ifname: &str) -> Result<Option<Mac>, WireError> {
    let place = Place::open(netns).await?;
    Ok(place.pod.link(ifname).await?.and_then(|link| link.mac))
}

/// Makes an attachment: [`Place::open`] and [`Place::attach`].
///
/// # Errors
/// Any [`WireError`].
pub async fn attach(plan: &Plan) -> Result<Wired, WireError> {
    plan.validate()?;
    Place::open(&plan.netns).await?.attach(plan).await
}

async fn create(
    plan: &Plan,
    host: &Netlink,
    pod: &Netlink,
    namespace: &Namespace,
    bridge: u32,
) -> Result<(), WireError> {
    // One queue at each end is what a veth uses unless told otherwise. One that is made with more, as
    // without a word about it, has the others taken away again, each time for a grace period of the
    // kernel's (`veth_init_queues` of Linux 6.18).
    let inside = LinkMessageBuilder::<LinkUnspec>::new()
        .append_extra_attribute(LinkAttribute::NumTxQueues(1))
        .append_extra_attribute(LinkAttribute::NumRxQueues(1))
        .name(plan.ifname.clone())
        .address(plan.mac.0.to_vec())
        .mtu(plan.mtu)
        .setns_by_fd(namespace.raw_fd())
        .build();
    let pair = LinkMessageBuilder::<LinkVeth>::new(&plan.host_ifname, &plan.ifname)
        .append_extra_attribute(LinkAttribute::NumTxQueues(1))
        .append_extra_attribute(LinkAttribute::NumRxQueues(1))
        .set_info_data(InfoData::Veth(InfoVeth::Peer(inside)))
        .mtu(plan.mtu)
        .controller(bridge)
        .build();
    match host.handle.link().add(pair).execute().await {
        Ok(()) => Ok(()),
        // Either name can be taken.
        Err(error) if errno(&error) == Some(Errno::EEXIST) => {
            if pod.link(&plan.ifname).await?.is_some() {
                Err(exists(&plan.netns, &plan.ifname))
            } else {
                Err(WireError::HostInterfaceExists { name: plan.host_ifname.clone() })
            }
        }
        Err(error) => Err(refused(format!("make interface \"{}\" in the Pod", plan.ifname), error)),
    }
}

/// Sets up the host's end as a port that knows the Pod's MAC address and nothing else.
async fn set_port(plan: &Plan, host: &Netlink) -> Result<Mac, WireError> {
    let name = &plan.host_ifname;
    let port = host.link(name).await?.ok_or_else(|| vanished(name))?;
    let host_mac = port.mac.ok_or_else(|| vanished(name))?;
    // A bridge port needs no address of its own, and the neighbour discovery for one is noise.
    let no_address =
        LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(
            In6AddrGenMode::None,
        )])]);
    let flags = |message: LinkMessageBuilder<LinkBridgePort>| {
        let message = message.flood(false).learning(false).mcast_flood(true).bcast_flood(true);
        message.hairpin(plan.hairpin).up()
    };
    let with_ipv6 =
        flags(LinkBridgePort::new(port.index)).append_extra_attribute(no_address).build();
    let outcome = match host.handle.link().set_port(with_ipv6).execute().await {
        // A kernel booted without IPv6 knows no such attribute.
        Err(error) if errno(&error) == Some(Errno::EAFNOSUPPORT) => {
            let plain: LinkMessage = flags(LinkBridgePort::new(port.index)).build();
            host.handle.link().set_port(plain).execute().await
        }
        outcome => outcome,
    };
    outcome.map_err(|error| refused(format!("set up bridge port \"{name}\""), error))?;
    fault::point("plugged");
    host.handle
        .neighbours()
        .add_bridge(port.index, &plan.mac.0)
        .flags(NeighbourFlags::Controller)
        // NUD_NOARP is the kernel's word for a static entry; NUD_PERMANENT would mean an address
        // of the bridge itself.
        .state(NeighbourState::Noarp)
        .replace()
        .execute()
        .await
        .map_err(|error| {
            refused(format!("enter {} in the table of bridge \"{}\"", plan.mac, plan.bridge), error)
        })?;
    Ok(host_mac)
}

/// Gives the Pod's end its settings and addresses and brings it up. Answers its index.
async fn set_pod(plan: &Plan, pod: &Netlink, namespace: &Namespace) -> Result<u32, WireError> {
    let name = &plan.ifname;
    let link = pod.link(name).await?.ok_or_else(|| vanished(name))?;
    let sysctls = sysctls(plan);
    namespace
        .run(move || {
            for (path, value) in sysctls {
                set_sysctl(&path, value)?;
            }
            Ok(())
        })
        .await?;
    fault::point("sysctls");
    for ip in &plan.ips {
        let mut request = pod.handle.address().add(link.index, ip.addr(), ip.prefix_len());
        if ip.addr().is_ipv6() {
            // The allocator hands out each address once; detection would only delay its use.
            request.message_mut().header.flags = AddressHeaderFlags::Nodad;
        }
        request
            .execute()
            .await
            .map_err(|error| refused(format!("give {ip} to interface \"{name}\""), error))?;
    }
    fault::point("addressed");
    let up = LinkUnspec::new_with_index(link.index).up().build();
    pod.handle
        .link()
        .change(up)
        .execute()
        .await
        .map_err(|error| refused(format!("bring up interface \"{name}\""), error))?;
    Ok(link.index)
}

/// Makes the routes. Answers the gateways of the default routes that were made.
async fn set_routes(plan: &Plan, pod: &Netlink, index: u32) -> Result<Vec<IpAddr>, WireError> {
    let multicast = Route { dst: MULTICAST.into(), ..Route::default() };
    for wanted in plan.multicast_route.then_some(&multicast).into_iter().chain(&plan.routes) {
        let mut outcome = pod.handle.route().add(route(wanted, index)?).execute().await;
        let taken = outcome.as_ref().err().and_then(errno) == Some(Errno::EEXIST);
        if taken && *wanted == multicast {
            // It goes by the Pod's first interface, and by this one when that is gone.
            let settings = RouteSettings { priority: Some(index), ..RouteSettings::default() };
            let second = Route { settings, ..multicast.clone() };
            outcome = pod.handle.route().add(route(&second, index)?).execute().await;
        }
        outcome.map_err(|error| {
            let (dst, name) = (wanted.dst, &plan.ifname);
            refused(format!("add the route to {dst} through interface \"{name}\""), error)
        })?;
    }
    let mut defaults = Vec::new();
    for via in &plan.default_via {
        let default = Route {
            dst: default_destination(*via),
            via: Some(*via),
            settings: RouteSettings::default(),
        };
        let message = route(&default, index)?;
        match pod.handle.route().add(message).execute().await {
            Ok(()) => defaults.push(*via),
            // The Pod's way out is another interface's.
            Err(error) if errno(&error) == Some(Errno::EEXIST) => {}
            Err(error) => {
                return Err(refused(format!("add the default route through {via}"), error));
            }
        }
    }
    Ok(defaults)
}

/// Waits until one end can send, and the bridge forwards for it. The kernel notices a carrier with a
/// delay, and drops what is sent until then; since Linux 6.8 it makes up for it when it is asked
/// about the interface, before it needs a moment. One that takes very long is left to it.
async fn await_carrier(netlink: &Netlink, name: &str) -> Result<(), WireError> {
    const PAUSE: Duration = Duration::from_millis(1);
    const PAUSES: usize = 500;
    for _ in 0..PAUSES {
        if netlink.link(name).await?.is_some_and(|link| link.running) {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Has the kernel announce the Pod's addresses (gratuitous ARP, unsolicited neighbour
/// advertisements), so that nobody keeps to the MAC address of who had them before. It does so when
/// the MAC address is set, also to what it is, as [`sysctls`] say.
async fn announce(plan: &Plan, pod: &Netlink, index: u32) -> Result<(), WireError> {
    let same = LinkUnspec::new_with_index(index).address(plan.mac.0.to_vec()).build();
    pod.handle.link().change(same).execute().await.map_err(|error| {
        refused(format!("announce the addresses of interface \"{}\"", plan.ifname), error)
    })
}

/// Runtimes bring up the loopback of a sandbox; a namespace made by hand has it down.
async fn loopback_up(pod: &Netlink) -> Result<(), WireError> {
    let Some(link) = pod.link("lo").await?.filter(|link| !link.up) else { return Ok(()) };
    let up = LinkUnspec::new_with_index(link.index).up().build();
    pod.handle
        .link()
        .change(up)
        .execute()
        .await
        .map_err(|error| refused("bring up interface \"lo\"", error))
}

fn route(wanted: &Route, index: u32) -> Result<RouteMessage, WireError> {
    let invalid = |error| WireError::Invalid(format!("the route to {}: {error}", wanted.dst));
    let (dst, settings) = (wanted.dst.trunc(), &wanted.settings);
    let mut builder = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(dst.addr(), dst.prefix_len())
        .map_err(invalid)?
        .output_interface(index)
        .table_id(settings.table());
    if let Some(via) = wanted.via {
        builder = builder.gateway(via).map_err(invalid)?;
    }
    // IPv6 knows no scope of routes.
    if dst.addr().is_ipv4() {
        let usual = if wanted.via.is_some() { RouteScope::Universe } else { RouteScope::Link };
        builder = builder.scope(settings.scope.map_or(usual, RouteScope::from));
    }
    if let Some(priority) = settings.priority {
        builder = builder.priority(priority);
    }
    let mut message = builder.build();
    let metrics = settings.mtu.map(RouteMetric::Mtu).into_iter();
    let metrics: Vec<_> = metrics.chain(settings.advmss.map(RouteMetric::Advmss)).collect();
    if !metrics.is_empty() {
        message.attributes.push(RouteAttribute::Metrics(metrics));
    }
    debug_assert!(message.header.address_family != AddressFamily::Unspec);
    Ok(message)
}

/// How the Pod's interface is to behave. It announces its addresses, see [`announce`]. It takes no
/// routes from whoever advertises on the segment, and does not hold back its link-local address for
/// detection.
fn sysctls(plan: &Plan) -> Vec<(PathBuf, &'static str)> {
    let of = |family: &str, key: &str| {
        let path = ["/proc/sys/net", family, "conf", &plan.ifname, key];
        path.iter().collect::<PathBuf>()
    };
    let mut all = vec![
        (of("ipv4", "arp_notify"), "1"),
        (of("ipv6", "ndisc_notify"), "1"),
        (of("ipv6", "accept_ra"), "0"),
        (of("ipv6", "accept_dad"), "0"),
    ];
    if plan.ips.iter().any(|ip| ip.addr().is_ipv6()) {
        // Runtimes start sandboxes with IPv6 off.
        all.push((of("ipv6", "disable_ipv6"), "0"));
    }
    all
}

/// Writes a sysctl of the thread's namespace. A kernel without IPv6 and a read-only /proc/sys are
/// taken as they are: the settings narrow what the Pod does by itself, the attachment works without.
fn set_sysctl(path: &Path, value: &str) -> io::Result<()> {
    match std::fs::write(path, value) {
        Err(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::PermissionDenied
                    | io::ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            Err(io::Error::new(error.kind(), format!("writing {}: {error}", path.display())))
        }
        _ => Ok(()),
    }
}

fn exists(netns: &Path, ifname: &str) -> WireError {
    WireError::InterfaceExists { ifname: ifname.to_owned(), netns: netns.to_owned() }
}

fn vanished(name: &str) -> WireError {
    WireError::Missing(format!("interface \"{name}\" vanished while it was being set up"))
}
