//! A device without a model: connects, and does what the run says. Few of them, so it may cost a little.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, bail};
use serde_json::json;
use stoker_protocol::codec::{
    Ack, Connect, Disconnect, FilterBuf, Packet, PacketId, Probe, Properties, Publish, Qos, ReasonCode,
    Subscribe, SubscribeOptions, Version, probe,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// The greatest packet that a platform sends.
pub(crate) const PACKET_MAX: u32 = 256 * 1024;
/// Where commands arrive.
pub(crate) const COMMANDS: &str = "v1/devices/me/rpc/request/+";
/// Where events go.
pub(crate) const EVENTS: &str = "v1/devices/me/events";

/// The name and the token of a device of a run.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) id: String,
    pub(crate) token: String,
}

/// Names and tokens of so many devices.
pub(crate) fn logins(count: u32) -> Vec<Login> {
    // The platform is the run's own and listens on loopback: tokens need to be distinct, not secret.
    (1..=count)
        .map(|number| Login { id: format!("bench-{number}"), token: format!("bench-token-{number:08}") })
        .collect()
}

impl Login {
    /// As `devices:import` takes it.
    pub(crate) fn import_line(&self) -> String {
        json!({ "id": self.id, "token": self.token }).to_string()
    }

    /// Appends the CONNECT of this device. MQTT 3.1.1, for that is what the peers are measured with.
    pub(crate) fn connect(&self, keep_alive: u16, out: &mut Vec<u8>) -> Result<()> {
        let connect = Connect {
            version: Version::V311,
            clean_start: true,
            keep_alive,
            properties: Properties::EMPTY,
            client_id: &self.id,
            will: None,
            user_name: Some(&self.token),
            password: None,
        };
        Ok(Packet::Connect(connect).encode(Version::V311, out)?)
    }
}

/// Appends a PUBLISH with QoS 1.
pub(crate) fn put_publish(
    version: Version,
    id: PacketId,
    topic: &str,
    payload: &[u8],
    out: &mut Vec<u8>,
) -> Result<()> {
    let publish = Publish {
        dup: false,
        qos: Qos::AtLeastOnce,
        retain: false,
        topic,
        packet_id: Some(id),
        properties: Properties::EMPTY,
        payload,
    };
    Ok(Packet::Publish(publish).encode(version, out)?)
}

/// The first whole packet of `input` and its length; none when more bytes are needed.
pub(crate) fn first_packet(input: &[u8]) -> Result<Option<(Packet<'_>, usize)>> {
    match probe(input, PACKET_MAX)? {
        Probe::NeedMore { .. } => Ok(None),
        Probe::Frame { total, .. } => {
            let frame = input.get(..total).unwrap_or(input);
            Ok(Some((Packet::decode(Version::V311, frame)?, total)))
        }
    }
}

/// What came from the platform.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A message of the device was taken.
    Acked(PacketId),
    /// An order of that number.
    Order { number: u64, packet_id: Option<PacketId> },
}

/// A connected device.
#[derive(Debug)]
pub(crate) struct Device<S = TcpStream> {
    stream: S,
    input: Vec<u8>,
    next_id: PacketId,
}

