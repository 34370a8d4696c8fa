//! Whether a part answers those it is there for.

use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result};

use super::settings::{Part, Settings};
use super::{amqp, cassandra};

/// How long a part may take for a step of an answer; one that takes longer is not ready.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// Succeeds when the part answers in its own language.
pub(super) fn answers(settings: &Settings, part: Part) -> Result<()> {
    match part {
        Part::Epmd => TcpStream::connect_timeout(&settings.address(part), PATIENCE)
            .map(drop)
            .context("failed to connect"),
        Part::RabbitMq => amqp::log_in(settings.address(part)),
        Part::Cassandra(number) => cassandra::answers(settings, number),
    }
}
