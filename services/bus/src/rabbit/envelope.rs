//! What stands around a message: its kind, version, time and headers. `docs/rabbitmq.md` describes it for other
//! readers.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use prost::Message;
use stoker_domain::Millis;
use stoker_proto::convert::WireError;
use stoker_telemetry::trace::{self, HEADER, Remote};

/// The version of all messages. A greater one comes only after all processes can read it, one release later.
pub(super) const VERSION: u32 = 1;
/// No message is larger, coming or going: the largest reading is 256 KiB on its way in.
pub(super) const MAX_BODY: usize = 1024 * 1024;
/// Headers of a trace context that are taken over from a message.
const MAX_HEADERS: usize = 8;
const MAX_HEADER_BYTES: usize = 1024;

const H_VERSION: &str = "stoker-version";
const H_PUBLISHED: &str = "stoker-published-ms";
const H_PUBLISHER: &str = "stoker-publisher";
const H_SEQUENCE: &str = "stoker-sequence";

/// Headers that carry a trace context: `traceparent`, `tracestate`, `baggage`.
pub type TraceHeaders = BTreeMap<String, String>;

/// Carries the trace context over the bus (W3C Trace Context).
pub trait TraceCarrier: fmt::Debug + Send + Sync + 'static {
    /// Called where something is published: puts the current context into its headers.
    fn inject(&self, headers: &mut TraceHeaders);
    /// Called where a message is handed to its consumer, in the consumer's own task.
    fn extract(&self, headers: &TraceHeaders);
}

/// Carries the span that something is published in, and hands it to whoever asks `stoker_telemetry::trace::received`.
#[derive(Debug)]
pub struct SpanCarrier;

impl TraceCarrier for SpanCarrier {
    fn inject(&self, headers: &mut TraceHeaders) {
        if let Some(current) = Remote::current() {
            headers.insert(HEADER.to_owned(), current.traceparent());
        }
    }

    fn extract(&self, headers: &TraceHeaders) {
        trace::remember(headers.get(HEADER).and_then(|parent| Remote::parse(parent)));
    }
}

/// What kind of message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Work,
    Order,
    Activity,
    Beacon,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Work => "work",
            Self::Order => "order",
            Self::Activity => "activity",
            Self::Beacon => "beacon",
        }
    }
}

/// A message on its way out.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) kind: Kind,
    pub(super) routing_key: String,
    pub(super) body: Vec<u8>,
    /// Which publisher of the live feed, and how far it has come.
    pub(super) sequence: Option<(String, u64)>,
    pub(super) trace: TraceHeaders,
}

impl Outgoing {
    pub(super) fn properties(&self, message_id: Option<&str>) -> BasicProperties {
        let mut headers = FieldTable::default();
        headers.insert(H_VERSION.into(), AMQPValue::LongUInt(VERSION));
        headers.insert(H_PUBLISHED.into(), AMQPValue::LongLongInt(now_ms()));
        if let Some((publisher, sequence)) = &self.sequence {
            headers.insert(H_PUBLISHER.into(), AMQPValue::LongString(publisher.as_str().into()));
            let sequence = i64::try_from(*sequence).unwrap_or(i64::MAX);
            headers.insert(H_SEQUENCE.into(), AMQPValue::LongLongInt(sequence));
        }
        for (name, value) in &self.trace {
            if let Ok(name) = ShortString::try_new(name.as_str()) {
                headers.insert(name, AMQPValue::LongString(value.as_str().into()));
            }
        }
        let properties = BasicProperties::default()
            .with_content_type("application/x-protobuf".into())
            .with_app_id("stoker".into())
            .with_type(self.kind.as_str().into())
            .with_delivery_mode(if self.kind == Kind::Work { 2 } else { 1 })
            .with_headers(headers);
        match message_id {
            Some(id) => properties.with_message_id(id.into()),
            None => properties,
        }
    }
}

/// Why a message cannot be read. It goes to the dead letters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("it has {0} bytes")]
    TooLarge(usize),
    #[error("it is of kind \"{0}\"")]
    Kind(String),
    #[error("it is of version {0}, this process reads up to {VERSION}")]
    Version(u64),
    #[error("it lacks the header {0}")]
    Header(&'static str),
    #[error("{0}")]
    Form(String),
    #[error("{0}")]
    Content(#[from] WireError),
}

/// What stands around a message that came.
#[derive(Debug)]
pub(super) struct Incoming<'a> {
    delivery: &'a Delivery,
    pub(super) published_ms: Millis,
}

impl<'a> Incoming<'a> {
    /// Looks at it before anything is made of it.
    pub(super) fn of(delivery: &'a Delivery) -> Result<Self, Unreadable> {
        let this = Self { delivery, published_ms: 0 };
        if delivery.data.len() > MAX_BODY {
            return Err(Unreadable::TooLarge(delivery.data.len()));
        }
        let version = this.number(H_VERSION)?;
        if version == 0 || version > u64::from(VERSION) {
            return Err(Unreadable::Version(version));
        }
        let published_ms = i64::try_from(this.number(H_PUBLISHED)?).unwrap_or(i64::MAX);
        Ok(Self { published_ms, ..this })
    }

