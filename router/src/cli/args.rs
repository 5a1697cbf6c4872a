//! What may stand on the command line. Parsing only: the meaning of launch's values is checked by
//! [`crate::config`], together with those of the other sources.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use ipnet::IpNet;
use weft_api::attach::NamedPort;
use weft_api::policy::ObjectName;
use weft_policy::PortSpec;

use super::parse;
use super::policy::objects::object_name;
use crate::config::{PeerAddr, Setting};

const AFTER_HELP: &str = "\
Exit codes: 0 done, 1 failed, 2 usage, 3 daemon not reachable.
`weft COMMAND --help` says more about a command.";

const AFTER_LAUNCH_HELP: &str = "\
Every flag is also a variable, WEFT_<FLAG> (WEFT_IPALLOC_RANGE, WEFT_PEERS), and a key of the
configuration file (ipalloc-range = \"10.32.0.0/12\"). Flags beat the environment, the environment
beats the file. The secret comes from --secret-file or from WEFT_SECRET, never from an argument.";

/// Encrypted mesh network for containers.
#[derive(Debug, Parser)]
#[command(name = "weft", version, after_help = AFTER_HELP, disable_help_subcommand = true)]
pub(super) struct Cli {
    /// Path of the daemon's control socket [env: WEFT_SOCKET] [default: /run/weft/weft.sock]
    #[arg(long, global = true, value_name = "PATH")]
    pub(super) socket: Option<PathBuf>,

    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the router in the foreground
    #[command(after_help = AFTER_LAUNCH_HELP)]
    Launch(Box<LaunchArgs>),
    /// Show how this node and the mesh are
    Status(StatusArgs),
    /// Show everything that the status commands know, at once
    Report(JsonArgs),
    /// Add peers to dial, or replace them
    Connect(ConnectArgs),
    /// Drop peers from those to dial
    ///
    /// Their connections end. A connection that discovery wants is made again.
    Forget(ForgetArgs),
    /// Remove nodes from the ring for good, so that others get their addresses
    ///
    /// For nodes that are gone and do not come back. Waits a few seconds for the others to agree; what is
    /// not complete by then goes on by itself, and `weft status` says what it waits for. A removed node
    /// that turns out to be alive loses its addresses when it meets the others. Repeating it changes
    /// nothing.
    Rmpeer(RmpeerArgs),
    /// Make two rings one that were founded apart
    ///
    /// For two clusters that have met, of which each shows the other's nodes as part of another ring. Run
    /// it once, on any node of either, and name a node of the other. All nodes of one of the rings move to
    /// the other, with their Pods; a Pod whose address is in use there is cut off and named. It cannot
    /// be undone. Repeating it changes nothing.
    Heal(HealArgs),
    /// Have this node leave the ring and begin anew under another identity
    ///
    /// Its addresses are handed over to other nodes first, which takes up to a minute; then the daemon
    /// starts again with an empty state. The targets are kept. Refused while Pods are attached. Where no
    /// daemon runs, the data directory is reset, and the addresses wait for `weft rmpeer` elsewhere.
    Reset(ResetArgs),
    /// Give a network namespace an interface in the mesh
    ///
    /// Prints the addresses, one a line. Waits up to 30 s for an address. Repeating it changes
    /// nothing and prints the same.
    Attach(AttachArgs),
    /// Take the interface away again and free its addresses
    ///
    /// That there is none is no error; nor is it that the namespace is gone.
    Detach(DetachArgs),
    /// List the interfaces of this node that have addresses
    Ps(JsonArgs),
    /// Share NetworkPolicies with all nodes, and ask what they allow
    Policy(PolicyArgs),
    /// Give the host itself an address in the mesh
    ///
    /// Prints the addresses, one a line. The host reaches all Pods then, and is the way out for
    /// Pods whose network says so. Kept until `weft hide`. Repeating it prints the same.
    Expose(JsonArgs),
    /// Take the host's address in the mesh away
    ///
    /// Refused while Pods on this host go out through it. That there is none is no error.
    Hide,
    /// Install the CNI plugins and their configuration for container runtimes
    ///
    /// Copies weft-net and weft-ipam from beside weft, waits up to 30 s until the daemon is ready, then
    /// writes 10-weft.conflist. May be repeated, after an upgrade for instance.
    SetupCni(SetupCniArgs),
    /// Make cluster secrets
    Secret(SecretArgs),
    /// Print the version
    Version,
    /// Print the completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// `weft launch`. All values are texts here; see the module.
#[derive(Debug, Default, Args)]
pub(super) struct LaunchArgs {
    /// Peers to dial: host[:port], an IPv6 address with a port as [addr]:port
    #[arg(value_name = "PEER")]
    peers: Vec<String>,
    /// Configuration file [env: WEFT_CONFIG] [default: /etc/weft/weft.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Name of this node for people [default: the host's name]
    #[arg(long, value_name = "NAME")]
    nickname: Option<String>,
    /// UDP port between nodes, and the port of peers given without one [default: 6783]
    #[arg(long, value_name = "PORT")]
    port: Option<String>,
    /// File that holds the cluster secret, or two, one a line; WEFT_SECRET may hold them instead
    #[arg(long, value_name = "FILE")]
    secret_file: Option<String>,
    /// Directory of identity, ring and allocations [default: /var/lib/weft]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Where to serve /metrics, /healthz and /readyz [default: 127.0.0.1:6782]
    #[arg(long, value_name = "ADDR:PORT")]
    status_addr: Option<String>,
    /// Range of addresses of the mesh, one of IPv4, one of IPv6 or both [default: 10.32.0.0/12]
    #[arg(long, value_name = "CIDR[,CIDR]")]
    ipalloc_range: Option<String>,
    /// How the ring of addresses begins: auto, founder, consensus[=N], seed=NAME,.. or observer
    /// [default: auto]
    #[arg(long, value_name = "HOW")]
    ipalloc_init: Option<String>,
    /// Name of the bridge that Pods are plugged into [default: weft]
    #[arg(long, value_name = "NAME")]
    bridge: Option<String>,
    /// MTU of the mesh: auto or a number of bytes [default: auto]
    #[arg(long, value_name = "MTU")]
    mtu: Option<String>,
    /// Do not dial the peers of peers
    #[arg(long)]
    no_discovery: bool,
    /// Greatest number of connections [default: 200]
    #[arg(long, value_name = "N")]
    conn_limit: Option<String>,
    /// Networks on which packets need no encryption; accepted, without effect yet
    #[arg(long, value_name = "CIDR,..")]
    trusted_subnets: Option<String>,
    /// Cipher suite of data packets: auto, aes-256-gcm or chacha20-poly1305 [default: auto]
    #[arg(long, value_name = "SUITE")]
    cipher: Option<String>,
    /// What carries data packets: udp, quic (datagrams of the control connection), or auto: quic where udp is
    /// dropped on the way [default: auto]
    #[arg(long, value_name = "KIND")]
    tunnel: Option<String>,
    /// Seconds after which keys of data packets in use have been changed, 2 to 120 [default: 120]
    #[arg(long, value_name = "SECONDS")]
    rekey_interval: Option<String>,
    /// Run the threads of the data plane before ordinary ones: on or off [default: on]
    #[arg(long, value_name = "WHAT")]
    realtime: Option<String>,
    /// Threads of the data plane for each direction: auto (one for each processor, at most 8) or 1 to 64
    /// [default: auto]
    #[arg(long, value_name = "N")]
    workers: Option<String>,
    /// Connections that policies no longer allow: cut or keep [default: cut]
    #[arg(long, value_name = "WHAT")]
    policy_established: Option<String>,
    /// Take nodes, policies and Pods' labels from the Kubernetes API, as the service account of the Pod that
    /// this runs in; no PEER is needed then
    #[arg(long)]
    kubernetes: bool,
    /// The same by a kubeconfig and its current context
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<String>,
    /// Name of this node's Node object [default: the nickname]
    #[arg(long, value_name = "NAME")]
    kubernetes_node: Option<String>,
    /// URL of the API server, where the credentials name another
    #[arg(long, value_name = "URL")]
    kubernetes_api: Option<String>,
    /// Where another daemon holds the data directory, wait until it ends, then take its place
    #[arg(long)]
    stand_by: bool,
    /// How much to log: error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

impl LaunchArgs {
    /// What was given, as the configuration wants it.
    pub(super) fn settings(&self, socket: Option<&PathBuf>) -> BTreeMap<Setting, Vec<String>> {
        let socket = socket.map(|path| path.to_string_lossy().into_owned());
        let single = [
            (Setting::Nickname, &self.nickname),
            (Setting::Port, &self.port),
            (Setting::SecretFile, &self.secret_file),
            (Setting::DataDir, &self.data_dir),
            (Setting::Socket, &socket),
            (Setting::StatusAddr, &self.status_addr),
            (Setting::IpallocRange, &self.ipalloc_range),
            (Setting::IpallocInit, &self.ipalloc_init),
            (Setting::Bridge, &self.bridge),
            (Setting::Mtu, &self.mtu),
            (Setting::ConnLimit, &self.conn_limit),
            (Setting::TrustedSubnets, &self.trusted_subnets),
            (Setting::Cipher, &self.cipher),
            (Setting::Tunnel, &self.tunnel),
            (Setting::RekeyInterval, &self.rekey_interval),
            (Setting::Realtime, &self.realtime),
            (Setting::Workers, &self.workers),
            (Setting::PolicyEstablished, &self.policy_established),
            (Setting::Kubeconfig, &self.kubeconfig),
            (Setting::KubernetesNode, &self.kubernetes_node),
            (Setting::KubernetesApi, &self.kubernetes_api),
            (Setting::LogLevel, &self.log_level),
        ];
        let mut settings: BTreeMap<_, _> = single
            .into_iter()
            .filter_map(|(setting, text)| Some((setting, vec![text.clone()?])))
            .collect();
        if !self.peers.is_empty() {
            settings.insert(Setting::Peers, self.peers.clone());
        }
        if self.no_discovery {
            settings.insert(Setting::NoDiscovery, vec!["true".to_owned()]);
        }
        if self.kubernetes {
            settings.insert(Setting::Kubernetes, vec!["true".to_owned()]);
        }
        if self.stand_by {
            settings.insert(Setting::StandBy, vec!["true".to_owned()]);
        }
        settings
    }
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// What to show [default: an overview]
    #[arg(value_enum)]
    pub(super) table: Option<Table>,
    /// Print JSON, for programs
    #[arg(long)]
    pub(super) json: bool,
}

/// A table of `weft status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Table {
    /// The connections of this node
    Connections,
    /// All known nodes and their connections
    Peers,
    /// The peers that this node keeps dialling
    Targets,
    /// Who owns how many addresses
    Ipam,
    /// The policies, and what they let through and dropped on this node
    Policy,
}

#[derive(Debug, Args)]
pub(super) struct JsonArgs {
    /// Print JSON, for programs
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ConnectArgs {
    /// Dial these peers and no others; without a peer, none
    #[arg(long)]
    pub(super) replace: bool,
    /// Peers: host[:port], an IPv6 address with a port as [addr]:port
    #[arg(value_name = "PEER", required_unless_present = "replace", value_parser = parse::peer)]
    pub(super) peers: Vec<PeerAddr>,
}

#[derive(Debug, Args)]
pub(super) struct ForgetArgs {
    /// Peers as they were given to launch or connect; see `weft status targets`
    #[arg(value_name = "PEER", required = true, value_parser = parse::peer)]
    pub(super) peers: Vec<PeerAddr>,
}

#[derive(Debug, Args)]
pub(super) struct RmpeerArgs {
    /// Remove those, too, whose word the removals wait for, dead or not
    ///
    /// Unsafe for those that are alive: they lose their addresses, and with them their Pods, when they
    /// meet the others. On a node that is cut off these are all the nodes that it does not reach.
    #[arg(long)]
    pub(super) force: bool,
    /// Full name, its first ten digits, or a nickname that only one node has
    #[arg(value_name = "NAME", required = true)]
    pub(super) names: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct HealArgs {
    /// A node of the other ring: full name, its first ten digits, or a nickname that only one node has
    #[arg(value_name = "PEER")]
    pub(super) peer: String,
}

#[derive(Debug, Args)]
pub(super) struct ResetArgs {
    /// Cut off the Pods that are attached, and leave behind the addresses that nobody takes over
    #[arg(long)]
    pub(super) force: bool,
    /// Where no daemon runs: the directory to reset [default: as for launch]
    #[arg(long, value_name = "DIR")]
    pub(super) data_dir: Option<String>,
    /// Where no daemon runs: the configuration file that names the directory [env: WEFT_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

impl ResetArgs {
    /// What was given, as the configuration wants it.
    pub(super) fn settings(&self) -> BTreeMap<Setting, Vec<String>> {
        self.data_dir.iter().map(|dir| (Setting::DataDir, vec![dir.clone()])).collect()
    }
}

/// Which interface of which namespace.
#[derive(Debug, Args)]
pub(super) struct InterfaceArgs {
    /// The network namespace: /run/netns/NAME, /proc/PID/ns/net
    #[arg(long, value_name = "PATH")]
    pub(super) netns: PathBuf,
    /// Name of the interface in the namespace
    #[arg(long, value_name = "NAME", default_value = "eth0", value_parser = parse::ifname)]
    pub(super) ifname: String,
}

#[derive(Debug, Args)]
pub(super) struct AttachArgs {
    #[command(flatten)]
    pub(super) interface: InterfaceArgs,
    /// Namespace of the Pod, as policies name it
    #[arg(long, value_name = "N")]
    pub(super) namespace: Option<String>,
    /// Name of the Pod
    #[arg(long, value_name = "N")]
    pub(super) pod: Option<String>,
    /// Label of the Pod, repeatable
    #[arg(long = "label", value_name = "K=V", value_parser = parse::label)]
    pub(super) labels: Vec<(String, String)>,
    /// Named port of the Pod, repeatable
    #[arg(long = "port", value_name = "NAME=80/tcp", value_parser = parse::named_port)]
    pub(super) ports: Vec<NamedPort>,
    /// Address to ask for, repeatable [default: one of each range, chosen by the daemon]
    #[arg(long = "ip", value_name = "CIDR", value_parser = parse::cidr)]
    pub(super) ips: Vec<IpNet>,
    /// Print the object that `weft ps --json` has
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct DetachArgs {
    #[command(flatten)]
    pub(super) interface: InterfaceArgs,
}

#[derive(Debug, Args)]
pub(super) struct PolicyArgs {
    #[command(subcommand)]
    pub(super) command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Write NetworkPolicies and Namespaces for all nodes
    ///
    /// All objects of all files, or none if anything is wrong in them. What is there under the same
    /// name is replaced. Answers when they are on this node's disk; the others get them by gossip.
    Apply(FilesArgs),
    /// Show the NetworkPolicies and Namespaces that were applied
    Get(GetPolicyArgs),
    /// Delete NetworkPolicies and Namespaces on all nodes
    ///
    /// All of those named, or none if one of them does not exist.
    Delete(DeletePolicyArgs),
    /// Say what decides a connection between two Pods
    ///
    /// Asks this node's daemon, by the policies and Pods that it knows.
    Explain(ExplainArgs),
    /// List the packets that this node dropped last
    ///
    /// At most a few of each second are logged; `weft status policy` counts all.
    Drops(DropsArgs),
    /// Show which Pods of some manifests may connect to which
    ///
    /// Reads manifests of Pods, Namespaces and NetworkPolicies, and asks no daemon.
    Matrix(MatrixArgs),
}

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The source: NAMESPACE/NAME of a Pod, or an address
    #[arg(long, value_name = "NS/POD")]
    pub(super) from: String,
    /// The destination: NAMESPACE/NAME of a Pod, or an address
    #[arg(long, value_name = "NS/POD")]
    pub(super) to: String,
    /// The port of the destination, by number or by name, with tcp, udp or sctp
    #[arg(long, value_name = "80/tcp", value_parser = parse::port_spec)]
    pub(super) port: PortSpec,
    /// Print JSON, for programs
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct DropsArgs {
    /// Go on with what is dropped from now on, until interrupted
    #[arg(long)]
    pub(super) follow: bool,
    /// Print JSON, for programs: a list, or with --follow one object a line
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct FilesArgs {
    /// Manifests, YAML or JSON, repeatable; - is standard input
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true, num_args = 1..)]
    pub(super) files: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct GetPolicyArgs {
    /// NAMESPACE/NAME of a policy, or NAME of a Namespace [default: all]
    #[arg(value_name = "NS/NAME", value_parser = object_name)]
    pub(super) names: Vec<ObjectName>,
    /// How to print them; yaml and json are what apply takes
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "table")]
    pub(super) output: ObjectFormat,
}

/// How to print objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ObjectFormat {
    /// A line for each
    Table,
    /// Kubernetes YAML, a document for each
    Yaml,
    /// Kubernetes JSON: the object if one is named, else a List
    Json,
}

#[derive(Debug, Args)]
pub(super) struct DeletePolicyArgs {
    /// NAMESPACE/NAME of a policy, or NAME of a Namespace
    #[arg(value_name = "NS/NAME", required_unless_present = "files", value_parser = object_name)]
    pub(super) names: Vec<ObjectName>,
    /// Manifests whose objects to delete, repeatable; - is standard input
    #[arg(short = 'f', long = "file", value_name = "FILE", num_args = 1..)]
    pub(super) files: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct MatrixArgs {
    /// Manifests, YAML or JSON, repeatable; - is standard input
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true, num_args = 1..)]
    pub(super) files: Vec<String>,
    /// The port of the destination, by number or by name, with tcp, udp or sctp
    #[arg(long, value_name = "80/tcp", value_parser = parse::port_spec)]
    pub(super) port: PortSpec,
    /// Print JSON, for programs
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct SetupCniArgs {
    /// Take the configuration and the plugins away again
    #[arg(long)]
    pub(super) remove: bool,
    /// Change nothing: fail where runtimes take the configuration of another network, or none
    #[arg(long, conflicts_with = "remove")]
    pub(super) check: bool,
    /// Where the runtime looks for plugins
    #[arg(long, value_name = "DIR", default_value = "/opt/cni/bin")]
    pub(super) bin_dir: PathBuf,
    /// Where the runtime looks for configurations
    #[arg(long, value_name = "DIR", default_value = "/etc/cni/net.d")]
    pub(super) conf_dir: PathBuf,
    /// Whether what Pods send out of the mesh leaves under the address of their host
    #[arg(long, value_name = "WHAT", default_value = "on")]
    pub(super) ip_masq: Switch,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Switch {
    /// It is done
    On,
    /// It is not done
    Off,
}

#[derive(Debug, Args)]
pub(super) struct SecretArgs {
    #[command(subcommand)]
    pub(super) command: SecretCommand,
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(super) enum SecretCommand {
    /// Print a fresh secret of 256 bits
    ///
    /// Keep it in a file that only root can read, and give that file to every node:
    /// `umask 077; weft secret new > /etc/weft/secret`.
    New,
    /// Have the daemon read its secret file again
    ///
    /// To change the secret of a cluster, first add the new one as a second line to the secret file of every
    /// node and run this on each: both are accepted then. When all nodes have both, take the old one out
    /// of every file and run this on each again. No connection is dropped.
    #[command(visible_alias = "rotate")]
    Reload,
}
