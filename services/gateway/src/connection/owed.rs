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
    /// The last answer was late, and nothing was heard of the device since.
    late: bool,
}

impl Owed {
    /// CONNECT came.
    pub(super) fn asked(&mut self, now: u64) {
        self.asked = Some(now);
    }

    /// CONNECT is answered.
    pub(super) fn granted(&mut self, now: u64) {
        if let Some(asked) = self.asked.take() {
            self.answered(now.saturating_sub(asked));
        }
    }

    /// Something was answered after so many milliseconds.
    pub(super) fn answered(&mut self, after: u64) {
        self.late |= after >= LATE;
    }

    /// The device has said something: it was still there when the last answer came.
    pub(super) fn heard(&mut self) {
        self.late = false;
    }

    /// What core is to be told of an end: who goes without a word after we kept it waiting goes by our doing. The oldest
    /// of its messages has waited so many milliseconds for an answer, 0 when none does.
    pub(super) fn end(&self, reason: EndReason, now: u64, waits: u64) -> EndReason {
        let connecting = self.asked.map_or(0, |asked| now.saturating_sub(asked));
        let is_late = self.late || connecting.max(waits) >= LATE;
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
        owed.heard();
        assert_eq!(owed.end(EndReason::Cut, NOW + LATE, 0), EndReason::Cut, "it was there");
        owed.answered(LATE);
        owed.answered(1);
        assert_eq!(owed.end(EndReason::Cut, NOW + LATE, 0), EndReason::ByPlatform, "both came at once");
    }

    #[test]
    fn what_a_device_does_itself_is_its_own_doing() {
        let mut owed = Owed::default();
        owed.answered(LATE);
        for reason in
            [EndReason::Disconnect, EndReason::ProtocolError, EndReason::SlowReader, EndReason::Revoked]
        {
            assert_eq!(owed.end(reason, NOW, LATE), reason);
        }
    }
}