impl Device {
    /// Connects, from a given address of this machine where one is named.
    pub(crate) async fn connect(
        address: SocketAddr,
        from: Option<IpAddr>,
        login: &Login,
        keep_alive: u16,
    ) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if let Some(from) = from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        let stream = socket.connect(address).await.with_context(|| format!("{} can't connect", login.id))?;
        stream.set_nodelay(true)?;
        Self::enter(stream, login, keep_alive).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Device<S> {
    /// Logs in over a fresh connection.
    pub(crate) async fn enter(stream: S, login: &Login, keep_alive: u16) -> Result<Self> {
        let mut device = Self { stream, input: Vec::new(), next_id: PacketId::MIN };
        let mut out = Vec::new();
        login.connect(keep_alive, &mut out)?;
        device.stream.write_all(&out).await?;
        device.stream.flush().await?;
        device
            .answer("CONNACK", |packet| match packet {
                Packet::ConnAck(answer) => Some(answer.reason == ReasonCode::Success),
                _ => None,
            })
            .await
            .with_context(|| format!("{} was not let in", login.id))?;
        Ok(device)
    }

    /// Takes in one packet that must be there, and forgets the memory it took.
    async fn answer(&mut self, name: &str, is: impl Fn(&Packet<'_>) -> Option<bool>) -> Result<()> {
        loop {
            if let Some((packet, length)) = first_packet(&self.input)? {
                match is(&packet) {
                    Some(true) => {}
                    Some(false) => bail!("{name} refuses"),
                    None => bail!("{name} expected, not {packet:?}"),
                }
                self.input.drain(..length);
                if self.input.is_empty() {
                    self.input = Vec::new();
                }
                return Ok(());
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                bail!("the connection was closed before {name}");
            }
        }
    }

    /// Asks whether the connection is still there, and waits for the answer.
    pub(crate) async fn ping(&mut self) -> Result<()> {
        let mut out = Vec::new();
        Packet::PingReq.encode(Version::V311, &mut out)?;
        self.stream.write_all(&out).await?;
        self.stream.flush().await?;
        self.answer("PINGRESP", |packet| matches!(packet, Packet::PingResp).then_some(true)).await
    }

    /// Says goodbye.
    pub(crate) async fn leave(mut self) -> Result<()> {
        let goodbye = Disconnect { reason: ReasonCode::Success, properties: Properties::EMPTY };
        let mut out = Vec::new();
        Packet::Disconnect(goodbye).encode(Version::V311, &mut out)?;
        self.stream.write_all(&out).await?;
        Ok(self.stream.shutdown().await?)
    }

    /// Asks for orders.
    pub(crate) async fn subscribe(&mut self) -> Result<()> {
        self.subscribe_to(COMMANDS).await
    }

    /// Asks for what that filter matches.
    pub(crate) async fn subscribe_to(&mut self, filter: &str) -> Result<()> {
        let mut filters = FilterBuf::new();
        filters.push(filter, SubscribeOptions::with_qos(Qos::AtLeastOnce))?;
        let packet_id = self.take_id();
        let subscribe = Subscribe { packet_id, properties: Properties::EMPTY, filters: filters.as_list() };
        let mut out = Vec::new();
        Packet::Subscribe(subscribe).encode(Version::V311, &mut out)?;
        self.stream.write_all(&out).await?;
        self.answer("SUBACK", |packet| match packet {
            Packet::SubAck(answer) => Some(!answer.reasons.iter().any(ReasonCode::is_error)),
            _ => None,
        })
        .await
    }

    fn take_id(&mut self) -> PacketId {
        let id = self.next_id;
        self.next_id = id.checked_add(1).unwrap_or(PacketId::MIN);
        id
    }

    /// Publishes with QoS 1; the PUBACK comes by [`Device::next`].
    pub(crate) async fn publish(&mut self, topic: &str, payload: &[u8]) -> Result<PacketId> {
        let id = self.take_id();
        let mut out = Vec::new();
        put_publish(Version::V311, id, topic, payload, &mut out)?;
        self.stream.write_all(&out).await?;
        Ok(id)
    }

    /// Acknowledges an order and replies to it, in one write, as a device does that is done at once.
    pub(crate) async fn reply(&mut self, number: u64, packet_id: Option<PacketId>) -> Result<()> {
        self.reply_on(&format!("v1/devices/me/rpc/response/{number}"), packet_id).await
    }

    /// The same, by a publish on that topic.
    pub(crate) async fn reply_on(&mut self, topic: &str, packet_id: Option<PacketId>) -> Result<()> {
        let mut out = Vec::new();
        if let Some(packet_id) = packet_id {
            Packet::PubAck(Ack::success(packet_id)).encode(Version::V311, &mut out)?;
        }
        put_publish(Version::V311, self.take_id(), topic, br#"{"ok":true}"#, &mut out)?;
        Ok(self.stream.write_all(&out).await?)
    }

    /// Acknowledges what came.
    pub(crate) async fn acknowledge(&mut self, packet_id: PacketId) -> Result<()> {
        let mut out = Vec::new();
        Packet::PubAck(Ack::success(packet_id)).encode(Version::V311, &mut out)?;
        Ok(self.stream.write_all(&out).await?)
    }

    /// What comes next. May be dropped and called again at any time.
    pub(crate) async fn next(&mut self) -> Result<Incoming> {
        loop {
            if let Some((packet, length)) = first_packet(&self.input)? {
                let incoming = match packet {
                    Packet::PubAck(ack) => Incoming::Acked(ack.packet_id),
                    Packet::Publish(publish) => {
                        let number = publish.topic.rsplit('/').next().and_then(|number| number.parse().ok());
                        let number = number.with_context(|| format!("an order on {}", publish.topic))?;
                        Incoming::Order { number, packet_id: publish.packet_id }
                    }
                    other => bail!("the platform sent {other:?}"),
                };
                self.input.drain(..length);
                return Ok(incoming);
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                bail!("the platform closed the connection");
            }
        }
    }
}
