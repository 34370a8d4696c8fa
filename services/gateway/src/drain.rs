//! The end of a gateway: its sessions are told to go, at a pace that core keeps up with.

use std::num::NonZeroU32;
use std::time::Duration;

use stoker_domain::drain::{DrainBounds, Pace};
use stoker_domain::model::{EndReason, Millis};
use stoker_protocol::session::ServerReason;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::shared::Shared;

/// How often it is asked how many may go.
const STEP: Duration = Duration::from_millis(50);

/// How a gateway lets its devices go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// When it has taken so long, all that are left are told to go.
    pub within: Duration,
    /// Before that, no more sessions in a second than this.
    pub max_rate: Option<NonZeroU32>,
    /// How long devices have to come back before anybody is told; none: as after any end by our hand.
    pub handover_grace: Option<Duration>,
    /// How long connections may take to end when the last has been told to.
    pub goodbye: Duration,
}

impl Drain {
    /// All are told to go at once, where nobody else could take them in.
    #[must_use]
    pub fn at_once(goodbye: Duration) -> Self {
        Self { within: Duration::ZERO, max_rate: None, handover_grace: None, goodbye }
    }
}

pub(crate) fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}

/// Tells all sessions to go; over when the last has been told.
pub(crate) async fn run(shared: &Shared, drain: &Drain) {
    let mut rest = shared.registry.close();
    let bounds =
        DrainBounds { within_ms: millis(drain.within), max_rate: drain.max_rate.map(NonZeroU32::get) };
    let began = Instant::now();
    // What was counted before says nothing about what the end does to core.
    let _ = shared.pulse.take();
    let mut pace = Pace::new(bounds, 0, rest.len());
    let mut steps = interval(STEP);
    steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tracing::info!(sessions = rest.len(), within = ?drain.within, "sessions are told to go");
    while !rest.is_empty() {
        steps.tick().await;
        let granted = pace.step(millis(began.elapsed()), rest.len(), shared.pulse.take());
        let mut told = 0;
        while told < granted
            && let Some(handle) = rest.pop()
        {
            // One that has gone by itself is no load.
            told += usize::from(handle.mailbox.leave());
        }
    }
}

/// Tells all that are left to go, whatever is under way.
pub(crate) fn cut_short(shared: &Shared) {
    for handle in shared.registry.close() {
        handle.mailbox.shut(ServerReason::ShuttingDown, EndReason::ByPlatform);
    }
}
