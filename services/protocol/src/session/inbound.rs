//! Publishes taken in: their answers leave in the order they came.

use std::collections::VecDeque;

use super::event::PublishToken;
use crate::codec::{PacketId, Qos, ReasonCode};

/// A queue of this many or fewer keeps its memory when it gets empty (48 bytes): a device that sends
/// one message at a time would otherwise allocate for each.
const KEPT_CAPACITY: usize = 8;

/// A QoS 1 or 2 publish that hasn't been answered.
#[derive(Clone, Copy, Debug)]
struct Pending {
    packet_id: PacketId,
    kind: Kind,
    /// None while the application works at it.
    outcome: Option<ReasonCode>,
    /// When it came, in [`TICK`]s.
    came: u16,
}

/// What times of publishes are rounded to, in milliseconds: 16 bits of it last for over an hour, and nothing waits so long.
const TICK: u64 = 100;

fn ticks(now: u64) -> u16 {
    (now / TICK) as u16
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    AtLeastOnce,
    ExactlyOnce,
    /// A QoS 2 publish that came again after its PUBREC and before its PUBREL: only answered again.
    Repeated,
}

/// An answer whose turn has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    PubAck(PacketId, ReasonCode),
    PubRec(PacketId, ReasonCode),
}

/// What a QoS 2 publish is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Second {
    /// The first of its packet id.
    New,
    /// It came before, and its PUBREC is still to come: nothing to do.
    Unanswered,
    /// It came before, and its PUBREC has to be sent again.
    Answered,
}

/// The publishes of one connection that are not over.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    queue: VecDeque<Pending>,
    /// The token of the next publish; those in the queue have the ones before. Wraps after 4 billion: a
    /// token that was kept for so long would have to be answered twice to be taken for another.
    next: u32,
    /// QoS 2: answered by PUBREC and waiting for PUBREL. No more than there are packet ids.
    received: Vec<PacketId>,
    /// The session is over: when the oldest came that was never answered.
    left: Option<u16>,
}

impl Inbound {
    /// Publishes that the client waits for us to answer.
    pub(crate) fn unanswered(&self) -> usize {
        self.queue.len()
    }

    /// For how many milliseconds the oldest of them has waited, rounded to 100; 0 when none does. Also of a session that is
    /// over: of what it left unanswered.
    pub(crate) fn waits(&self, now: u64) -> u64 {
        let oldest = self.queue.front().map(|oldest| oldest.came).or(self.left);
        oldest.map_or(0, |came| u64::from(ticks(now).wrapping_sub(came)) * TICK)
    }

    /// What remains when the session is over: nothing but since when an answer was waited for.
    pub(crate) fn left(&self) -> Self {
        Self { left: self.queue.front().map(|oldest| oldest.came), ..Self::default() }
    }

    /// Publishes that count against the receive maximum: a QoS 2 one does until PUBCOMP.
    pub(crate) fn in_flight(&self) -> usize {
        self.queue.len() + self.received.len()
    }

    /// What a QoS 2 publish with this packet id is.
    pub(crate) fn second(&self, packet_id: PacketId) -> Second {
        if self.received.contains(&packet_id) {
            return Second::Answered;
        }
        let same = |pending: &Pending| pending.kind == Kind::ExactlyOnce && pending.packet_id == packet_id;
        if self.queue.iter().any(same) { Second::Unanswered } else { Second::New }
    }

    /// Takes in a publish that the application has to answer.
    pub(crate) fn take(&mut self, now: u64, packet_id: PacketId, qos: Qos) -> PublishToken {
        let kind = if qos == Qos::ExactlyOnce { Kind::ExactlyOnce } else { Kind::AtLeastOnce };
        self.push(Pending { packet_id, kind, outcome: None, came: ticks(now) })
    }

    /// Takes in a publish whose answer is known already; it waits for its turn all the same.
    pub(crate) fn take_answered(&mut self, now: u64, packet_id: PacketId, qos: Qos, reason: ReasonCode) {
        let kind = if qos == Qos::ExactlyOnce { Kind::ExactlyOnce } else { Kind::AtLeastOnce };
        self.push(Pending { packet_id, kind, outcome: Some(reason), came: ticks(now) });
    }

    /// Takes in a QoS 2 publish that has been answered before.
    pub(crate) fn take_repeated(&mut self, now: u64, packet_id: PacketId) {
        let outcome = Some(ReasonCode::Success);
        self.push(Pending { packet_id, kind: Kind::Repeated, outcome, came: ticks(now) });
    }

    fn push(&mut self, pending: Pending) -> PublishToken {
        let token = PublishToken(self.next);
        self.next = self.next.wrapping_add(1);
        self.queue.push_back(pending);
        token
    }

    fn index(&self, token: PublishToken) -> usize {
        let oldest = self.next.wrapping_sub(self.queue.len() as u32);
        token.0.wrapping_sub(oldest) as usize
    }

    /// Whether the publish waits for the application's answer.
    pub(crate) fn is_open(&self, token: PublishToken) -> bool {
        self.queue.get(self.index(token)).is_some_and(|pending| pending.outcome.is_none())
    }

