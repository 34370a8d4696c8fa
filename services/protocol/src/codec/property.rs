//! The properties of MQTT 5 (2.2.2): checked once, kept as the bytes they came in.

use std::fmt;

use super::error::{DecodeError, EncodeError};
use super::wire::{Reader, VARIABLE_INTEGER_MAX, put_binary, put_string, put_u16, put_variable};
use crate::topic;

/// Which packet, or part of one, a set of properties stands in. One bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Place {
    Connect = 1,
    Will = 1 << 1,
    ConnAck = 1 << 2,
    Publish = 1 << 3,
    /// PUBACK, PUBREC, PUBREL and PUBCOMP, SUBACK and UNSUBACK: they may have the same ones.
    Ack = 1 << 4,
    Subscribe = 1 << 5,
    Unsubscribe = 1 << 6,
    Disconnect = 1 << 7,
    Auth = 1 << 8,
}

const CONNECT: u16 = Place::Connect as u16;
const WILL: u16 = Place::Will as u16;
const CONNACK: u16 = Place::ConnAck as u16;
const PUBLISH: u16 = Place::Publish as u16;
const ACK: u16 = Place::Ack as u16;
const SUBSCRIBE: u16 = Place::Subscribe as u16;
const DISCONNECT: u16 = Place::Disconnect as u16;
const AUTH: u16 = Place::Auth as u16;
const ANYWHERE: u16 = u16::MAX;

/// One elementary type on the wire.
trait Wire<'a>: Sized {
    fn read(reader: &mut Reader<'a>, about: &'static str) -> Result<Self, DecodeError>;
    fn write(self, out: &mut Vec<u8>, about: &'static str) -> Result<(), EncodeError>;
}

impl<'a> Wire<'a> for bool {
    fn read(reader: &mut Reader<'a>, about: &'static str) -> Result<Self, DecodeError> {
        match reader.u8(about)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::protocol(about)),
        }
    }

    fn write(self, out: &mut Vec<u8>, _: &'static str) -> Result<(), EncodeError> {
        out.push(u8::from(self));
        Ok(())
    }
}

impl<'a> Wire<'a> for u16 {
    fn read(reader: &mut Reader<'a>, about: &'static str) -> Result<Self, DecodeError> {
        reader.u16(about)
    }

    fn write(self, out: &mut Vec<u8>, _: &'static str) -> Result<(), EncodeError> {
        put_u16(out, self);
        Ok(())
    }
}

impl<'a> Wire<'a> for u32 {
    fn read(reader: &mut Reader<'a>, about: &'static str) -> Result<Self, DecodeError> {
        reader.u32(about)
    }

    fn write(self, out: &mut Vec<u8>, _: &'static str) -> Result<(), EncodeError> {
        out.extend_from_slice(&self.to_be_bytes());
        Ok(())
    }
}

/// A `u32` that is written as a variable byte integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VariableInteger(pub u32);

impl<'a> Wire<'a> for VariableInteger {
    fn read(reader: &mut Reader<'a>, about: &'static str) -> Result<Self, DecodeError> {
        reader.variable(about).map(Self)
    }

    fn write(self, out: &mut Vec<u8>, about: &'static str) -> Result<(), EncodeError> {
        if self.0 > VARIABLE_INTEGER_MAX {
            return Err(EncodeError::new(about));
        }
        put_variable(out, self.0);
        Ok(())
    }
}

impl<'a> Wire<'a> for &'a str {
    fn read(reader: &mut Reader<'a>, about: &'static str) -> Result<Self, DecodeError> {
        reader.string(about)
    }

    fn write(self, out: &mut Vec<u8>, about: &'static str) -> Result<(), EncodeError> {
        put_string(out, self, about)
    }
}

impl<'a> Wire<'a> for &'a [u8] {
    fn read(reader: &mut Reader<'a>, about: &'static str) -> Result<Self, DecodeError> {
        reader.binary(about)
    }

    fn write(self, out: &mut Vec<u8>, about: &'static str) -> Result<(), EncodeError> {
        put_binary(out, self, about)
    }
}

