//! Whether a part answers those it is there for.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

use super::folder::Folder;
use super::kube::{self, Place};
use super::settings::{Part, Settings};
use super::{amqp, cassandra};
use crate::process::Runner;

/// How long a part may take for a step of an answer; one that takes longer is not ready.
const PATIENCE: Duration = Duration::from_secs(3);

/// Succeeds when the part answers in its own language.
pub(super) fn answers(runner: &Runner, folder: &Folder, settings: &Settings, part: Part) -> Result<()> {
    match part {
        Part::Epmd => connect(settings.address(part)).map(drop),
        Part::RabbitMq => amqp::log_in(settings.address(part)),
        Part::Cassandra(number) => cassandra::answers(settings, number),
        Part::Kube(part) => kube::answers(runner, &Place::of(folder), part),
    }
}

/// A connection on which no step takes longer.
pub(super) fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).context("failed to connect")?;
    stream.set_read_timeout(Some(PATIENCE)).context("failed to limit a wait")?;
    stream.set_write_timeout(Some(PATIENCE)).context("failed to limit a wait")?;
    Ok(stream)
}
