//! SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK (3.8–3.11).

use std::fmt;

use super::connect::{read_properties, write_properties};
use super::error::{DecodeError, EncodeError};
use super::property::{Place, Properties};
use super::wire::{Reader, put_packet, put_string, put_u16};
use super::{PacketId, Qos, ReasonCode, Version, read_packet_id};
use crate::topic;

/// The client wants messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Repeated in the answer.
    pub packet_id: PacketId,
    /// Always empty with 3.1.1.
    pub properties: Properties<'a>,
    /// At least one.
    pub filters: FilterList<'a>,
}

/// The answer to SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubAck<'a> {
    /// That of the SUBSCRIBE.
    pub packet_id: PacketId,
    /// Always empty with 3.1.1.
    pub properties: Properties<'a>,
    /// One for each filter, in the same order.
    pub reasons: ReasonList<'a>,
}

/// The client wants messages no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// Repeated in the answer.
    pub packet_id: PacketId,
    /// Always empty with 3.1.1.
    pub properties: Properties<'a>,
    /// At least one.
    pub filters: TopicList<'a>,
}

/// The answer to UNSUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsubAck<'a> {
    /// That of the UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// Always empty with 3.1.1.
    pub properties: Properties<'a>,
    /// One for each filter, in the same order; always empty with 3.1.1.
    pub reasons: ReasonList<'a>,
}

/// A filter with what is wanted of it. The filter's syntax is not checked here: one filter that is
/// wrong is refused in the SUBACK, beside others that are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter<'a> {
    /// Never empty.
    pub filter: &'a str,
    /// The subscription options.
    pub options: SubscribeOptions,
}

/// What a subscription asks for beside its filter (3.8.3.1). 3.1.1 has the QoS alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// The greatest QoS to be used.
    pub qos: Qos,
    /// Not what the client published itself. Never with a shared subscription.
    pub no_local: bool,
    /// Keep the retain flag as it was published.
    pub retain_as_published: bool,
    /// When to send retained messages.
    pub retain_handling: RetainHandling,
}

/// When to send retained messages for a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RetainHandling {
    /// When subscribing.
    Send = 0,
    /// When subscribing to what was not subscribed before.
    SendIfNew = 1,
    /// Never.
    Never = 2,
}

impl SubscribeOptions {
    /// What 3.1.1 says by its QoS alone.
    pub const fn with_qos(qos: Qos) -> Self {
        Self { qos, no_local: false, retain_as_published: false, retain_handling: RetainHandling::Send }
    }

    const fn to_byte(self) -> u8 {
        self.qos as u8
            | (self.no_local as u8) << 2
            | (self.retain_as_published as u8) << 3
            | (self.retain_handling as u8) << 4
    }

    fn from_byte(version: Version, byte: u8) -> Result<Self, DecodeError> {
        let reserved = if version == Version::V5 { 0xC0 } else { 0xFC };
        if byte & reserved != 0 {
            return Err(DecodeError::malformed("reserved bits of the subscription options"));
        }
        let retain_handling = match byte >> 4 & 0b11 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::Never,
            _ => return Err(DecodeError::protocol("retain handling 3")),
        };
        Ok(Self {
            qos: Qos::from_u8(byte & 0b11).ok_or(DecodeError::malformed("subscription with qos 3"))?,
            no_local: byte & 0x04 != 0,
            retain_as_published: byte & 0x08 != 0,
            retain_handling,
        })
    }
}

macro_rules! list {
    ($(#[$doc:meta])* $list:ident, $iter:ident -> $item:ty, $read:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq)]
        pub struct $list<'a> {
            raw: &'a [u8],
        }

        impl<'a> $list<'a> {
            /// The items in the order they stand.
            pub fn iter(self) -> $iter<'a> {
                $iter { reader: Reader::new(self.raw) }
            }

            /// Whether there are none.
            pub const fn is_empty(self) -> bool {
                self.raw.is_empty()
            }
        }

        impl<'a> IntoIterator for $list<'a> {
            type Item = $item;
            type IntoIter = $iter<'a>;

            fn into_iter(self) -> $iter<'a> {
                self.iter()
            }
        }

        impl fmt::Debug for $list<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_list().entries(self.iter()).finish()
            }
        }

        /// The items of the list, in the order they stand.
        #[derive(Clone, Debug)]
        pub struct $iter<'a> {
            reader: Reader<'a>,
        }

        impl<'a> Iterator for $iter<'a> {
            type Item = $item;

            fn next(&mut self) -> Option<$item> {
                if self.reader.is_empty() {
                    return None;
                }
                // The bytes were checked when the list was made.
                $read(&mut self.reader)
            }
        }
    };
}

