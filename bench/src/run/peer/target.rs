//! Who is measured: Stoker or mosquitto, started by the run, spoken to by the same packets.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use stoker_protocol::codec::{Connect, Packet, Probe, Properties, ReasonCode, Version, probe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::api::Api;
use crate::device::{COMMANDS, Login, PACKET_MAX};
use crate::mosquitto::{Keeping, Mosquitto};
use crate::platform::{Common, Platform};
use crate::report::Report;

/// How long a CONNACK may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    Stoker,
    Mosquitto,
}

impl Who {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Stoker => "Stoker",
            Self::Mosquitto => "mosquitto",
        }
    }

    /// Where this device's orders are published to. Stoker has an alias for it, which means each device's own; mosquitto,
    /// which takes any name, is given one for each.
    pub(super) fn orders(self, login: &Login) -> String {
        match self {
            Self::Stoker => COMMANDS.to_owned(),
            Self::Mosquitto => format!("v1/devices/{}/rpc/request/+", login.id),
        }
    }
}

/// What runs are started with.
pub(super) struct Setup<'a> {
    pub(super) common: &'a Common,
    pub(super) mosquitto: &'a Path,
}

/// One of the two, running.
pub(super) enum Server {
    Stoker(Box<Platform>),
    Mosquitto(Mosquitto),
}

impl Server {
    /// Starts a fresh one that knows those devices. mosquitto lets in anybody.
    pub(super) async fn start(setup: &Setup<'_>, who: Who, logins: &[Login]) -> Result<Self> {
        match who {
            Who::Stoker => Ok(Self::Stoker(Box::new(stoker(setup, logins).await?))),
            Who::Mosquitto => Self::mosquitto(setup, Keeping::Nothing).await,
        }
    }

    /// A mosquitto that keeps messages in that way.
    pub(super) async fn mosquitto(setup: &Setup<'_>, keeping: Keeping) -> Result<Self> {
        Ok(Self::Mosquitto(Mosquitto::start(setup.mosquitto, &setup.common.dir, keeping).await?))
    }

    pub(super) fn mqtt(&self) -> SocketAddr {
        match self {
            Self::Stoker(platform) => platform.mqtt,
            Self::Mosquitto(mosquitto) => mosquitto.mqtt,
        }
    }

    pub(super) fn pid(&self) -> Result<u32> {
        match self {
            Self::Stoker(platform) => platform.pid(),
            Self::Mosquitto(mosquitto) => Ok(mosquitto.pid()),
        }
    }

    /// Ends it; it must not have ended by itself.
    pub(super) fn finish(self, report: &mut Report) -> Result<()> {
        match self {
            Self::Stoker(platform) => platform.finish(report),
            Self::Mosquitto(mut mosquitto) => mosquitto.check_alive(),
        }
    }
}

/// A fresh Stoker that knows those devices.
pub(super) async fn stoker(setup: &Setup<'_>, logins: &[Login]) -> Result<Platform> {
    let mut platform = Platform::new(setup.common, Vec::new())?;
    platform.start().await?;
    import(&platform.api()?, logins).await?;
    Ok(platform)
}

async fn import(api: &Api, logins: &[Login]) -> Result<()> {
    let lines: Vec<String> = logins.iter().map(Login::import_line).collect();
    api.import(&lines).await
}

/// How many messages the server takes of one connection before it has acknowledged them: what it says with MQTT 5.
pub(super) async fn receive_maximum(address: SocketAddr, login: &Login) -> Result<u16> {
    timeout(ANSWER_WITHIN, ask(address, login)).await.context("no CONNACK came")?
}

async fn ask(address: SocketAddr, login: &Login) -> Result<u16> {
    let connect = Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive: 60,
        properties: Properties::EMPTY,
        client_id: &login.id,
        will: None,
        user_name: Some(&login.token),
        password: None,
    };
    let mut out = Vec::new();
    Packet::Connect(connect).encode(Version::V5, &mut out)?;
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&out).await?;
    let mut input = Vec::new();
    loop {
        if let Probe::Frame { total, .. } = probe(&input, PACKET_MAX)? {
            match Packet::decode(Version::V5, input.get(..total).unwrap_or_default())? {
                Packet::ConnAck(answer) if answer.reason == ReasonCode::Success => {
                    // What is not said is the most there can be.
                    return Ok(answer.properties.receive_maximum().unwrap_or(u16::MAX));
                }
                other => bail!("not let in: {other:?}"),
            }
        }
        if stream.read_buf(&mut input).await? == 0 {
            bail!("closed before a CONNACK came");
        }
    }
}
