//! The end of a history: nothing dies any more, everything is carried out, time passes. What was promised must be kept.

use stoker_domain::AttemptResult;
use stoker_domain::machine::Input;

use super::World;
use super::checks;

impl World {
    pub(crate) fn settle(&mut self) {
        // Long enough for every expiry, attempt and grace there is.
        for ms in [0, 10_000, 60_000, 60_000, 125_000, 300_000, 700_000, 700_000, 700_000] {
            self.now += ms;
            for _ in 0..4 {
                self.tick();
                self.all_effects();
                for item in std::mem::take(&mut self.work) {
                    self.apply(Input::Attempt {
                        notification: item.notification,
                        attempt: item.attempt,
                        result: AttemptResult::Delivered,
                        detail: "200".to_owned(),
                    });
                }
            }
        }
        self.commit(usize::MAX);
        checks::settled(self);
    }
}
