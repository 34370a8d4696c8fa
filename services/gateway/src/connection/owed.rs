//! What the platform owed a device when its connection ended.
//!
//! A device that waits too long for an answer takes the platform for dead, hangs up and dials anew. To call it silent for that
//! would make more work for a platform that does not keep up already, and raise alarms about nothing.

use stoker_domain::model::EndReason;

/// An answer that takes so long is late: shorter than any device waits before it hangs up, and several times what an
/// answer takes when all is well. Milliseconds.
const LATE: u64 = 3_000;

/// What a device waits for, and whether what it waited for came late. Times are those of the session machine.
#[derive(Default)]
pub(super) struct Owed {
    /// Since when CONNECT waits for its answer.
    asked: Option<u64>,
    /// When an answer was late that the device may not have waited for.
    late: Option<u64>,
}

impl Owed {
    /// CONNECT came.
    pub(super) fn asked(&mut self, now: u64) {
        self.asked = Some(now);
    }

    /// CONNECT is answered.
    pub(super) fn granted(&mut self, now: u64) {
        if let Some(asked) = self.asked.take() {
            self.answered(now, now.saturating_sub(asked));
        }
    }

    /// Something was answered now, after so many milliseconds.
    pub(super) fn answered(&mut self, now: u64, after: u64) {
        if after >= LATE {
            self.late = Some(now);
        }
    }

    /// The device has said something. When that comes long after the last late answer, the device has waited for it; what comes
    /// soon after may have been said before, or by one that hangs up at this moment.
    pub(super) fn heard(&mut self, now: u64) {
        self.late = self.late.filter(|late| now.saturating_sub(*late) < LATE);
    }

    /// What core is to be told of an end: who goes without a word after we kept it waiting goes by our doing. The oldest
    /// of its messages has waited so many milliseconds for an answer, 0 when none does.
    pub(super) fn end(&self, reason: EndReason, now: u64, waits: u64) -> EndReason {
        let connecting = self.asked.map_or(0, |asked| now.saturating_sub(asked));
        let is_late = self.late.is_some() || connecting.max(waits) >= LATE;
        match reason {
            EndReason::Cut | EndReason::KeepAlive if is_late => EndReason::ByPlatform,
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    #[test]
    fn who_goes_without_a_word_was_cut_off() {
        let mut owed = Owed::default();
        owed.asked(NOW);
        assert_eq!(owed.end(EndReason::Cut, NOW + LATE - 1, 0), EndReason::Cut);
        owed.granted(NOW + 20);
        assert_eq!(owed.end(EndReason::Cut, NOW + 60_000, LATE - 1), EndReason::Cut);
        assert_eq!(owed.end(EndReason::KeepAlive, NOW + 60_000, 0), EndReason::KeepAlive);
    }

    #[test]
    fn who_was_kept_waiting_goes_by_our_doing() {
        let mut owed = Owed::default();
        owed.asked(NOW);
        assert_eq!(owed.end(EndReason::Cut, NOW + LATE, 0), EndReason::ByPlatform);
        owed.granted(NOW + 20);
        assert_eq!(owed.end(EndReason::Cut, NOW + 60_000, LATE), EndReason::ByPlatform);
        assert_eq!(owed.end(EndReason::KeepAlive, NOW + 60_000, LATE), EndReason::ByPlatform);
    }

    #[test]
    fn an_answer_that_came_late_may_have_found_nobody() {
        let mut owed = Owed::default();
        owed.asked(NOW);
        owed.granted(NOW + LATE);
        assert_eq!(owed.end(EndReason::Cut, NOW + LATE, 0), EndReason::ByPlatform);
        owed.heard(NOW + LATE + 1);
        assert_eq!(owed.end(EndReason::Cut, NOW + LATE + 2, 0), EndReason::ByPlatform, "both at once");
        owed.heard(NOW + 2 * LATE);
        assert_eq!(owed.end(EndReason::Cut, NOW + 2 * LATE, 0), EndReason::Cut, "it was there");
        owed.answered(NOW + 3 * LATE, LATE);
        owed.answered(NOW + 3 * LATE, 1);
        assert_eq!(owed.end(EndReason::Cut, NOW + LATE, 0), EndReason::ByPlatform, "both came at once");
    }

    #[test]
    fn what_a_device_does_itself_is_its_own_doing() {
        let mut owed = Owed::default();
        owed.answered(NOW, LATE);
        for reason in
            [EndReason::Disconnect, EndReason::ProtocolError, EndReason::SlowReader, EndReason::Revoked]
        {
            assert_eq!(owed.end(reason, NOW, LATE), reason);
        }
    }
}
