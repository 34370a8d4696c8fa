//! CONNECT and its answer.

use bytes::Bytes;

use super::event::{Accept, ConnectRequest, EndReason, Event, Output, Refusal, ServerReason, Will};
use super::{Phase, Session};
use crate::codec::{
    self, ConnAck, Connect, DecodeError, Packet, Properties, Property, PropertyBuf, ReasonCode, Version,
    claimed_level,
};
use crate::topic::UpTopic;

impl Session {
    /// Lets the client in: CONNACK is written, and what came behind CONNECT is read now. The keep-alive
    /// begins to count. Without effect unless a [`Event::Connect`] waits for its answer.
    pub fn accept(&mut self, now: u64, accept: &Accept<'_>, out: &mut Output) {
        if self.phase != Phase::AwaitAccept {
            return;
        }
        let properties = match self.version {
            Version::V311 => PropertyBuf::new(),
            Version::V5 => self.connack_properties(accept),
        };
        let connack = ConnAck {
            session_present: false,
            reason: ReasonCode::Success,
            properties: properties.as_properties(),
        };
        if !self.send(&Packet::ConnAck(connack), out) {
            // The client takes packets too small to be told what it has to keep to.
            let about = "connack larger than the client takes";
            let reason = ReasonCode::PacketTooLarge;
            return self.end(EndReason::ProtocolError { reason, about }, out);
        }
        self.phase = Phase::Live;
        self.clock = now;
        self.read_on(now, out);
    }

    /// Turns the client away: CONNACK with the reason, then close. How long to wait before it is the
    /// shell's to decide. Without effect unless a [`Event::Connect`] waits for its answer.
    pub fn refuse(&mut self, refusal: Refusal, out: &mut Output) {
        if self.phase != Phase::AwaitAccept {
            return;
        }
        self.send_refusal(refusal.reason(self.version), "", out);
        self.end(EndReason::Refused(refusal), out);
    }

    /// The CONNACK for a session that is shut before it was accepted.
    pub(super) fn refuse_shut(&self, reason: ServerReason, out: &mut Output) {
        let refusal = match reason {
            ServerReason::NotAuthorized => Refusal::NotAuthorized,
            ServerReason::StoreUnavailable => Refusal::Busy,
            ServerReason::RateTooHigh => Refusal::ConnectionRateExceeded,
            ServerReason::TakenOver | ServerReason::ShuttingDown | ServerReason::Administrative => {
                Refusal::Unavailable
            }
        };
        self.send_refusal(refusal.reason(self.version), "", out);
    }

    fn send_refusal(&self, reason: ReasonCode, about: &str, out: &mut Output) {
        self.explain(about, out, |properties| {
            Packet::ConnAck(ConnAck { session_present: false, reason, properties })
        });
    }

    /// What an MQTT 5 client has to know (3.2.2.3). Maximum QoS is absent: QoS 2 is taken. Wildcard
    /// subscriptions are available: the filters of the device API have them.
    fn connack_properties(&self, accept: &Accept<'_>) -> PropertyBuf {
        let mut properties = PropertyBuf::new();
        let mut add = |property| {
            // Nothing here can be refused but an identifier of more than 65,535 bytes.
            let _ = properties.push(property);
        };
        add(Property::SessionExpiryInterval(0));
        add(Property::ReceiveMaximum(self.limits.receive_max.max(1)));
        add(Property::RetainAvailable(false));
        add(Property::MaximumPacketSize(self.limits.max_packet.max(1)));
        if self.nameless {
            add(Property::AssignedClientIdentifier(accept.assigned_client_id));
        }
        if self.limits.topic_alias_max > 0 {
            add(Property::TopicAliasMaximum(self.limits.topic_alias_max));
        }
        add(Property::SubscriptionIdentifiersAvailable(false));
        add(Property::SharedSubscriptionAvailable(false));
        if self.keep_alive_ours {
            add(Property::ServerKeepAlive(self.limits.max_keep_alive_s));
        }
        properties
    }

