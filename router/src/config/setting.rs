//! The settings of `weft launch`: one table from which flags, variables and keys are named.

use std::fmt;

/// A setting of `weft launch`.
///
/// Each is a flag, a variable `WEFT_<FLAG>` and a key of the configuration file; all three names
/// follow from [`Setting::key`]. The one that is only a variable is the secret itself, which must
/// not stand among a process's arguments nor in a file that people copy around.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Setting {
    /// The peers to dial; on the command line the arguments without a flag.
    Peers,
    /// The name for people.
    Nickname,
    /// The UDP port.
    Port,
    /// The file that holds the cluster secret.
    SecretFile,
    /// Where state is kept.
    DataDir,
    /// The path of the control socket.
    Socket,
    /// Where metrics and health are served.
    StatusAddr,
    /// The ranges of the overlay.
    IpallocRange,
    /// How the ring comes to be.
    IpallocInit,
    /// The bridge's name.
    Bridge,
    /// The MTU of the overlay.
    Mtu,
    /// Whether peers of peers are left undialled.
    NoDiscovery,
    /// The greatest number of connections.
    ConnLimit,
    /// Networks on which packets need no encryption.
    TrustedSubnets,
    /// The cipher suite of the data plane.
    Cipher,
    /// What carries the data packets.
    Tunnel,
    /// The age by which keys in use are changed.
    RekeyInterval,
    /// Whether the data plane's threads may run before ordinary ones.
    Realtime,
    /// How many workers the data plane has for each direction.
    Workers,
    /// Whether connections that policies no longer allow are cut.
    PolicyEstablished,
    /// Whether a Kubernetes API server is listened to, as the service account of the Pod this runs in.
    Kubernetes,
    /// The kubeconfig by which one is listened to.
    Kubeconfig,
    /// The name of this node's Node object.
    KubernetesNode,
    /// The API server's URL.
    KubernetesApi,
    /// Whether to wait for as long as another daemon holds the data directory.
    StandBy,
    /// How much is logged.
    LogLevel,
}

/// How a setting's value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A text.
    Text,
    /// A whole number; in the file also as a text.
    Number,
    /// A text or a whole number: `auto` or 1400.
    TextOrNumber,
    /// On or off.
    Switch,
    /// Several texts: separated by commas, or an array in the file.
    List,
}

impl Kind {
    /// What the file must hold, for an error.
    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Text => "must be a text in quotes",
            Self::Number => "must be a whole number",
            Self::TextOrNumber => "must be a text in quotes or a whole number",
            Self::Switch => "must be true or false",
            Self::List => "must be a text in quotes or an array of them",
        }
    }
}

impl Setting {
    /// Every setting, in the order of the command's help.
    pub const ALL: [Self; 26] = [
        Self::Peers,
        Self::Nickname,
        Self::Port,
        Self::SecretFile,
        Self::DataDir,
        Self::Socket,
        Self::StatusAddr,
        Self::IpallocRange,
        Self::IpallocInit,
        Self::Bridge,
        Self::Mtu,
        Self::NoDiscovery,
        Self::ConnLimit,
        Self::TrustedSubnets,
        Self::Cipher,
        Self::Tunnel,
        Self::RekeyInterval,
        Self::Realtime,
        Self::Workers,
        Self::PolicyEstablished,
        Self::Kubernetes,
        Self::Kubeconfig,
        Self::KubernetesNode,
        Self::KubernetesApi,
        Self::StandBy,
        Self::LogLevel,
    ];

    /// The key in the configuration file, which is the flag without its dashes.
    pub fn key(self) -> &'static str {
        match self {
            Self::Peers => "peers",
            Self::Nickname => "nickname",
            Self::Port => "port",
            Self::SecretFile => "secret-file",
            Self::DataDir => "data-dir",
            Self::Socket => "socket",
            Self::StatusAddr => "status-addr",
            Self::IpallocRange => "ipalloc-range",
            Self::IpallocInit => "ipalloc-init",
            Self::Bridge => "bridge",
            Self::Mtu => "mtu",
            Self::NoDiscovery => "no-discovery",
            Self::ConnLimit => "conn-limit",
            Self::TrustedSubnets => "trusted-subnets",
            Self::Cipher => "cipher",
            Self::Tunnel => "tunnel",
            Self::RekeyInterval => "rekey-interval",
            Self::Realtime => "realtime",
            Self::Workers => "workers",
            Self::PolicyEstablished => "policy-established",
            Self::Kubernetes => "kubernetes",
            Self::Kubeconfig => "kubeconfig",
            Self::KubernetesNode => "kubernetes-node",
            Self::KubernetesApi => "kubernetes-api",
            Self::StandBy => "stand-by",
            Self::LogLevel => "log-level",
        }
    }

    /// The environment variable: `WEFT_IPALLOC_RANGE`.
    pub fn variable(self) -> String {
        format!("WEFT_{}", self.key().to_uppercase().replace('-', "_"))
    }

    /// How the value is written.
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Port | Self::ConnLimit | Self::RekeyInterval => Kind::Number,
            Self::Mtu | Self::Workers => Kind::TextOrNumber,
            Self::NoDiscovery | Self::Kubernetes | Self::StandBy => Kind::Switch,
            Self::Peers | Self::IpallocRange | Self::TrustedSubnets => Kind::List,
            Self::Nickname
            | Self::SecretFile
            | Self::DataDir
            | Self::Socket
            | Self::StatusAddr
            | Self::IpallocInit
            | Self::Bridge
            | Self::Cipher
            | Self::Tunnel
            | Self::Realtime
            | Self::PolicyEstablished
            | Self::Kubeconfig
            | Self::KubernetesNode
            | Self::KubernetesApi
            | Self::LogLevel => Kind::Text,
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}
