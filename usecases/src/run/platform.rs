//! Where a platform is reached.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use stoker_e2e::Api;
use url::Url;

/// Where devices connect.
#[derive(Debug, Clone)]
pub struct Broker {
    /// Its address.
    pub address: SocketAddr,
    /// By WebSocket.
    pub websocket: bool,
    /// By TLS: what its certificate must come from.
    pub ca: Option<PathBuf>,
}

/// A platform, by its addresses.
#[derive(Debug, Clone)]
pub struct Platform {
    /// Its HTTP API.
    pub api: Api,
    /// Where devices connect.
    pub broker: Broker,
    /// The address of this machine at which it reaches receivers of webhooks, if it does.
    pub receive: Option<IpAddr>,
}

impl Broker {
    /// That of a URL: `mqtt`, `mqtts`, `ws` or `wss`, a host, a port unless it is the usual one.
    ///
    /// # Errors
    /// It is another URL, or the host has no address.
    pub async fn of(url: &Url, ca: Option<PathBuf>) -> Result<Self> {
        let (port, websocket, tls) = match url.scheme() {
            "mqtt" => (1883, false, false),
            "mqtts" => (8883, false, true),
            "ws" => (8083, true, false),
            "wss" => (8084, true, true),
            other => bail!("devices connect by mqtt, mqtts, ws or wss, not by {other:?}"),
        };
        ensure!(tls == ca.is_some(), "with mqtts and wss, and only with them, a CA is named");
        ensure!(url.path().is_empty() || ["/", "/mqtt"].contains(&url.path()), "the path is /mqtt or none");
        let host = url.host_str().with_context(|| format!("{url} has no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let found = tokio::net::lookup_host((host, url.port().unwrap_or(port))).await;
        let mut found = found.with_context(|| format!("failed to look up {host}"))?;
        let address = found.next().with_context(|| format!("{host} has no address"))?;
        Ok(Self { address, websocket, ca })
    }
}
