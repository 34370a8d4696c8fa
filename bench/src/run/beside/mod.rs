//! `beside`: separate processes over Cassandra and RabbitMQ, and next to them, in the same run, the least that anybody could do
//! with the same drivers: the same rows, and the same messages and conditional writes.

mod bare;
mod orders;
mod rows;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use stoker_e2e::Services;

use super::several::leave;
use crate::api::Api;
use crate::lab::Lab;
use crate::platform::Common;
use crate::report::Report;
use bare::Bare;

/// Separate processes, and beside them bare drivers that do the same
#[derive(Debug, Args)]
pub(crate) struct Beside {
    #[command(flatten)]
    lab: Lab,
    /// Turns of Stoker and of the bare driver, one after the other
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    turns: u32,
    /// Seconds that one of them writes readings in a turn
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
    /// Devices that publish
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    connections: u32,
    /// Messages of one device that may wait for their PUBACK
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    window: u32,
    /// Commands, and bare round trips, of a turn
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    commands: u32,
}

/// The middle one of some numbers.
fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Beside {
    fn turn(&self) -> Result<Duration> {
        Duration::try_from_secs_f64(self.seconds).context("--seconds is out of range")
    }

    /// Runs it.
    pub(crate) async fn run(&self, common: &Common) -> Result<Report> {
        let mut report = Report::new("Separate processes over Cassandra and RabbitMQ, beside bare drivers");
        let config = json!({
            "cassandra": {"replication_factor": self.lab.replicas()},
        });
        let mut services = Services::prepare_on(&self.lab.addresses(), [1, 1, 0, 1], &config)?;
        services.program(&common.stoker)?;
        let files = services.keep_files().to_owned();
        eprintln!("configuration and logs are in {}", files.display());
        services.run().await?;
        let portal = services.portals.first().context("there is no portal")?.address;
        let api = Api::new(portal, Services::TOKEN)?;
        let bare = Arc::new(Bare::connect(&self.lab).await?);
        rows::run(self, &mut services, &api, &bare, &mut report).await?;
        orders::run(self, &mut services, &api, &bare, &mut report).await?;
        bare.leave().await?;
        leave(&mut services, common, &mut report);
        Ok(report)
    }
}