    /// Notes the answer to a publish; false when there is none that waits for it.
    pub(crate) fn answer(&mut self, token: PublishToken, reason: ReasonCode) -> bool {
        let index = self.index(token);
        match self.queue.get_mut(index) {
            Some(pending) if pending.outcome.is_none() => {
                pending.outcome = Some(reason);
                true
            }
            _ => false,
        }
    }

    /// The next answer whose turn has come.
    pub(crate) fn next_answer(&mut self) -> Option<Answer> {
        let pending = *self.queue.front()?;
        let reason = pending.outcome?;
        self.queue.pop_front();
        if self.queue.is_empty() && self.queue.capacity() > KEPT_CAPACITY {
            self.queue = VecDeque::new();
        }
        Some(match pending.kind {
            Kind::AtLeastOnce => Answer::PubAck(pending.packet_id, reason),
            Kind::Repeated => Answer::PubRec(pending.packet_id, reason),
            Kind::ExactlyOnce => {
                // An error ends the exchange: no PUBREL follows it (4.3.3).
                if !reason.is_error() {
                    self.received.push(pending.packet_id);
                }
                Answer::PubRec(pending.packet_id, reason)
            }
        })
    }

    /// Takes a PUBREL; false when its packet id isn't known.
    pub(crate) fn release(&mut self, packet_id: PacketId) -> bool {
        let Some(index) = self.received.iter().position(|known| *known == packet_id) else { return false };
        self.received.swap_remove(index);
        if self.received.is_empty() {
            self.received = Vec::new();
        }
        true
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.queue.capacity() * size_of::<Pending>() + self.received.capacity() * size_of::<PacketId>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u16) -> PacketId {
        PacketId::new(n).unwrap()
    }

    #[test]
    fn answers_leave_in_the_order_the_publishes_came() {
        let mut inbound = Inbound::default();
        let first = inbound.take(0, id(1), Qos::AtLeastOnce);
        let second = inbound.take(0, id(2), Qos::ExactlyOnce);
        inbound.take_answered(0, id(3), Qos::AtLeastOnce, ReasonCode::NotAuthorized);
        assert!(inbound.answer(second, ReasonCode::Success));
        assert_eq!(inbound.next_answer(), None);
        assert!(inbound.answer(first, ReasonCode::Success));
        assert_eq!(inbound.next_answer(), Some(Answer::PubAck(id(1), ReasonCode::Success)));
        assert_eq!(inbound.next_answer(), Some(Answer::PubRec(id(2), ReasonCode::Success)));
        assert_eq!(inbound.next_answer(), Some(Answer::PubAck(id(3), ReasonCode::NotAuthorized)));
        assert_eq!(inbound.next_answer(), None);
    }

    #[test]
    fn a_token_is_good_for_one_answer() {
        let mut inbound = Inbound { next: u32::MAX, ..Inbound::default() };
        let first = inbound.take(0, id(1), Qos::AtLeastOnce);
        let second = inbound.take(0, id(2), Qos::AtLeastOnce);
        assert!(inbound.answer(first, ReasonCode::Success));
        assert!(!inbound.answer(first, ReasonCode::NotAuthorized));
        assert!(inbound.next_answer().is_some());
        assert!(!inbound.answer(first, ReasonCode::Success));
        assert!(inbound.answer(second, ReasonCode::Success));
        assert!(!inbound.answer(PublishToken(7), ReasonCode::Success));
    }

    #[test]
    fn a_pending_publish_takes_six_bytes() {
        assert_eq!(size_of::<Pending>(), 6);
    }

    #[test]
    fn the_oldest_says_how_long_an_answer_is_waited_for() {
        let mut inbound = Inbound::default();
        assert_eq!(inbound.waits(5_000), 0);
        // Shortly before its 16 bits are over.
        let start = TICK * 65_530;
        let first = inbound.take(start, id(1), Qos::AtLeastOnce);
        inbound.take(start + 2_000, id(2), Qos::AtLeastOnce);
        assert_eq!((inbound.waits(start + 99), inbound.waits(start + 3_000)), (0, 3_000));
        inbound.answer(first, ReasonCode::Success);
        assert!(inbound.next_answer().is_some());
        assert_eq!(inbound.waits(start + 3_000), 1_000);
    }

    #[test]
    fn memory_is_given_back_when_nothing_is_left() {
        let mut inbound = Inbound::default();
        for n in 1..=100 {
            let token = inbound.take(0, id(n), Qos::ExactlyOnce);
            inbound.answer(token, ReasonCode::Success);
        }
        while inbound.next_answer().is_some() {}
        assert_eq!(inbound.in_flight(), 100);
        for n in 1..=100 {
            assert_eq!(inbound.second(id(n)), Second::Answered);
            assert!(inbound.release(id(n)));
        }
        assert!(!inbound.release(id(1)));
        assert_eq!((inbound.in_flight(), inbound.heap_bytes()), (0, 0));
    }
}
