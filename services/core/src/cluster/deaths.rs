//! When part of the platform was last taken for dead, as far as this process knows.

use parking_lot::Mutex;
use stoker_domain::model::Millis;

/// When somebody was last taken for dead: a gateway, or the owner of a slot.
#[derive(Debug, Default)]
pub(crate) struct Deaths(Mutex<Option<Millis>>);

impl Deaths {
    pub(crate) fn note(&self, now: Millis) {
        *self.0.lock() = Some(now);
    }

    pub(crate) fn last(&self) -> Option<Millis> {
        *self.0.lock()
    }
}
