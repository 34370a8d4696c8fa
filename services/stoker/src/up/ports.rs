//! All ports of the platform in one process.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Result, bail};
use tokio::net::TcpListener;

use super::Up;
use crate::config::Configuration;
use crate::https::Front;
use crate::listen::{Closed, Defaults, Doors, open};

/// All ports, open.
pub(super) struct Ports {
    pub(super) doors: Doors,
    pub(super) http: TcpListener,
    pub(super) admin: TcpListener,
    pub(super) http_address: SocketAddr,
    pub(super) front: Front,
    admin_address: SocketAddr,
}

impl Ports {
    pub(super) async fn open(up: &Up, configuration: &Configuration, directory: &Path) -> Result<Self> {
        let pick = |flag: &Option<String>, configured: &Option<String>, default: &str| {
            flag.clone().or_else(|| configured.clone()).unwrap_or_else(|| default.to_owned())
        };
        let mut gateway = configuration.gateway.clone();
        // A flag stands over the file.
        for (flag, configured) in [
            (&up.mqtt, &mut gateway.mqtt.listen),
            (&up.mqtts, &mut gateway.mqtts.listen),
            (&up.ws, &mut gateway.ws.listen),
            (&up.wss, &mut gateway.wss.listen),
        ] {
            if flag.is_some() {
                configured.clone_from(flag);
            }
        }
        let defaults =
            Defaults { mqtt: "127.0.0.1:1883", ws: Some("127.0.0.1:8083"), certificates: Some(directory) };
        let (doors, front) = (Closed::read(&gateway, &defaults)?, Front::read(&configuration.portal)?);
        if up.demo.is_some() && front.scheme() == "https" {
            bail!(
                "the fleet of --demo is made by plain HTTP, and portal.cert is given: leave one of them out, or run \
                 `stoker sim`"
            );
        }
        let doors = doors.open().await?;
        let http = pick(&up.http, &configuration.portal.listen, "127.0.0.1:8080");
        let (http, http_address) = open("HTTP", "--http (portal.listen)", &http).await?;
        let admin = pick(&up.admin, &configuration.admin.listen, "127.0.0.1:9090");
        let (admin, admin_address) = open("health and metrics", "--admin (admin.listen)", &admin).await?;
        Ok(Self { doors, http, admin, http_address, front, admin_address })
    }

    /// Where everything is, for a person.
    pub(super) fn shown(&self, token_file: &Path) -> String {
        format!(
            "console {}://{}, devices {}, private port {}, token in {}",
            self.front.scheme(),
            self.http_address,
            self.doors.urls.join(" "),
            self.admin_address,
            token_file.display()
        )
    }
}