    /// Reads the first packet, which has to be a CONNECT; `header` is the length of its fixed header.
    pub(super) fn connect(&mut self, frame: &[u8], header: usize, out: &mut Output) {
        // Its version isn't known before it is read; it only matters to the form of the packet's length.
        let connect = match Packet::decode(Version::V311, frame) {
            Ok(Packet::Connect(connect)) => connect,
            Ok(_) => return self.fail(DecodeError::protocol("first packet is not connect"), out),
            Err(error) => {
                let level = claimed_level(frame.get(header..).unwrap_or_default());
                return self.turn_away(error, level, out);
            }
        };
        self.version = connect.version;
        self.take_terms(&connect);
        match self.request(&connect) {
            Ok(request) => {
                self.phase = Phase::AwaitAccept;
                out.events.push(Event::Connect(Box::new(request)));
            }
            Err(error) => self.refuse_connect(error, out),
        }
    }

    /// Answers a CONNECT that can't be read, in the version it claims.
    fn turn_away(&mut self, error: DecodeError, level: Option<u8>, out: &mut Output) {
        match level {
            // Protocols to come are told in the newest one known; their clients may know it.
            Some(5..) => {
                self.version = Version::V5;
                self.refuse_connect(error, out);
            }
            Some(_) if error.reason == ReasonCode::UnsupportedProtocolVersion => {
                self.refuse_connect(error, out);
            }
            // 3.1.1 has no return code for it, and what speaks no MQTT gets no answer.
            _ => self.fail(error, out),
        }
    }

    /// Refuses a CONNECT for what stands in it.
    fn refuse_connect(&mut self, error: DecodeError, out: &mut Output) {
        let reason = if error.reason.valid_in_connack() { error.reason } else { ReasonCode::ProtocolError };
        if self.version == Version::V5 || reason.connect_return().is_some() {
            self.send_refusal(reason, error.about, out);
        }
        self.end(EndReason::ProtocolError { reason: error.reason, about: error.about }, out);
    }

    /// Notes what the client asks of the connection itself.
    fn take_terms(&mut self, connect: &Connect<'_>) {
        let properties = connect.properties;
        self.nameless = connect.client_id.is_empty();
        self.explain = properties.request_problem_information().unwrap_or(true);
        self.no_expiry = properties.session_expiry_interval().unwrap_or(0) == 0;
        self.client_max_packet = properties.maximum_packet_size().unwrap_or(u32::MAX);
        self.client_receive_max = properties.receive_maximum().unwrap_or(u16::MAX);
        let (asked, longest) = (connect.keep_alive, self.limits.max_keep_alive_s);
        self.keep_alive_ours = longest > 0 && (asked == 0 || asked > longest);
        let keep_alive = if self.keep_alive_ours { longest } else { asked };
        self.keep_alive_ms = u32::from(keep_alive) * 1000;
    }

    /// What is handed up, once everything that we can't do was refused.
    fn request(&self, connect: &Connect<'_>) -> Result<ConnectRequest, DecodeError> {
        if connect.properties.authentication_method().is_some() {
            let about = "enhanced authentication is not supported";
            return Err(DecodeError::new(ReasonCode::BadAuthenticationMethod, about));
        }
        if connect.client_id.is_empty() && connect.version == Version::V311 && !connect.clean_start {
            let about = "empty client identifier without clean session";
            return Err(DecodeError::new(ReasonCode::ClientIdentifierNotValid, about));
        }
        let will = match &connect.will {
            Some(will) => Some(Box::new(self.will(will)?)),
            None => None,
        };
        Ok(ConnectRequest {
            version: connect.version,
            client_id: connect.client_id.to_owned(),
            clean_start: connect.clean_start,
            user_name: connect.user_name.map(str::to_owned),
            password: connect.password.map(Bytes::copy_from_slice),
            keep_alive_s: connect.keep_alive,
            will,
        })
    }

    fn will(&self, will: &codec::Will<'_>) -> Result<Will, DecodeError> {
        let properties: Properties<'_> = will.properties;
        let topic = UpTopic::parse(will.topic);
        if self.version == Version::V5 {
            if will.retain {
                let about = "retained messages are not supported";
                return Err(DecodeError::new(ReasonCode::RetainNotSupported, about));
            }
            if topic.is_none() {
                let about = "will topic is not one of the device api";
                return Err(DecodeError::new(ReasonCode::TopicNameInvalid, about));
            }
        }
        Ok(Will {
            topic,
            payload: Bytes::copy_from_slice(will.payload),
            qos: will.qos,
            delay_s: properties.will_delay_interval().unwrap_or(0),
        })
    }
}
