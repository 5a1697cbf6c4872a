//! The parameters in the environment: section 2, "Parameters".

use std::path::PathBuf;

use ipnet::IpNet;

use super::config::parse_ip;
use super::error::{CniError, Code};
use super::version::Version;
use crate::wire::validate_ifname;

/// The variable that names the verb.
pub const COMMAND: &str = "CNI_COMMAND";

/// A verb that the plugin knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Make the interface.
    Add,
    /// Remove it.
    Del,
    /// Compare it with the result of ADD.
    Check,
    /// Free what no runtime knows any more.
    Gc,
    /// Whether an ADD would be served.
    Status,
    /// Which versions are spoken.
    Version,
}

impl Command {
    /// Reads `CNI_COMMAND`.
    ///
    /// # Errors
    /// [`Code::ENVIRONMENT`] for a verb that the plugin does not know.
    pub fn parse(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, CniError> {
        let text = lookup(COMMAND).unwrap_or_default();
        match text.as_str() {
            "ADD" => Ok(Self::Add),
            "DEL" => Ok(Self::Del),
            "CHECK" => Ok(Self::Check),
            "GC" => Ok(Self::Gc),
            "STATUS" => Ok(Self::Status),
            "VERSION" => Ok(Self::Version),
            _ => Err(CniError::new(Code::ENVIRONMENT, format!("unknown CNI_COMMAND \"{text}\""))
                .details("known commands: ADD, DEL, CHECK, GC, STATUS, VERSION")),
        }
    }

    /// Checks that the version asked for has the verb.
    ///
    /// # Errors
    /// [`Code::VERSION`] if it does not.
    pub fn require(self, version: Version) -> Result<(), CniError> {
        let (name, since) = match self {
            Self::Add | Self::Del | Self::Version => return Ok(()),
            Self::Check => ("CHECK", Version::V0_4_0),
            Self::Gc => ("GC", Version::V1_1_0),
            Self::Status => ("STATUS", Version::V1_1_0),
        };
        if version < since {
            return Err(CniError::new(
                Code::VERSION,
                format!("CNI version {} has no {name}", version.as_str()),
            ));
        }
        Ok(())
    }
}

/// The parameters of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// The verb.
    pub command: Command,
    /// `CNI_CONTAINERID`; empty for GC, STATUS and VERSION.
    pub container: String,
    /// `CNI_IFNAME`; empty for GC, STATUS and VERSION.
    pub ifname: String,
    /// `CNI_NETNS`; there for ADD and CHECK.
    pub netns: Option<PathBuf>,
    /// `K8S_POD_NAMESPACE` of `CNI_ARGS`.
    pub namespace: Option<String>,
    /// `K8S_POD_NAME` of `CNI_ARGS`.
    pub pod: Option<String>,
    /// `K8S_POD_UID` of `CNI_ARGS`.
    pub uid: Option<String>,
    /// `IP` of `CNI_ARGS`: addresses asked for by value, with commas between them.
    pub ips: Vec<IpNet>,
}

impl Environment {
    /// Reads the variables that `command` needs.
    ///
    /// # Errors
    /// [`Code::ENVIRONMENT`], naming every variable that is missing or wrong.
    pub fn parse(
        command: Command,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, CniError> {
        let get = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let mut environment = Self {
            command,
            container: String::new(),
            ifname: String::new(),
            netns: get("CNI_NETNS").map(PathBuf::from),
            namespace: None,
            pod: None,
            uid: None,
            ips: Vec::new(),
        };
        if matches!(command, Command::Gc | Command::Status | Command::Version) {
            return Ok(environment);
        }
        let mut faults = Vec::new();
        match get("CNI_CONTAINERID") {
            Some(id) if is_identifier(&id) => environment.container = id,
            Some(id) => faults.push(format!("invalid CNI_CONTAINERID \"{id}\"")),
            None => faults.push("CNI_CONTAINERID is missing".into()),
        }
        let needs_netns = matches!(command, Command::Add | Command::Check);
        if environment.netns.is_none() && needs_netns {
            faults.push("CNI_NETNS is missing".into());
        }
        match get("CNI_IFNAME") {
            Some(name) => match validate_ifname(&name) {
                Ok(()) => environment.ifname = name,
                Err(error) => faults.push(format!("invalid CNI_IFNAME: {error}")),
            },
            None => faults.push("CNI_IFNAME is missing".into()),
        }
        // What DEL removes does not depend on them, and it must not fail on what made ADD fail.
        let args = get("CNI_ARGS").filter(|_| needs_netns).unwrap_or_default();
        if let Err(fault) = environment.read_args(&args) {
            faults.push(fault);
        }
        if faults.is_empty() {
            Ok(environment)
        } else {
            Err(CniError::new(Code::ENVIRONMENT, faults.join("; ")))
        }
    }

    /// Reads `CNI_ARGS`, `KEY=VALUE` pairs between semicolons. Keys that are not ours fail, unless
    /// `IgnoreUnknown` is set: that is how the runtimes' conventions have it.
    fn read_args(&mut self, args: &str) -> Result<(), String> {
        let mut ignore_unknown = false;
        let mut unknown = Vec::new();
        for pair in args.split(';').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| format!("invalid CNI_ARGS: \"{pair}\" is no KEY=VALUE"))?;
            let filled = Some(value.to_owned()).filter(|value| !value.is_empty());
            match key {
                "IgnoreUnknown" => {
                    ignore_unknown = ["1", "true"].contains(&value.to_ascii_lowercase().as_str());
                }
                "K8S_POD_NAMESPACE" => self.namespace = filled,
                "K8S_POD_NAME" => self.pod = filled,
                "K8S_POD_UID" => self.uid = filled,
                "IP" => {
                    let ips = value.split(',').filter(|ip| !ip.is_empty()).map(parse_ip);
                    self.ips = ips
                        .collect::<Result<_, _>>()
                        .map_err(|_| format!("invalid CNI_ARGS: \"{pair}\" is no address"))?;
                }
                "K8S_POD_INFRA_CONTAINER_ID" => {}
                _ => unknown.push(key),
            }
        }
        if ignore_unknown || unknown.is_empty() {
            Ok(())
        } else {
            Err(format!("unknown CNI_ARGS: {} (IgnoreUnknown is not set)", unknown.join(", ")))
        }
    }
}

