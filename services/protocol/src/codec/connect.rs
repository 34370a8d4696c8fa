//! CONNECT (3.1).

use std::fmt;

use super::error::{DecodeError, EncodeError};
use super::property::{Place, Properties};
use super::wire::{Reader, put_binary, put_packet, put_string, put_u16};
use super::{Qos, ReasonCode, Version};
use crate::topic;

/// The client wants to connect.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Connect<'a> {
    /// The version that the rest of the connection speaks.
    pub version: Version,
    /// Clean start (5) or clean session (3.1.1).
    pub clean_start: bool,
    /// Seconds; 0 means none.
    pub keep_alive: u16,
    /// Always empty with 3.1.1.
    pub properties: Properties<'a>,
    /// May be empty.
    pub client_id: &'a str,
    /// What to publish when the connection ends without a proper goodbye.
    pub will: Option<Will<'a>>,
    /// The user name.
    pub user_name: Option<&'a str>,
    /// The password, any bytes. 3.1.1 has it only beside a user name.
    pub password: Option<&'a [u8]>,
}

/// What to publish when the connection ends without a proper goodbye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// The QoS of the publish.
    pub qos: Qos,
    /// Whether the publish shall be retained.
    pub retain: bool,
    /// Always empty with 3.1.1.
    pub properties: Properties<'a>,
    /// A topic name without wildcards.
    pub topic: &'a str,
    /// Any bytes.
    pub payload: &'a [u8],
}

impl fmt::Debug for Connect<'_> {
    /// Leaves out what a secret may stand in: access tokens come as the user name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("version", &self.version)
            .field("clean_start", &self.clean_start)
            .field("keep_alive", &self.keep_alive)
            .field("properties", &self.properties)
            .field("client_id", &self.client_id)
            .field("will", &self.will)
            .field("user_name", &self.user_name.map(|_| "…"))
            .field("password", &self.password.map(|_| "…"))
            .finish()
    }
}

const CLEAN_START: u8 = 0x02;
const WILL: u8 = 0x04;
const WILL_RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USER_NAME: u8 = 0x80;

/// The protocol level that a CONNECT's body claims to speak; none when it isn't MQTT at all.
///
/// It tells in which version to refuse a CONNECT that can't be read. MQTT 3.1 called itself `MQIsdp`.
pub(crate) fn claimed_level(body: &[u8]) -> Option<u8> {
    let mut reader = Reader::new(body);
    match reader.binary("protocol name").ok()? {
        b"MQTT" | b"MQIsdp" => reader.u8("protocol level").ok(),
        _ => None,
    }
}

impl<'a> Connect<'a> {
    pub(super) fn read(mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        let unsupported = |about| DecodeError::new(ReasonCode::UnsupportedProtocolVersion, about);
        let name = reader.binary("protocol name")?;
        if name != b"MQTT" && name != b"MQIsdp" {
            return Err(unsupported("protocol name is not MQTT"));
        }
        let version = match (name, reader.u8("protocol level")?) {
            (b"MQTT", 4) => Version::V311,
            (b"MQTT", 5) => Version::V5,
            _ => return Err(unsupported("protocol level is neither 4 nor 5")),
        };
        let flags = reader.u8("connect flags")?;
        if flags & 0x01 != 0 {
            return Err(DecodeError::malformed("reserved connect flag"));
        }
        if flags & WILL == 0 && flags & 0x38 != 0 {
            return Err(DecodeError::malformed("will flags without a will"));
        }
        let qos = Qos::from_u8(flags >> 3 & 0b11).ok_or(DecodeError::malformed("will with qos 3"))?;
        if version == Version::V311 && flags & USER_NAME == 0 && flags & PASSWORD != 0 {
            return Err(DecodeError::malformed("password without a user name"));
        }
        let keep_alive = reader.u16("keep alive")?;
        let properties = read_properties(version, &mut reader, Place::Connect)?;
        let client_id = reader.string("client identifier")?;
        let will = if flags & WILL == 0 {
            None
        } else {
            let properties = read_properties(version, &mut reader, Place::Will)?;
            let topic = reader.string("will topic")?;
            check_will_topic(topic)?;
            let payload = reader.binary("will payload")?;
            Some(Will { qos, retain: flags & WILL_RETAIN != 0, properties, topic, payload })
        };
        let user_name = if flags & USER_NAME == 0 { None } else { Some(reader.string("user name")?) };
        let password = if flags & PASSWORD == 0 { None } else { Some(reader.binary("password")?) };
        reader.finish("bytes behind the connect packet")?;
        Ok(Self {
            version,
            clean_start: flags & CLEAN_START != 0,
            keep_alive,
            properties,
            client_id,
            will,
            user_name,
            password,
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if self.version == Version::V311 && self.user_name.is_none() && self.password.is_some() {
            return Err(EncodeError::new("password without a user name"));
        }
        let mut flags = if self.clean_start { CLEAN_START } else { 0 };
        if let Some(will) = &self.will {
            check_will_topic(will.topic)?;
            flags |= WILL | (will.qos as u8) << 3 | if will.retain { WILL_RETAIN } else { 0 };
        }
        flags |= if self.user_name.is_some() { USER_NAME } else { 0 };
        flags |= if self.password.is_some() { PASSWORD } else { 0 };
        put_packet(out, 0x10, |out| {
            put_string(out, "MQTT", "protocol name")?;
            out.push(if self.version == Version::V5 { 5 } else { 4 });
            out.push(flags);
            put_u16(out, self.keep_alive);
            write_properties(self.version, self.properties, out, Place::Connect)?;
            put_string(out, self.client_id, "client identifier")?;
            if let Some(will) = &self.will {
                write_properties(self.version, will.properties, out, Place::Will)?;
                put_string(out, will.topic, "will topic")?;
                put_binary(out, will.payload, "will payload")?;
            }
            if let Some(user_name) = self.user_name {
                put_string(out, user_name, "user name")?;
            }
            match self.password {
                Some(password) => put_binary(out, password, "password"),
                None => Ok(()),
            }
        })
    }
}

fn check_will_topic(name: &str) -> Result<(), DecodeError> {
    if topic::is_valid_name(name) {
        Ok(())
    } else {
        Err(DecodeError::new(ReasonCode::TopicNameInvalid, "will topic is empty or has wildcards"))
    }
}

/// Reads properties where the version has them.
pub(super) fn read_properties<'a>(
    version: Version,
    reader: &mut Reader<'a>,
    place: Place,
) -> Result<Properties<'a>, DecodeError> {
    match version {
        Version::V311 => Ok(Properties::EMPTY),
        Version::V5 => Properties::read(reader, place),
    }
}

/// Writes properties where the version has them, and refuses them where it has not.
pub(super) fn write_properties(
    version: Version,
    properties: Properties<'_>,
    out: &mut Vec<u8>,
    place: Place,
) -> Result<(), EncodeError> {
    match version {
        Version::V311 if properties.is_empty() => Ok(()),
        Version::V311 => Err(EncodeError::new("properties in a packet of mqtt 3.1.1")),
        Version::V5 => properties.write(out, place),
    }
}
