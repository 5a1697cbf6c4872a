//! Whether the daemon listens to a Kubernetes API server, to which one, and as which node.

use weft_kubernetes::Access;

use super::error::ConfigError;
use super::resolve::Resolver;
use super::setting::Setting;
use super::value::{self, InvalidValue, refuse};

/// How the daemon listens to a Kubernetes API server. All of it was checked for its form only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kubernetes {
    /// How the API server is found, and with which credentials.
    pub access: Access,
    /// The name of this node's Node object; the nickname by default.
    pub node: String,
    /// The API server's URL, where it is not the one that the access names.
    pub server: Option<String>,
}

impl Resolver<'_> {
    /// The settings of API mode; `None` outside of it, or after a problem. `nickname` is the node's.
    pub(super) fn kubernetes(&mut self, nickname: &str) -> Option<Kubernetes> {
        let switch = self.one(Setting::Kubernetes, value::switch);
        let file = self.one(Setting::Kubeconfig, value::path);
        let node = self.one(Setting::KubernetesNode, node_name);
        let server = self.one(Setting::KubernetesApi, url);
        let access = match (switch, file) {
            (Some(false), Some(file)) => {
                let why = "kubernetes is off: leave one of them out";
                self.refuse(Setting::Kubeconfig, &file.display().to_string(), why);
                return None;
            }
            (_, Some(file)) => Access::Kubeconfig(file),
            (Some(true), None) => Access::InCluster,
            // Where the kubeconfig was wrong, that has been said.
            (Some(false) | None, None) if self.is_given(Setting::Kubeconfig) => return None,
            (Some(false) | None, None) => {
                for (setting, text) in
                    [(Setting::KubernetesNode, &node), (Setting::KubernetesApi, &server)]
                {
                    if let Some(text) = text {
                        let why = "it says nothing without --kubernetes or --kubeconfig FILE";
                        self.refuse(setting, text, why);
                    }
                }
                return None;
            }
        };
        let node = match node {
            Some(node) => node,
            None if self.is_given(Setting::KubernetesNode) || nickname.is_empty() => return None,
            None => match node_name(nickname) {
                Ok(node) => node,
                Err(why) => {
                    let (name, why) = (nickname.escape_debug().to_string(), why.to_string());
                    self.problem(ConfigError::KubernetesNode { name, why });
                    return None;
                }
            },
        };
        Some(Kubernetes { access, node, server })
    }
}

/// Checks the name of a Node by the rules of the Kubernetes API (a DNS subdomain).
fn node_name(text: &str) -> Result<String, InvalidValue> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let part = |part: &str| {
        part.starts_with(plain)
            && part.ends_with(plain)
            && part.chars().all(|c| plain(c) || c == '-')
    };
    if text.len() > 253 || !text.split('.').all(part) {
        return refuse(
            "must be the name of a Node: at most 253 lower-case letters, digits, - and .",
        );
    }
    Ok(text.to_owned())
}

/// Checks that a text may be the URL of an API server.
fn url(text: &str) -> Result<String, InvalidValue> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let fits = |c: char| c.is_ascii_graphic() && c != '@';
    match rest {
        Some(rest) if !rest.is_empty() && !rest.starts_with('/') && text.chars().all(fits) => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => refuse("must be a URL such as https://10.0.0.1:6443, without a user"),
    }
}