impl<'a> Wire<'a> for (&'a str, &'a str) {
    fn read(reader: &mut Reader<'a>, about: &'static str) -> Result<Self, DecodeError> {
        Ok((reader.string(about)?, reader.string(about)?))
    }

    fn write(self, out: &mut Vec<u8>, about: &'static str) -> Result<(), EncodeError> {
        put_string(out, self.0, about)?;
        put_string(out, self.1, about)
    }
}

macro_rules! properties {
    ($($(#[$doc:meta])* $id:literal $name:ident $getter:ident: $type:ty, $about:literal, $places:expr;)*) => {
        /// One property of MQTT 5. Intervals are in seconds, sizes in bytes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Property<'a> { $($(#[$doc])* $name($type),)* }

        impl<'a> Property<'a> {
            const fn id(&self) -> u8 {
                match self { $(Self::$name(_) => $id,)* }
            }

            const fn about(&self) -> &'static str {
                match self { $(Self::$name(_) => $about,)* }
            }

            /// The packets it may stand in, as bits of [`Place`].
            const fn places(&self) -> u16 {
                match self { $(Self::$name(_) => $places,)* }
            }

            fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
                // The identifier is a variable byte integer by its type, though all of them fit in a byte.
                match reader.variable("property identifier")? {
                    $($id => Ok(Self::$name(Wire::read(reader, $about)?)),)*
                    _ => Err(DecodeError::malformed("unknown property identifier")),
                }
            }

            fn write(self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
                out.push(self.id());
                match self { $(Self::$name(value) => Wire::write(value, out, $about),)* }
            }
        }

        impl<'a> Properties<'a> {
            $($(#[$doc])*
            ///
            /// None when it isn't there; the first where there are several.
            pub fn $getter(self) -> Option<$type> {
                self.iter().find_map(|property| match property {
                    Property::$name(value) => Some(value),
                    _ => None,
                })
            })*
        }
    };
}

properties! {
    /// Whether the payload is UTF-8 text.
    0x01 PayloadFormatIndicator payload_format_indicator: bool, "payload format indicator", PUBLISH | WILL;
    /// For how many seconds the message is of use.
    0x02 MessageExpiryInterval message_expiry_interval: u32, "message expiry interval", PUBLISH | WILL;
    /// What the payload is, in the sender's words.
    0x03 ContentType content_type: &'a str, "content type", PUBLISH | WILL;
    /// The topic that an answer shall go to.
    0x08 ResponseTopic response_topic: &'a str, "response topic", PUBLISH | WILL;
    /// What an answer shall be recognized by.
    0x09 CorrelationData correlation_data: &'a [u8], "correlation data", PUBLISH | WILL;
    /// The number of the subscription; a PUBLISH may carry several.
    0x0B SubscriptionIdentifier subscription_identifier: VariableInteger, "subscription identifier",
        PUBLISH | SUBSCRIBE;
    /// For how many seconds the session shall outlive the connection.
    0x11 SessionExpiryInterval session_expiry_interval: u32, "session expiry interval",
        CONNECT | CONNACK | DISCONNECT;
    /// The client identifier the server chose.
    0x12 AssignedClientIdentifier assigned_client_identifier: &'a str, "assigned client identifier", CONNACK;
    /// The keep-alive the client has to use, in seconds.
    0x13 ServerKeepAlive server_keep_alive: u16, "server keep alive", CONNACK;
    /// The name of the authentication method.
    0x15 AuthenticationMethod authentication_method: &'a str, "authentication method",
        CONNECT | CONNACK | AUTH;
    /// What the authentication method exchanges.
    0x16 AuthenticationData authentication_data: &'a [u8], "authentication data", CONNECT | CONNACK | AUTH;
    /// Whether reason strings and user properties are wanted with failures.
    0x17 RequestProblemInformation request_problem_information: bool, "request problem information", CONNECT;
    /// How many seconds the will waits for the client to come back.
    0x18 WillDelayInterval will_delay_interval: u32, "will delay interval", WILL;
    /// Whether response information is wanted.
    0x19 RequestResponseInformation request_response_information: bool, "request response information",
        CONNECT;
    /// What response topics can be made of.
    0x1A ResponseInformation response_information: &'a str, "response information", CONNACK;
    /// Another server to use.
    0x1C ServerReference server_reference: &'a str, "server reference", CONNACK | DISCONNECT;
    /// A reason for people.
    0x1F ReasonString reason_string: &'a str, "reason string", CONNACK | ACK | DISCONNECT | AUTH;
    /// How many unacknowledged QoS 1 and 2 publishes its sender takes at once.
    0x21 ReceiveMaximum receive_maximum: u16, "receive maximum", CONNECT | CONNACK;
    /// The greatest topic alias its sender takes.
    0x22 TopicAliasMaximum topic_alias_maximum: u16, "topic alias maximum", CONNECT | CONNACK;
    /// A number that stands for the topic from now on.
    0x23 TopicAlias topic_alias: u16, "topic alias", PUBLISH;
    /// Whether QoS 1 (true) or only QoS 0 (false) is taken; QoS 2 when it isn't there.
    0x24 MaximumQos maximum_qos: bool, "maximum qos", CONNACK;
    /// Whether retained messages are supported.
    0x25 RetainAvailable retain_available: bool, "retain available", CONNACK;
    /// A name and a value of the sender's own; there may be several.
    0x26 UserProperty user_property: (&'a str, &'a str), "user property", ANYWHERE;
    /// The largest packet its sender takes.
    0x27 MaximumPacketSize maximum_packet_size: u32, "maximum packet size", CONNECT | CONNACK;
    /// Whether wildcards in filters are supported.
    0x28 WildcardSubscriptionAvailable wildcard_subscription_available: bool,
        "wildcard subscription available", CONNACK;
    /// Whether subscription identifiers are supported.
    0x29 SubscriptionIdentifiersAvailable subscription_identifiers_available: bool,
        "subscription identifiers available", CONNACK;
    /// Whether shared subscriptions are supported.
    0x2A SharedSubscriptionAvailable shared_subscription_available: bool,
        "shared subscription available", CONNACK;
}

impl Property<'_> {
    /// What the value has to be beyond its type.
    fn check_value(&self) -> Result<(), DecodeError> {
        match self {
            Self::ReceiveMaximum(0) | Self::MaximumPacketSize(0) => Err(DecodeError::protocol(self.about())),
            Self::SubscriptionIdentifier(VariableInteger(0)) => Err(DecodeError::protocol(self.about())),
            Self::TopicAlias(0) => {
                Err(DecodeError::new(super::ReasonCode::TopicAliasInvalid, "topic alias 0"))
            }
            Self::ResponseTopic(name) if !topic::is_valid_name(name) => {
                Err(DecodeError::protocol(self.about()))
            }
            _ => Ok(()),
        }
    }

    /// Whether it may stand more than once in this place.
    const fn may_repeat(&self, place: Place) -> bool {
        match self {
            Self::UserProperty(_) => true,
            Self::SubscriptionIdentifier(_) => matches!(place, Place::Publish),
            _ => false,
        }
    }
}

