//! `stoker gateway`.

use std::future::ready;
use std::sync::Arc;

use anyhow::Result;
use stoker_domain::payload::PayloadLimits;
use stoker_gateway::{Beats, GatewayConfig, GatewayStats};
use stoker_link::MESSAGE_MOST;
use stoker_proto::core::v1::gateway_service_client::GatewayServiceClient;
use stoker_protocol::session::Limits;

use super::{
    Late, Process, Role, began, bus_config, bus_numbers, cores, host, join_bus, keep_bus, link, private_port,
    tls,
};
use crate::config::Configuration;
use crate::listen::{Closed, Defaults};
use crate::metrics::Metrics;
use crate::parts::drain;
use crate::signals;

pub(super) async fn run(configuration: Configuration) -> Result<()> {
    let mut process = Process::begin("gateway", &configuration)?;
    let cores = cores(&configuration.gateway.cores, "gateway.cores")?;
    let link = link(tls(&configuration)?.as_ref());
    let bus = bus_config(&process, &configuration, Role::Gateway)?;
    let defaults = Defaults { mqtt: "0.0.0.0:1883", ws: None, certificates: None };
    let doors = Closed::read(&configuration.gateway, &defaults)?;
    let (stats, joined) = (Arc::new(GatewayStats::default()), Late::default());
    let metrics = Metrics::of_gateway(stats.clone(), bus_numbers(&joined), link.stats());
    let private = private_port(&mut process, &configuration, metrics, "core").await?;
    let health = process.health.clone();
    let joining = join_bus(bus, &health, &joined);
    let Some((bus, driver)) = process.prepare(joining).await? else { return process.give_up().await };
    keep_bus(&mut process, &bus, driver);
    // Not before, or devices would wait for a gateway that itself waits.
    let doors = doors.open().await?;
    let sessions = Arc::clone(&stats);
    process.counts(move || sessions.snapshot().sessions);
    let config = GatewayConfig {
        core: GatewayServiceClient::new(link.to_any(&cores)).max_decoding_message_size(MESSAGE_MOST),
        readings: GatewayServiceClient::new(link.to_any(&cores)),
        bus: Arc::new(bus.clone()),
        clock: process.clock,
        member: process.member.clone(),
        health: process.health.clone(),
        limits: Limits::default(),
        payload_limits: PayloadLimits::default(),
        max_connections: signals::connections_most(),
        drain: drain(&configuration),
        beats: Some(Beats { link, cores, address: doors.mqtt.to_string(), host: host() }),
    };
    let what = doors.urls.join(" ");
    let end = process.front_end();
    process.front("gateway", stoker_gateway::run(config, doors.listeners, stats, end));
    began(Role::Gateway, &process.member, &what, private);
    process.run(move || bus.close(), ready(())).await
}
