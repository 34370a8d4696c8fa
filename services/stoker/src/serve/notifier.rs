//! `stoker notifier`.

use std::future::ready;
use std::sync::Arc;

use anyhow::Result;
use stoker_proto::core::v1::MemberRole;
use stoker_proto::core::v1::notifier_service_client::NotifierServiceClient;

use super::heartbeat::{self, Heart};
use super::{
    Bus, Late, Process, Role, began, bus_config, bus_numbers, cores, host, join_bus, keep_bus, link,
    private_port, tls,
};
use crate::config::Configuration;
use crate::metrics::Metrics;
use crate::parts::notifier;

pub(super) async fn run(configuration: Configuration) -> Result<()> {
    let mut process = Process::begin("notifier", &configuration)?;
    let cores = cores(&configuration.notifier.cores, "notifier.cores")?;
    let link = link(tls(&configuration)?.as_ref());
    let notifier = notifier(&configuration, &[])?;
    let bus = bus_config(&process, &configuration, Role::Notifier)?;
    let joined = Late::default();
    let metrics = Metrics::of_notifier(notifier.stats(), bus_numbers(&joined), link.stats());
    let private = private_port(&mut process, &configuration, metrics, "core").await?;
    let health = process.health.clone();
    let joining = join_bus(bus, &health, &joined);
    let Some((bus, driver)) = process.prepare(joining).await? else { return process.give_up().await };
    keep_bus(&mut process, &bus, driver);
    let core = NotifierServiceClient::new(link.to_any(&cores));
    let heart = Heart {
        member: process.member.clone(),
        role: MemberRole::Notifier,
        address: String::new(),
        host: host(),
        started_at: process.clock.now_ms(),
        health: process.health.clone(),
    };
    let end = process.back_end();
    process.back("beats to core", heartbeat::run(heart, link, cores, end));
    let (on, end): (Bus, _) = (Arc::new(bus.clone()), process.front_end());
    process.front("notifier", notifier.run(on, core, end));
    began(Role::Notifier, &process.member, "mail and webhooks", private);
    process.run(move || bus.close(), ready(())).await
}