    pub(super) fn is(&self, kind: Kind) -> bool {
        self.delivery.properties.kind().as_ref().is_some_and(|it| it.as_str() == kind.as_str())
    }

    /// The content, if it is of that kind.
    pub(super) fn read<M: Message + Default>(&self, kind: Kind) -> Result<M, Unreadable> {
        if !self.is(kind) {
            let other = self.delivery.properties.kind().as_ref().map_or("", ShortString::as_str);
            return Err(Unreadable::Kind(other.chars().take(32).collect()));
        }
        M::decode(self.delivery.data.as_slice()).map_err(|error| Unreadable::Form(error.to_string()))
    }

    /// Which publisher of the live feed, and how far it has come.
    pub(super) fn sequence(&self) -> Result<(String, u64), Unreadable> {
        match self.header(H_PUBLISHER) {
            Some(AMQPValue::LongString(publisher)) if publisher.as_bytes().len() <= 64 => {
                Ok((publisher.to_string(), self.number(H_SEQUENCE)?))
            }
            _ => Err(Unreadable::Header(H_PUBLISHER)),
        }
    }

    /// The trace context, where there is one.
    pub(super) fn trace(&self) -> TraceHeaders {
        let headers = self.delivery.properties.headers().iter().flat_map(|headers| headers.inner());
        headers
            .filter(|(name, _)| matches!(name.as_str(), "traceparent" | "tracestate" | "baggage"))
            .filter_map(|(name, value)| match value {
                AMQPValue::LongString(text) if text.as_bytes().len() <= MAX_HEADER_BYTES => {
                    Some((name.as_str().to_owned(), text.to_string()))
                }
                _ => None,
            })
            .take(MAX_HEADERS)
            .collect()
    }

    fn header(&self, name: &str) -> Option<&AMQPValue> {
        self.delivery.properties.headers().as_ref().and_then(|headers| headers.inner().get(name))
    }

    fn number(&self, name: &'static str) -> Result<u64, Unreadable> {
        // A broker may hand a number on in another width than it came.
        let number = match self.header(name) {
            Some(AMQPValue::LongUInt(number)) => Some(u64::from(*number)),
            Some(AMQPValue::LongInt(number)) => u64::try_from(*number).ok(),
            Some(AMQPValue::LongLongInt(number)) => u64::try_from(*number).ok(),
            _ => None,
        };
        number.ok_or(Unreadable::Header(name))
    }
}

/// Wall-clock time; good to a second between machines.
pub(super) fn now_ms() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A fresh random id for a publisher or a queue.
pub(super) fn nonce() -> Result<String, super::error::RabbitError> {
    let number = getrandom::u64().map_err(super::error::RabbitError::Random)?;
    Ok(format!("{number:016x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use stoker_proto::bus::v1 as bus;

    fn delivered(outgoing: &Outgoing, spoil: impl FnOnce(&mut Delivery)) -> Delivery {
        let mut delivery = Delivery::mock(1, "e".into(), "r".into(), false, outgoing.body.clone());
        delivery.properties = outgoing.properties(Some("a-1"));
        spoil(&mut delivery);
        delivery
    }

    fn outgoing() -> Outgoing {
        let body = bus::ToGateway { slot: 3, ..bus::ToGateway::default() }.encode_to_vec();
        Outgoing {
            kind: Kind::Order,
            routing_key: "gateway.gw".into(),
            body,
            sequence: Some(("p1".into(), 7)),
            trace: TraceHeaders::from([("traceparent".into(), "00-aa-bb-01".into())]),
        }
    }

    #[test]
    fn what_goes_out_can_be_read_again() {
        let delivery = delivered(&outgoing(), |_| {});
        let incoming = Incoming::of(&delivery).unwrap();
        assert_eq!(incoming.read::<bus::ToGateway>(Kind::Order).unwrap().slot, 3);
        assert_eq!(incoming.sequence().unwrap(), ("p1".into(), 7));
        assert_eq!(incoming.trace()["traceparent"], "00-aa-bb-01");
        assert!((now_ms() - incoming.published_ms).abs() < 60_000);
    }

    #[test]
    fn what_is_too_large_too_new_of_another_kind_or_no_message_is_refused() {
        let refused = |spoil: fn(&mut Delivery)| {
            let delivery = delivered(&outgoing(), spoil);
            Incoming::of(&delivery)
                .and_then(|incoming| incoming.read::<bus::ToGateway>(Kind::Order))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(refused(|it| it.data = vec![0; MAX_BODY + 1]), "it has 1048577 bytes");
        assert_eq!(
            refused(|it| it.properties = BasicProperties::default()),
            "it lacks the header stoker-version"
        );
        assert!(refused(|it| it.data = vec![0xff; 9]).contains("decode"));
        let newer = |it: &mut Delivery| {
            let mut headers = it.properties.headers().clone().unwrap();
            headers.insert(H_VERSION.into(), AMQPValue::LongUInt(VERSION + 1));
            it.properties = it.properties.clone().with_headers(headers);
        };
        assert!(refused(newer).starts_with("it is of version 2"));
        let other = |it: &mut Delivery| it.properties = it.properties.clone().with_type("work".into());
        assert_eq!(refused(other), "it is of kind \"work\"");
    }
}
