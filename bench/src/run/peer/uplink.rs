//! QoS 1 taken in: as many as wait at once, and one at a time.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use stoker_protocol::codec::{
    Connect, FilterBuf, Packet, PacketId, Properties, Qos, ReasonCode, Subscribe, SubscribeOptions, Version,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::board::Board;
use super::target::{Server, Setup, Who, receive_maximum};
use crate::device::{Login, first_packet, logins};
use crate::generator::{Load, Outcome};
use crate::mosquitto::Keeping;
use crate::process;
use crate::report::Report;
use crate::run::readings::Running;
use crate::run::{per, percent};
use crate::sink::Sink;

/// Devices that publish.
const CONNECTIONS: u32 = 50;
/// The most messages of one of them that wait for their PUBACK, where the server allows as many.
const WINDOW: u16 = 100;
/// What is sent at first counts for nothing.
const WARM_UP: Duration = Duration::from_secs(1);
/// What is kept for somebody who is away grows in memory as long as it is measured: 300 MB in that time.
const KEPT_MOST: Duration = Duration::from_secs(3);
/// How long the session that is away may take to be made.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Where all readings are published to.
const READINGS: &str = "v1/devices/me/telemetry";

/// How it is sent.
#[derive(Clone, Copy)]
enum Way {
    Pipelined,
    OneAtATime,
    /// Pipelined, to a mosquitto that keeps all of it for somebody who is away.
    Kept,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Pipelined => "QoS 1 in, pipelined",
            Self::OneAtATime => "QoS 1 in, one at a time of each device",
            Self::Kept => "QoS 1 in, pipelined, mosquitto keeping it",
        }
    }
}

/// One round of one of them.
pub(super) async fn measure(
    setup: &Setup<'_>,
    who: Who,
    measure: Duration,
    board: &mut Board,
    report: &mut Report,
) -> Result<()> {
    let logins = logins(CONNECTIONS);
    let first = logins.first().context("no device")?;
    let server = Server::start(setup, who, &logins).await?;
    let granted = receive_maximum(server.mqtt(), first).await?;
    board.load(who, "window that is granted", "", granted.into());
    let window = usize::from(granted.min(WINDOW));
    load(&server, who, &logins, (Way::Pipelined, window), measure, board, report).await?;
    load(&server, who, &logins, (Way::OneAtATime, 1), measure, board, report).await?;
    server.finish(report)?;
    if who == Who::Mosquitto {
        let server = Server::mosquitto(setup, Keeping::EverySecond).await?;
        timeout(ANSWER_WITHIN, leave_session(server.mqtt())).await.context("no session was made")??;
        load(&server, who, &logins, (Way::Kept, window), measure.min(KEPT_MOST), board, report).await?;
        server.finish(report)?;
    }
    for (what, window) in [("pipelined", window), ("one at a time of each device", 1)] {
        ceiling(who, &logins, what, window, measure, board).await?;
    }
    Ok(())
}

fn plan(window: usize, measure: Duration) -> Load {
    Load { window, rate: None, warm_up: WARM_UP, measure }
}

fn note_load(board: &mut Board, who: Who, what: &str, outcome: &Outcome, measure: Duration) {
    let seconds = measure.as_secs_f64();
    let shares = [("CPU of the load's thread", outcome.ran), ("the load waited for a core", outcome.starved)];
    for (of, time) in shares {
        board.load(who, &format!("{what}: {of}"), "%", percent(time.as_secs_f64(), seconds));
    }
}

async fn load(
    server: &Server,
    who: Who,
    logins: &[Login],
    (way, window): (Way, usize),
    measure: Duration,
    board: &mut Board,
    report: &mut Report,
) -> Result<()> {
    let pid = server.pid()?;
    let running = Running::begin(server.mqtt(), logins, 1, plan(window, measure)).await?;
    running.warmed_up().await;
    let before = process::cpu(pid)?;
    running.measured().await;
    let spent = process::cpu(pid)?.saturating_sub(before).as_secs_f64();
    let outcome = running.outcome().await?;
    report.exactly("messages that were never acknowledged", 0, outcome.unanswered);
    let name = way.name();
    let rate = outcome.measured as f64 / measure.as_secs_f64();
    // What Stoker did stands a second time beside a mosquitto that keeps messages, too.
    let names = match (who, way) {
        (Who::Stoker, Way::Pipelined) => vec![name, Way::Kept.name()],
        _ => vec![name],
    };
    for name in names {
        board.note(who, &format!("{name}: messages"), "/s", rate);
        board.note(who, &format!("{name}: CPU per message"), "µs", per(spent * 1e6, outcome.measured));
        let p99 = outcome.latency.quantile(0.99).as_secs_f64() * 1e3;
        board.note(who, &format!("{name}: PUBACK p99"), "ms", p99);
    }
    note_load(board, who, name, &outcome, measure);
    Ok(())
}

/// The same load against what only answers.
async fn ceiling(
    who: Who,
    logins: &[Login],
    what: &str,
    window: usize,
    measure: Duration,
    board: &mut Board,
) -> Result<()> {
    let sink = Sink::start()?;
    let running = Running::begin(sink.address, logins, 1, plan(window, measure.min(KEPT_MOST))).await?;
    let outcome = running.outcome().await?;
    let rate = outcome.measured as f64 / measure.min(KEPT_MOST).as_secs_f64();
    board.load(who, &format!("{what}, against what only answers: messages"), "/s", rate);
    Ok(())
}

/// Makes a session that wants all readings, and goes away.
async fn leave_session(address: SocketAddr) -> Result<()> {
    let connect = Connect {
        version: Version::V311,
        clean_start: false,
        keep_alive: 60,
        properties: Properties::EMPTY,
        client_id: "away",
        will: None,
        user_name: None,
        password: None,
    };
    let mut out = Vec::new();
    Packet::Connect(connect).encode(Version::V311, &mut out)?;
    let mut filters = FilterBuf::new();
    filters.push(READINGS, SubscribeOptions::with_qos(Qos::AtLeastOnce))?;
    let (packet_id, properties) = (PacketId::MIN, Properties::EMPTY);
    let subscribe = Subscribe { packet_id, properties, filters: filters.as_list() };
    Packet::Subscribe(subscribe).encode(Version::V311, &mut out)?;
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&out).await?;
    let mut input = Vec::new();
    loop {
        let mut taken = 0;
        while let Some((packet, length)) = first_packet(input.get(taken..).unwrap_or_default())? {
            taken += length;
            if let Packet::SubAck(answer) = packet {
                anyhow::ensure!(
                    !answer.reasons.iter().any(ReasonCode::is_error),
                    "the subscription is refused"
                );
                // DISCONNECT: nothing is left to be told of it.
                return Ok(stream.write_all(&[0xE0, 0]).await?);
            }
        }
        input.drain(..taken);
        anyhow::ensure!(stream.read_buf(&mut input).await? > 0, "closed before a SUBACK came");
    }
}