list! {
    /// The filters of a SUBSCRIBE, kept as the bytes they came in.
    FilterList, FilterIter -> Filter<'a>, |reader| read_filter(Version::V5, reader).ok()
}

list! {
    /// The filters of an UNSUBSCRIBE, kept as the bytes they came in.
    TopicList, TopicIter -> &'a str, |reader: &mut Reader<'a>| read_topic(reader).ok()
}

list! {
    /// The reason codes of a SUBACK or UNSUBACK, kept as the bytes they came in.
    ReasonList, ReasonIter -> ReasonCode,
    |reader: &mut Reader<'a>| reader.u8("").ok().and_then(ReasonCode::from_u8)
}

impl<'a> ReasonList<'a> {
    /// The reason codes with these numbers. Whether they fit their packet is checked when that is encoded.
    pub const fn from_bytes(raw: &'a [u8]) -> Self {
        Self { raw }
    }

    fn check(self, allowed: impl Fn(ReasonCode) -> bool) -> Result<(), DecodeError> {
        if self.is_empty() {
            return Err(DecodeError::protocol("no reason codes"));
        }
        let fine = |byte: &u8| ReasonCode::from_u8(*byte).is_some_and(&allowed);
        if self.raw.iter().all(fine) { Ok(()) } else { Err(DecodeError::malformed("reason code")) }
    }
}

fn read_filter<'a>(version: Version, reader: &mut Reader<'a>) -> Result<Filter<'a>, DecodeError> {
    let filter = read_topic(reader)?;
    let options = SubscribeOptions::from_byte(version, reader.u8("subscription options")?)?;
    if options.no_local && topic::is_shared(filter) {
        return Err(DecodeError::protocol("no local on a shared subscription"));
    }
    Ok(Filter { filter, options })
}

fn read_topic<'a>(reader: &mut Reader<'a>) -> Result<&'a str, DecodeError> {
    let filter = reader.string("topic filter")?;
    if filter.is_empty() { Err(DecodeError::malformed("empty topic filter")) } else { Ok(filter) }
}

/// Takes everything that is left as a list of at least one item that `read` can read.
fn read_list<'a, T>(
    mut reader: Reader<'a>,
    read: impl Fn(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<&'a [u8], DecodeError> {
    let raw = reader.rest();
    if reader.is_empty() {
        return Err(DecodeError::protocol("no topic filters"));
    }
    while !reader.is_empty() {
        read(&mut reader)?;
    }
    Ok(raw)
}

impl<'a> Subscribe<'a> {
    pub(super) fn read(version: Version, mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        let packet_id = read_packet_id(&mut reader)?;
        let properties = read_properties(version, &mut reader, Place::Subscribe)?;
        let raw = read_list(reader, |reader| read_filter(version, reader))?;
        Ok(Self { packet_id, properties, filters: FilterList { raw } })
    }

    pub(super) fn write(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        read_list(Reader::new(self.filters.raw), |reader| read_filter(version, reader))?;
        put_packet(out, 0x82, |out| {
            put_u16(out, self.packet_id.get());
            write_properties(version, self.properties, out, Place::Subscribe)?;
            out.extend_from_slice(self.filters.raw);
            Ok(())
        })
    }
}

impl<'a> Unsubscribe<'a> {
    pub(super) fn read(version: Version, mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        let packet_id = read_packet_id(&mut reader)?;
        let properties = read_properties(version, &mut reader, Place::Unsubscribe)?;
        let raw = read_list(reader, read_topic)?;
        Ok(Self { packet_id, properties, filters: TopicList { raw } })
    }

