//! A session with its shell played by the test: bytes in, bytes and events out.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use stoker_protocol::codec::{
    Connect, FilterBuf, Packet, PacketId, Properties, Property, PropertyBuf, Publish, Qos, Subscribe,
    SubscribeOptions, Version,
};
use stoker_protocol::session::{
    Accept, EndReason, Event, InboundPublish, Limits, Output, PublishOutcome, PublishToken, Session,
};

pub struct Script {
    pub session: Session,
    pub out: Output,
    pub now: u64,
    pub version: Version,
}

impl Script {
    /// A connection on which nothing has come yet.
    pub fn new(version: Version, limits: Limits) -> Self {
        let session = Session::new(0, Arc::new(limits));
        Self { session, out: Output::new(), now: 0, version }
    }

    /// A connection that was accepted, with a keep-alive of 60 s.
    pub fn accepted(version: Version) -> Self {
        Self::accepted_with(version, Limits::default(), &[])
    }

    pub fn accepted_with(version: Version, limits: Limits, properties: &[Property<'_>]) -> Self {
        let mut script = Self::new(version, limits);
        script.connect(properties);
        script.accept();
        script.out.clear();
        script
    }

    pub fn connect(&mut self, properties: &[Property<'_>]) {
        let properties = props(properties);
        self.send(&Packet::Connect(Connect {
            properties: properties.as_properties(),
            ..plain_connect(self.version)
        }));
    }

    pub fn accept(&mut self) {
        self.session.accept(self.now, &Accept { assigned_client_id: "given" }, &mut self.out);
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        self.session.receive(self.now, bytes, &mut self.out);
    }

    pub fn send(&mut self, packet: &Packet<'_>) {
        self.feed(&encode(self.version, packet));
    }

    pub fn publish(&mut self, topic: &str, qos: Qos, id: u16, payload: &[u8]) {
        self.send(&publish(topic, qos, id, payload));
    }

    pub fn telemetry(&mut self, qos: Qos, id: u16) {
        self.publish("v1/devices/me/telemetry", qos, id, b"{}");
    }

    pub fn subscribe(&mut self, id: u16, filters: &[(&str, Qos)]) {
        let mut list = FilterBuf::new();
        for (filter, qos) in filters {
            list.push(filter, SubscribeOptions::with_qos(*qos)).unwrap();
        }
        self.send(&Packet::Subscribe(Subscribe {
            packet_id: pid(id),
            properties: Properties::EMPTY,
            filters: list.as_list(),
        }));
    }

    pub fn done(&mut self, token: PublishToken, outcome: PublishOutcome) {
        self.session.publish_done(self.now, token, outcome, &mut self.out);
    }

    /// What was written since the last look.
    pub fn sent(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out.transmit)
    }

    /// What happened since the last look.
    pub fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.out.events)
    }

    /// The one publish that was handed up since the last look.
    pub fn published(&mut self) -> InboundPublish {
        match self.events().pop() {
            Some(Event::Publish(publish)) => publish,
            other => panic!("{other:?} instead of a publish"),
        }
    }

    /// The tokens of all publishes that were handed up since the last look.
    pub fn tokens(&mut self) -> Vec<PublishToken> {
        let events = self.events().into_iter();
        events
            .filter_map(|event| match event {
                Event::Publish(publish) => publish.token,
                _ => None,
            })
            .collect()
    }

    /// How the session ended: it must have, and the transport must be closed.
    pub fn ended(&mut self) -> EndReason {
        assert!(self.out.close && self.session.is_ended());
        match self.events().pop() {
            Some(Event::Ended(reason)) => reason,
            other => panic!("{other:?} instead of the end"),
        }
    }

    /// That the session ended by a protocol error with this reason code, and that an MQTT 5 client was told
    /// by DISCONNECT while a 3.1.1 client was just closed.
    pub fn ended_by(&mut self, code: u8) {
        let sent = self.sent();
        match self.ended() {
            EndReason::ProtocolError { reason, about } => assert_eq!(reason.value(), code, "{about}"),
            other => panic!("{other:?}"),
        }
        match self.version {
            Version::V311 => assert_eq!(sent, []),
            Version::V5 => match Packet::decode(Version::V5, &sent) {
                Ok(Packet::Disconnect(packet)) => assert_eq!(packet.reason.value(), code),
                other => panic!("{other:?}"),
            },
        }
    }
}

pub fn encode(version: Version, packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes).unwrap();
    bytes
}

pub fn props(properties: &[Property<'_>]) -> PropertyBuf {
    let mut buf = PropertyBuf::new();
    for property in properties {
        buf.push(*property).unwrap();
    }
    buf
}

pub fn pid(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

pub fn publish<'a>(topic: &'a str, qos: Qos, id: u16, payload: &'a [u8]) -> Packet<'a> {
    Packet::Publish(Publish {
        dup: false,
        qos,
        retain: false,
        topic,
        packet_id: if qos == Qos::AtMostOnce { None } else { Some(pid(id)) },
        properties: Properties::EMPTY,
        payload,
    })
}

pub fn plain_connect(version: Version) -> Connect<'static> {
    Connect {
        version,
        clean_start: true,
        keep_alive: 60,
        properties: Properties::EMPTY,
        client_id: "boiler-7",
        will: None,
        user_name: Some("stk_token"),
        password: None,
    }
}

pub const BOTH: [Version; 2] = [Version::V311, Version::V5];
