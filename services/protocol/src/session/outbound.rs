//! Deliveries to the device that are not over: in flight, and waiting behind those.

use std::collections::VecDeque;

use super::event::Delivery;
use crate::codec::PacketId;

/// The QoS 1 deliveries of one connection.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    /// Sent and not acknowledged: packet id and the caller's number. Tens at most.
    in_flight: Vec<(PacketId, u64)>,
    waiting: VecDeque<Delivery>,
    waiting_bytes: usize,
}

impl Outbound {
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.in_flight.is_empty() && self.waiting.is_empty()
    }

    /// A packet id that is not in flight, at or behind `after`.
    pub(crate) fn free_id(&self, after: PacketId) -> PacketId {
        let mut candidate = after;
        while self.knows(candidate) {
            candidate = following(candidate);
        }
        candidate
    }

    pub(crate) fn knows(&self, packet_id: PacketId) -> bool {
        self.in_flight.iter().any(|(known, _)| *known == packet_id)
    }

    pub(crate) fn sent(&mut self, packet_id: PacketId, id: u64) {
        self.in_flight.push((packet_id, id));
    }

    /// Takes an acknowledgement: the number of the delivery, none when the packet id isn't known.
    pub(crate) fn acknowledged(&mut self, packet_id: PacketId) -> Option<u64> {
        let index = self.in_flight.iter().position(|(known, _)| *known == packet_id)?;
        Some(self.in_flight.swap_remove(index).1)
    }

    pub(crate) fn wait(&mut self, delivery: Delivery) {
        self.waiting_bytes += delivery.payload.len();
        self.waiting.push_back(delivery);
    }

    pub(crate) fn next(&mut self) -> Option<Delivery> {
        let delivery = self.waiting.pop_front()?;
        self.waiting_bytes -= delivery.payload.len();
        Some(delivery)
    }

    /// Takes back what waits under this number; false when nothing does.
    pub(crate) fn withdraw(&mut self, id: u64) -> bool {
        let Some(index) = self.waiting.iter().position(|delivery| delivery.id == id) else { return false };
        if let Some(delivery) = self.waiting.remove(index) {
            self.waiting_bytes -= delivery.payload.len();
        }
        true
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        size_of::<Self>()
            + self.in_flight.capacity() * size_of::<(PacketId, u64)>()
            + self.waiting.capacity() * size_of::<Delivery>()
            + self.waiting_bytes
    }
}

/// The packet id behind this one; 1 behind the last.
pub(crate) fn following(packet_id: PacketId) -> PacketId {
    packet_id.checked_add(1).unwrap_or(PacketId::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_ids_in_flight_are_passed_over() {
        let mut outbound = Outbound::default();
        outbound.sent(PacketId::MAX, 1);
        outbound.sent(PacketId::MIN, 2);
        assert_eq!(outbound.free_id(PacketId::MAX).get(), 2);
        assert_eq!(outbound.acknowledged(PacketId::MAX), Some(1));
        assert_eq!(outbound.acknowledged(PacketId::MAX), None);
        assert_eq!(outbound.free_id(PacketId::MAX), PacketId::MAX);
    }
}
