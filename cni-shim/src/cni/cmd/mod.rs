//! The verbs, a file each.

pub mod add;
pub mod check;
pub mod del;
pub mod gc;
pub mod status;
pub mod version;

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;
use weft_api::attach::AttachmentQuery;

use super::config::Config;
use super::env::Environment;
use super::error::CniError;
use super::result::RouteEntry;
use crate::client::{Client, ClientError};
use crate::wire::Route;

/// The first pause between two attempts to reach the daemon; it doubles up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_millis(500);

/// One call of the plugin.
#[derive(Debug)]
pub struct Call {
    /// What standard input said.
    pub config: Config,
    /// What the environment said.
    pub environment: Environment,
    /// The daemon.
    pub client: Client,
}

impl Call {
    /// A call to the daemon that the configuration names, or else `WEFT_SOCKET`.
    pub fn new(config: Config, environment: Environment) -> Self {
        let client = config.socket.clone().map_or_else(Client::from_env, Client::new);
        Self { config, environment, client }
    }

    /// The attachment's key: the interface too, as a container may have several.
    pub(super) fn key(&self) -> AttachmentQuery {
        AttachmentQuery {
            container: Some(self.environment.container.clone()),
            ifname: Some(self.environment.ifname.clone()),
            network: None,
        }
    }

    /// The routes of the configuration: without a gateway of its own, a route goes through the
    /// host where the Pod asked for a way out, and is on the link otherwise, or where its scope says
    /// so.
    pub(super) fn routes(&self, gateways: &[IpAddr]) -> Vec<Route> {
        let way_out = |dst: &IpNet| {
            gateways.iter().find(|gateway| gateway.is_ipv4() == dst.addr().is_ipv4()).copied()
        };
        let via = |route: &RouteEntry| match route.gw {
            None if !route.settings.on_link() => way_out(&route.dst),
            told => told,
        };
        let routes = self.config.routes.iter();
        routes
            .map(|route| Route { dst: route.dst, via: via(route), settings: route.settings })
            .collect()
    }

    /// The Pod's namespace, as the environment wrote it.
    fn sandbox(&self) -> String {
        let netns = self.environment.netns.as_deref();
        netns.map(|netns| netns.display().to_string()).unwrap_or_default()
    }

    /// Repeats `attempt` while the daemon seems to be restarting, for as long as the configuration
    /// allows.
    pub(super) async fn patiently<T, F: Future<Output = Result<T, ClientError>>>(
        &self,
        attempt: impl Fn() -> F,
    ) -> Result<T, CniError> {
        let deadline = Instant::now() + self.config.retry;
        let mut pause = FIRST_PAUSE;
        loop {
            match attempt().await {
                Err(error) if error.is_transient() && Instant::now() + pause <= deadline => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LAST_PAUSE);
                }
                outcome => return outcome.map_err(CniError::from),
            }
        }
    }
}