    pub(super) fn write(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        read_list(Reader::new(self.filters.raw), read_topic)?;
        put_packet(out, 0xA2, |out| {
            put_u16(out, self.packet_id.get());
            write_properties(version, self.properties, out, Place::Unsubscribe)?;
            out.extend_from_slice(self.filters.raw);
            Ok(())
        })
    }
}

impl<'a> SubAck<'a> {
    pub(super) fn read(version: Version, mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        let packet_id = read_packet_id(&mut reader)?;
        let properties = read_properties(version, &mut reader, Place::Ack)?;
        let reasons = ReasonList { raw: reader.rest() };
        reasons.check(|reason| suback_allows(version, reason))?;
        Ok(Self { packet_id, properties, reasons })
    }

    pub(super) fn write(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.reasons.check(|reason| suback_allows(version, reason))?;
        put_packet(out, 0x90, |out| {
            put_u16(out, self.packet_id.get());
            write_properties(version, self.properties, out, Place::Ack)?;
            out.extend_from_slice(self.reasons.raw);
            Ok(())
        })
    }
}

fn suback_allows(version: Version, reason: ReasonCode) -> bool {
    match version {
        Version::V311 => matches!(reason.value(), 0..=2 | 0x80),
        Version::V5 => reason.valid_in_suback(),
    }
}

impl<'a> UnsubAck<'a> {
    pub(super) fn read(version: Version, mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        let packet_id = read_packet_id(&mut reader)?;
        let properties = read_properties(version, &mut reader, Place::Ack)?;
        let reasons = ReasonList { raw: reader.rest() };
        check_unsuback(version, reasons)?;
        Ok(Self { packet_id, properties, reasons })
    }

    pub(super) fn write(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        check_unsuback(version, self.reasons)?;
        put_packet(out, 0xB0, |out| {
            put_u16(out, self.packet_id.get());
            write_properties(version, self.properties, out, Place::Ack)?;
            out.extend_from_slice(self.reasons.raw);
            Ok(())
        })
    }
}

/// An UNSUBACK of 3.1.1 has no payload, that of MQTT 5 always has.
fn check_unsuback(version: Version, reasons: ReasonList<'_>) -> Result<(), DecodeError> {
    match version {
        Version::V311 if reasons.is_empty() => Ok(()),
        Version::V311 => Err(DecodeError::malformed("bytes behind the unsuback packet")),
        Version::V5 => reasons.check(ReasonCode::valid_in_unsuback),
    }
}

/// The filters of a SUBSCRIBE being put together.
#[derive(Clone, Debug, Default)]
pub struct FilterBuf {
    raw: Vec<u8>,
}

impl FilterBuf {
    /// None yet.
    pub const fn new() -> Self {
        Self { raw: Vec::new() }
    }

    /// Appends a filter.
    ///
    /// # Errors
    /// A filter that is empty, too long, or holds U+0000.
    pub fn push(&mut self, filter: &str, options: SubscribeOptions) -> Result<(), EncodeError> {
        push_filter(&mut self.raw, filter)?;
        self.raw.push(options.to_byte());
        Ok(())
    }

    /// The filters as a SUBSCRIBE takes them.
    pub fn as_list(&self) -> FilterList<'_> {
        FilterList { raw: &self.raw }
    }
}

/// The filters of an UNSUBSCRIBE being put together.
#[derive(Clone, Debug, Default)]
pub struct TopicBuf {
    raw: Vec<u8>,
}

impl TopicBuf {
    /// None yet.
    pub const fn new() -> Self {
        Self { raw: Vec::new() }
    }

    /// Appends a filter.
    ///
    /// # Errors
    /// A filter that is empty, too long, or holds U+0000.
    pub fn push(&mut self, filter: &str) -> Result<(), EncodeError> {
        push_filter(&mut self.raw, filter)
    }

    /// The filters as an UNSUBSCRIBE takes them.
    pub fn as_list(&self) -> TopicList<'_> {
        TopicList { raw: &self.raw }
    }
}

fn push_filter(raw: &mut Vec<u8>, filter: &str) -> Result<(), EncodeError> {
    if filter.is_empty() {
        return Err(EncodeError::new("empty topic filter"));
    }
    put_string(raw, filter, "topic filter")
}