/// A set of properties, checked for the packet it stands in; always empty with 3.1.1.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Properties<'a> {
    raw: &'a [u8],
}

impl<'a> Properties<'a> {
    /// No properties.
    pub const EMPTY: Properties<'static> = Properties { raw: &[] };

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.raw.is_empty()
    }

    /// The properties in the order they stand.
    pub fn iter(self) -> PropertyIter<'a> {
        PropertyIter { reader: Reader::new(self.raw) }
    }

    /// Reads a property length and that many bytes of properties, and checks them.
    pub(crate) fn read(reader: &mut Reader<'a>, place: Place) -> Result<Self, DecodeError> {
        let length = reader.variable("property length")?;
        let raw = reader.take(length as usize, "properties")?;
        let properties = Self { raw };
        properties.check(place)?;
        Ok(properties)
    }

    /// Appends the property length and the properties, after checking them as a reader would.
    pub(crate) fn write(self, out: &mut Vec<u8>, place: Place) -> Result<(), EncodeError> {
        self.check(place)?;
        let length = u32::try_from(self.raw.len())
            .ok()
            .filter(|length| *length <= VARIABLE_INTEGER_MAX)
            .ok_or(EncodeError::new("properties"))?;
        put_variable(out, length);
        out.extend_from_slice(self.raw);
        Ok(())
    }

    fn check(self, place: Place) -> Result<(), DecodeError> {
        let mut reader = Reader::new(self.raw);
        // Identifiers are below 64, so that one word holds those already seen.
        let mut seen = 0_u64;
        while !reader.is_empty() {
            let property = Property::read(&mut reader)?;
            if property.places() & place as u16 == 0 {
                return Err(DecodeError::protocol("property not allowed in this packet"));
            }
            property.check_value()?;
            let bit = 1_u64 << property.id();
            if seen & bit != 0 && !property.may_repeat(place) {
                return Err(DecodeError::protocol("property given twice"));
            }
            seen |= bit;
        }
        let (method, data) = (1_u64 << 0x15, 1_u64 << 0x16);
        if seen & data != 0 && seen & method == 0 {
            return Err(DecodeError::protocol("authentication data without a method"));
        }
        Ok(())
    }
}

