//! The PUBLISH that a load sends again and again, with another packet identifier each time.

use anyhow::Result;
use stoker_protocol::codec::{PacketId, Version};

use crate::device::put_publish;

/// Where readings go.
pub(crate) const TOPIC: &str = "v1/devices/me/telemetry";

/// A PUBLISH with QoS 1, encoded once.
pub(crate) struct Template {
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Template {
    pub(crate) fn new(version: Version, payload: &[u8]) -> Result<Self> {
        let mut before = Vec::new();
        put_publish(version, PacketId::MIN, TOPIC, payload, &mut before)?;
        // With MQTT 5 the length of no properties stands before the payload, and before that two bytes of packet identifier.
        let properties = usize::from(version == Version::V5);
        let after = before.split_off(before.len() - payload.len() - properties);
        before.truncate(before.len() - 2);
        Ok(Self { before, after })
    }

    /// Appends it.
    pub(crate) fn put(&self, id: PacketId, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.before);
        out.extend_from_slice(&id.get().to_be_bytes());
        out.extend_from_slice(&self.after);
    }
}

/// The next packet identifier: there is no zero.
pub(crate) fn following(id: PacketId) -> PacketId {
    id.checked_add(1).unwrap_or(PacketId::MIN)
}

#[cfg(test)]
mod tests {
    use stoker_protocol::codec::Packet;

    use super::*;

    #[test]
    fn the_template_makes_the_packet_that_the_codec_makes() {
        for version in [Version::V311, Version::V5] {
            let template = Template::new(version, b"{\"p\":1.5}").unwrap();
            for id in [1_u16, 255, 256, 65_535] {
                let mut packet = Vec::new();
                template.put(PacketId::new(id).unwrap(), &mut packet);
                let Packet::Publish(publish) = Packet::decode(version, &packet).unwrap() else { panic!() };
                assert_eq!((publish.packet_id, publish.topic), (PacketId::new(id), TOPIC));
                assert_eq!(publish.payload, b"{\"p\":1.5}");
            }
        }
    }

    #[test]
    fn packet_identifiers_leave_out_zero() {
        assert_eq!(following(PacketId::MAX), PacketId::MIN);
    }
}
