//! A device on a TCP connection, speaking MQTT 5 packet by packet.

use std::net::SocketAddr;
use std::time::Duration;

use stoker_protocol::codec::{
    Ack, Connect, Disconnect, FilterBuf, Packet, PacketId, Probe, Properties, Property, PropertyBuf, Publish,
    Qos, ReasonCode, Subscribe, SubscribeOptions, Version, probe,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::platform::WITHIN;

/// What a device hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    ConnAck(ReasonCode),
    SubAck,
    PubAck(u16, ReasonCode),
    Publish { topic: String, id: Option<u16>, payload: String },
    Disconnect(ReasonCode),
    Pong,
    Other,
}

/// A device's end of a connection.
pub(crate) struct Device {
    stream: TcpStream,
    kept: Vec<u8>,
}

/// What a device shows, and how many commands it takes at once.
pub(crate) struct Login<'a> {
    pub(crate) user_name: &'a str,
    pub(crate) password: Option<&'a str>,
    pub(crate) receive_max: u16,
}

impl Login<'_> {
    pub(crate) fn token(token: &str) -> Login<'_> {
        Login { user_name: token, password: None, receive_max: u16::MAX }
    }
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

impl Device {
    /// Sends CONNECT, and waits for nothing.
    pub(crate) async fn dial(address: SocketAddr, login: Login<'_>) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut device = Self { stream, kept: Vec::new() };
        let mut properties = PropertyBuf::new();
        properties.push(Property::ReceiveMaximum(login.receive_max)).unwrap();
        device
            .send(Packet::Connect(Connect {
                version: Version::V5,
                clean_start: true,
                keep_alive: 0,
                properties: properties.as_properties(),
                client_id: "",
                will: None,
                user_name: Some(login.user_name),
                password: login.password.map(str::as_bytes),
            }))
            .await;
        device
    }

    /// Connects, and subscribes to commands and attributes.
    pub(crate) async fn ready(address: SocketAddr, login: Login<'_>) -> Self {
        let mut device = Self::dial(address, login).await;
        assert_eq!(device.hear().await, Some(Heard::ConnAck(ReasonCode::Success)));
        let mut filters = FilterBuf::new();
        filters.push("v1/devices/me/rpc/request/+", SubscribeOptions::with_qos(Qos::AtLeastOnce)).unwrap();
        filters.push("v1/devices/me/attributes", SubscribeOptions::with_qos(Qos::AtMostOnce)).unwrap();
        let (packet_id, properties) = (id(1), Properties::EMPTY);
        device.send(Packet::Subscribe(Subscribe { packet_id, properties, filters: filters.as_list() })).await;
        assert_eq!(device.hear().await, Some(Heard::SubAck));
        device
    }

    pub(crate) async fn publish(&mut self, topic: &str, number: u16, payload: &str) {
        self.send(Packet::Publish(Publish {
            dup: false,
            qos: Qos::AtLeastOnce,
            retain: false,
            topic,
            packet_id: Some(id(number)),
            properties: Properties::EMPTY,
            payload: payload.as_bytes(),
        }))
        .await;
    }

    pub(crate) async fn acknowledge(&mut self, number: u16) {
        let (reason, properties) = (ReasonCode::Success, Properties::EMPTY);
        self.send(Packet::PubAck(Ack { packet_id: id(number), reason, properties })).await;
    }

    /// Everything that was sent to the device before it is answered now.
    pub(crate) async fn ping(&mut self) -> Vec<Heard> {
        self.send(Packet::PingReq).await;
        let mut heard = Vec::new();
        loop {
            match self.hear().await {
                Some(Heard::Pong) => return heard,
                Some(other) => heard.push(other),
                None => panic!("closed after {heard:?}"),
            }
        }
    }

    async fn send(&mut self, packet: Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(Version::V5, &mut bytes).unwrap();
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// The next packet; none when the connection was closed.
    pub(crate) async fn hear(&mut self) -> Option<Heard> {
        self.hear_within(WITHIN).await.expect("nothing was heard in time")
    }

    /// All that is heard until the connection is closed.
    pub(crate) async fn closed(&mut self) -> Vec<Heard> {
        let mut heard = Vec::new();
        while let Some(next) = self.hear().await {
            heard.push(next);
        }
        heard
    }

    async fn hear_within(&mut self, time: Duration) -> Option<Option<Heard>> {
        loop {
            if let Ok(Probe::Frame { total, .. }) = probe(&self.kept, u32::MAX) {
                let frame: Vec<u8> = self.kept.drain(..total).collect();
                return Some(Some(heard(&frame)));
            }
            let mut buffer = [0; 4096];
            match tokio::time::timeout(time, self.stream.read(&mut buffer)).await.ok()? {
                Ok(0) | Err(_) => return Some(None),
                Ok(read) => self.kept.extend_from_slice(&buffer[..read]),
            }
        }
    }
}

fn heard(frame: &[u8]) -> Heard {
    match Packet::decode(Version::V5, frame).unwrap() {
        Packet::ConnAck(ack) => Heard::ConnAck(ack.reason),
        Packet::SubAck(_) => Heard::SubAck,
        Packet::PubAck(ack) => Heard::PubAck(ack.packet_id.get(), ack.reason),
        Packet::Publish(publish) => Heard::Publish {
            topic: publish.topic.to_owned(),
            id: publish.packet_id.map(PacketId::get),
            payload: String::from_utf8(publish.payload.to_vec()).unwrap(),
        },
        Packet::Disconnect(Disconnect { reason, .. }) => Heard::Disconnect(reason),
        Packet::PingResp => Heard::Pong,
        _ => Heard::Other,
    }
}