impl fmt::Debug for Properties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> IntoIterator for Properties<'a> {
    type Item = Property<'a>;
    type IntoIter = PropertyIter<'a>;

    fn into_iter(self) -> PropertyIter<'a> {
        self.iter()
    }
}

/// The properties of a set, in the order they stand.
#[derive(Clone, Debug)]
pub struct PropertyIter<'a> {
    reader: Reader<'a>,
}

impl<'a> Iterator for PropertyIter<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Property<'a>> {
        if self.reader.is_empty() {
            return None;
        }
        // The bytes were checked when the set was made.
        Property::read(&mut self.reader).ok()
    }
}

/// Properties being put together for a packet that will be encoded.
#[derive(Clone, Debug, Default)]
pub struct PropertyBuf {
    raw: Vec<u8>,
}

impl PropertyBuf {
    /// None yet.
    pub const fn new() -> Self {
        Self { raw: Vec::new() }
    }

    /// Appends a property. Whether it fits its packet is checked when that is encoded.
    ///
    /// # Errors
    /// A string that is too long or holds U+0000, or a value that MQTT doesn't allow.
    pub fn push(&mut self, property: Property<'_>) -> Result<(), EncodeError> {
        property.check_value()?;
        let start = self.raw.len();
        property.write(&mut self.raw).inspect_err(|_| self.raw.truncate(start))
    }

    /// The properties as a packet takes them.
    pub fn as_properties(&self) -> Properties<'_> {
        Properties { raw: &self.raw }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::ReasonCode;

    fn check(place: Place, raw: &[u8]) -> Result<(), ReasonCode> {
        Properties { raw }.check(place).map_err(|error| error.reason)
    }