/// Whether a container's id or a network's name is one: a letter or digit, then letters, digits and
/// `_.-`.
pub(super) fn is_identifier(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(command: Command, pairs: &[(&str, &str)]) -> Result<Environment, CniError> {
        Environment::parse(command, |name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_full_environment_is_read() {
        let args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=web;K8S_POD_NAME=a-1;X=y=z;K8S_POD_UID=u;\
                    IP=10.32.0.7,fd00::7/64";
        let environment = parse(
            Command::Add,
            &[
                ("CNI_CONTAINERID", "c-1.x_y"),
                ("CNI_NETNS", "/run/netns/p"),
                ("CNI_IFNAME", "eth0"),
                ("CNI_ARGS", args),
            ],
        )
        .unwrap();
        assert_eq!(environment.container, "c-1.x_y");
        assert_eq!(environment.netns, Some("/run/netns/p".into()));
        assert_eq!(environment.namespace.as_deref(), Some("web"));
        assert_eq!(environment.pod.as_deref(), Some("a-1"));
        assert_eq!(environment.uid.as_deref(), Some("u"));
        let ips = ["10.32.0.7/32", "fd00::7/64"].map(|ip| ip.parse().unwrap());
        assert_eq!(environment.ips, ips);
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let error = parse(
            Command::Add,
            &[("CNI_CONTAINERID", "-c"), ("CNI_IFNAME", "a/b"), ("CNI_ARGS", "XY=1")],
        )
        .unwrap_err();
        assert_eq!(error.code, Code::ENVIRONMENT);
        assert_eq!(
            error.msg,
            "invalid CNI_CONTAINERID \"-c\"; CNI_NETNS is missing; invalid CNI_IFNAME: invalid \
             interface name \"a/b\": 1 to 15 bytes, no space, slash or colon; unknown CNI_ARGS: \
             XY (IgnoreUnknown is not set)"
        );
        let error = parse(Command::Check, &[("CNI_ARGS", "nonsense")]).unwrap_err();
        assert_eq!(
            error.msg,
            "CNI_CONTAINERID is missing; CNI_NETNS is missing; CNI_IFNAME is missing; \
             invalid CNI_ARGS: \"nonsense\" is no KEY=VALUE"
        );
    }

    #[test]
    fn del_needs_no_namespace_and_status_needs_nothing() {
        let pairs = [("CNI_CONTAINERID", "c1"), ("CNI_IFNAME", "eth0"), ("CNI_NETNS", "")];
        let of_add = [("CNI_ARGS", "nonsense")];
        assert_eq!(parse(Command::Del, &[&pairs[..], &of_add].concat()).unwrap().netns, None);
        assert!(parse(Command::Add, &pairs).is_err());
        assert!(parse(Command::Status, &[]).is_ok());
        assert!(parse(Command::Gc, &[]).is_ok());
    }

    #[test]
    fn verbs_have_the_versions_that_brought_them() {
        let code = |command: Command, version| command.require(version).map_err(|error| error.code);
        assert_eq!(code(Command::Check, Version::V0_3_1), Err(Code::VERSION));
        assert_eq!(code(Command::Check, Version::V0_4_0), Ok(()));
        assert_eq!(code(Command::Status, Version::V1_0_0), Err(Code::VERSION));
        assert_eq!(code(Command::Status, Version::V1_1_0), Ok(()));
        assert_eq!(code(Command::Gc, Version::V1_0_0), Err(Code::VERSION));
        let error = Command::parse(|_| Some("add".into())).unwrap_err();
        assert_eq!(
            (error.code, error.msg.as_str()),
            (Code::ENVIRONMENT, "unknown CNI_COMMAND \"add\"")
        );
    }
}
