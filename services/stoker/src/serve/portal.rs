//! `stoker portal`.

use anyhow::{Context, Result, bail};
use std::future::ready;
use stoker_link::MESSAGE_MOST;
use stoker_portal::{LateBus, MqttAddress};
use stoker_proto::core::v1::MemberRole;
use stoker_proto::core::v1::portal_service_client::PortalServiceClient;

use super::heartbeat::{self, Heart};
use super::{Process, Role, began, bus_config, cores, feed, host, link, private_port, required, tls};
use crate::config::Configuration;
use crate::https::Front;
use crate::listen::open;
use crate::metrics::Metrics;

/// The administrator's token. Several portals have the same, so none of them makes one.
fn token(configuration: &Configuration) -> Result<String> {
    let file = required(configuration.admin.token_file.as_ref(), "admin.token_file")?;
    let token = std::fs::read_to_string(file)
        .with_context(|| format!("failed to read the administrator's token from {}", file.display()))?;
    match token.trim() {
        "" => bail!("{} is empty: it has the administrator's token", file.display()),
        token => Ok(token.to_owned()),
    }
}

pub(super) async fn run(configuration: Configuration) -> Result<()> {
    let mut process = Process::begin("portal", &configuration)?;
    let cores = cores(&configuration.portal.cores, "portal.cores")?;
    let link = link(tls(&configuration)?.as_ref());
    let token = token(&configuration)?;
    let front = Front::read(&configuration.portal)?;
    let scheme = front.scheme();
    let listen = configuration.portal.listen.as_deref().unwrap_or("0.0.0.0:8080");
    let (listener, address) = open("HTTP", "portal.listen", listen).await?;
    let mut portal = front.portal(token, MqttAddress::default());
    if configuration.bus.url.is_some() {
        let (late, end) = (LateBus::default(), process.back_end());
        let config = bus_config(&process, &configuration, Role::Portal)?;
        process.back("bus", feed::keep(config, late.clone(), process.health.clone(), end));
        portal.bus = Some(late);
    }
    let metrics = Metrics::of_portal(&portal.stats, link.stats());
    let private = private_port(&mut process, &configuration, metrics, "core").await?;
    let core = PortalServiceClient::new(link.to_any(&cores)).max_decoding_message_size(MESSAGE_MOST);
    let heart = Heart {
        member: process.member.clone(),
        role: MemberRole::Portal,
        address: address.to_string(),
        host: host(),
        started_at: process.clock.now_ms(),
        health: process.health.clone(),
    };
    let end = process.back_end();
    process.back("beats to core", heartbeat::run(heart, link, cores, end));
    let end = process.front_end();
    process.front("portal", stoker_portal::run(portal, core, listener, end));
    began(Role::Portal, &process.member, &format!("{scheme}://{address}"), private);
    process.run(|| {}, ready(())).await
}
