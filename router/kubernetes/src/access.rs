//! From [`Settings`] to a client of the API server; and what cannot come right by waiting.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::config::{InClusterError, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use crate::{Access, Settings};

/// How long a connection may take, with the TLS handshake. Short, since an attempt that began just before the API server
/// came back delays the next one by this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may be silent while something is awaited on it. Longer than the API server lets an idle watch
/// last ([`crate::watch`]), so that it ends lists that hang and watches that were never answered, and nothing else.
const READ_TIMEOUT: Duration = Duration::from_secs(55);

/// Where the kubelet mounts a service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Why there is nothing to ask, and never will be without a change. Nothing has been started. An API server that cannot be
/// reached is none of these.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The kubeconfig is absent, unreadable or not one.
    #[error("kubeconfig {}: {}: name one whose current context has a cluster and a user", path.display(), crate::trouble::chain(source))]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KubeconfigError,
    },
    /// No service account is mounted, or no Service of the API server is known.
    #[error("no service account in {SERVICE_ACCOUNT}: {}: run in a Pod that has one mounted, or name a kubeconfig", crate::trouble::chain(.0))]
    ServiceAccount(#[source] InClusterError),
    /// The URL of [`Settings::server`] is not one.
    #[error("{url:?} is not the URL of an API server ({why}): write it as https://ADDRESS:PORT")]
    Server {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// Keys, certificates or tokens that the configuration names cannot be used.
    #[error(
        "the credentials for the API server cannot be used: {}: renew what {from} names",
        crate::trouble::chain(source)
    )]
    Credentials {
        /// The file or the directory that they come from.
        from: String,
        /// What is wrong with them.
        source: kube::Error,
    },
    /// [`crate::Kubernetes::start`] was called outside a tokio runtime.
    #[error("no tokio runtime here: start it inside one")]
    NoRuntime,
}

/// Makes clients, each with connections of its own; by the files as they are at that moment.
pub(crate) type Dial = Arc<dyn Fn() -> Result<Client, StartError> + Send + Sync>;

/// Has to be called on a tokio runtime, as has what it returns.
pub(crate) fn dial(settings: &Settings) -> Dial {
    let Settings { access, server, .. } = settings.clone();
    Arc::new(move || connect(&access, server.as_deref()))
}

fn connect(access: &Access, server: Option<&str>) -> Result<Client, StartError> {
    // Both providers may be compiled in; without this rustls would have to guess, and panics. Fails where one is chosen.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (mut config, from) = match access {
        Access::Kubeconfig(path) => {
            let read = || Config::try_from(Kubeconfig::read_from(path)?);
            let config =
                read().map_err(|source| StartError::Kubeconfig { path: path.clone(), source })?;
            (config, path.display().to_string())
        }
        // The environment is asked for the address alone.
        Access::InCluster => {
            let config =
                if server.is_some() { Config::incluster_dns() } else { Config::incluster_env() };
            (config.map_err(StartError::ServiceAccount)?, SERVICE_ACCOUNT.to_owned())
        }
    };
    if let Some(url) = server {
        config.cluster_url = parse_server(url)?;
    }
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.write_timeout = Some(READ_TIMEOUT);
    // Else the idle time of a pooled connection would count.
    config.reset_reader_on_write = true;
    // Every attempt is seen, and paced, by the watches themselves.
    config.default_retry = false;
    Client::try_from(config).map_err(|source| StartError::Credentials { from, source })
}

fn parse_server(url: &str) -> Result<http::Uri, StartError> {
    let wrong = |why: String| StartError::Server { url: url.to_owned(), why };
    let uri: http::Uri = url.parse().map_err(|e: http::uri::InvalidUri| wrong(e.to_string()))?;
    // Over anything else the token would be readable on the way.
    if uri.scheme() != Some(&http::uri::Scheme::HTTPS) {
        return Err(wrong("not https".to_owned()));
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(wrong("no host".to_owned()));
    }
    Ok(uri)
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