    #[test]
    fn a_property_stands_only_where_it_belongs() {
        // One valid property of every kind, and the places of table 2-4 it belongs to.
        let cases: &[(&[u8], u16)] = &[
            (b"\x01\x01", PUBLISH | WILL),
            (b"\x02\0\0\0\x01", PUBLISH | WILL),
            (b"\x03\0\x01a", PUBLISH | WILL),
            (b"\x08\0\x01a", PUBLISH | WILL),
            (b"\x09\0\x01a", PUBLISH | WILL),
            (b"\x0B\x01", PUBLISH | SUBSCRIBE),
            (b"\x11\0\0\0\x01", CONNECT | CONNACK | DISCONNECT),
            (b"\x12\0\x01a", CONNACK),
            (b"\x13\0\x01", CONNACK),
            (b"\x15\0\x01a", CONNECT | CONNACK | AUTH),
            (b"\x17\x01", CONNECT),
            (b"\x18\0\0\0\x01", WILL),
            (b"\x19\x01", CONNECT),
            (b"\x1A\0\x01a", CONNACK),
            (b"\x1C\0\x01a", CONNACK | DISCONNECT),
            (b"\x1F\0\x01a", CONNACK | ACK | DISCONNECT | AUTH),
            (b"\x21\0\x01", CONNECT | CONNACK),
            (b"\x22\0\x01", CONNECT | CONNACK),
            (b"\x23\0\x01", PUBLISH),
            (b"\x24\x01", CONNACK),
            (b"\x25\x01", CONNACK),
            (b"\x26\0\x01a\0\x01b", ANYWHERE),
            (b"\x27\0\0\0\x01", CONNECT | CONNACK),
            (b"\x28\x01", CONNACK),
            (b"\x29\x01", CONNACK),
            (b"\x2A\x01", CONNACK),
        ];
        let places = [
            Place::Connect,
            Place::Will,
            Place::ConnAck,
            Place::Publish,
            Place::Ack,
            Place::Subscribe,
            Place::Unsubscribe,
            Place::Disconnect,
            Place::Auth,
        ];
        for (raw, allowed) in cases {
            for place in places {
                let expected =
                    if allowed & place as u16 != 0 { Ok(()) } else { Err(ReasonCode::ProtocolError) };
                assert_eq!(check(place, raw), expected, "{raw:?} in {place:?}");
            }
        }
    }

    #[test]
    fn a_property_given_twice_is_a_protocol_error_unless_it_may_repeat() {
        assert_eq!(check(Place::Publish, b"\x01\0\x01\0"), Err(ReasonCode::ProtocolError));
        assert_eq!(check(Place::Publish, b"\x26\0\0\0\0\x26\0\0\0\0"), Ok(()));
        assert_eq!(check(Place::Publish, b"\x0B\x01\x0B\x01"), Ok(()));
        assert_eq!(check(Place::Subscribe, b"\x0B\x01\x0B\x01"), Err(ReasonCode::ProtocolError));
    }

    #[test]
    fn values_outside_their_range_are_refused() {
        assert_eq!(check(Place::Connect, b"\x21\0\0"), Err(ReasonCode::ProtocolError));
        assert_eq!(check(Place::Connect, b"\x27\0\0\0\0"), Err(ReasonCode::ProtocolError));
        assert_eq!(check(Place::Connect, b"\x17\x02"), Err(ReasonCode::ProtocolError));
        assert_eq!(check(Place::Subscribe, b"\x0B\0"), Err(ReasonCode::ProtocolError));
        assert_eq!(check(Place::Publish, b"\x23\0\0"), Err(ReasonCode::TopicAliasInvalid));
        assert_eq!(check(Place::Publish, b"\x08\0\x01#"), Err(ReasonCode::ProtocolError));
        assert_eq!(check(Place::Connect, b"\x16\0\x01a"), Err(ReasonCode::ProtocolError));
    }

    #[test]
    fn unknown_and_truncated_properties_are_malformed() {
        for raw in
            [&b"\x00"[..], b"\x04\0", b"\x7F", b"\x80\x01", b"\x81\x00\x01", b"\x11\0\0", b"\x26\0\x01a"]
        {
            assert_eq!(check(Place::Connect, raw), Err(ReasonCode::MalformedPacket), "{raw:?}");
        }
    }

    #[test]
    fn what_is_pushed_is_read_again() {
        let mut buf = PropertyBuf::new();
        let all = [
            Property::UserProperty(("a", "b")),
            Property::ReasonString("why"),
            Property::UserProperty(("a", "c")),
        ];
        for property in all {
            buf.push(property).unwrap();
        }
        assert!(buf.push(Property::ReasonString("\0")).is_err());
        assert!(buf.push(Property::ReceiveMaximum(0)).is_err());
        assert!(buf.as_properties().iter().eq(all));
        assert_eq!(buf.as_properties().reason_string(), Some("why"));
        assert_eq!(buf.as_properties().user_property(), Some(("a", "b")));
        assert_eq!(buf.as_properties().topic_alias(), None);
    }
}
