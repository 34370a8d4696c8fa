//! When part of the platform was last taken for dead, as far as this process knows.

use std::sync::atomic::{AtomicI64, Ordering};

use stoker_domain::model::Millis;

/// When somebody was last taken for dead: a gateway, or the owner of a slot.
#[derive(Debug)]
pub(crate) struct Deaths(AtomicI64);

impl Default for Deaths {
    fn default() -> Self {
        Self(AtomicI64::new(Millis::MIN))
    }
}

impl Deaths {
    pub(crate) fn note(&self, now: Millis) {
        self.0.fetch_max(now, Ordering::Relaxed);
    }

    pub(crate) fn last(&self) -> Option<Millis> {
        Some(self.0.load(Ordering::Relaxed)).filter(|at| *at != Millis::MIN)
    }
}
