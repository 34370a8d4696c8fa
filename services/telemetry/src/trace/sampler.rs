//! Which traces are kept. It is decided once, where a trace begins.

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use opentelemetry::trace::{Link, SpanKind, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};

/// The name of spans that are made only when [`sampled`] said so.
pub(super) const CHOSEN: &str = "PUBLISH telemetry";

/// Of 2^64 throws, so many hit. Zero: traces are off.
static SHARE: AtomicU64 = AtomicU64::new(0);
/// Also with a share of zero: callers may have decided for us.
static ON: AtomicBool = AtomicBool::new(false);

/// Whether anybody listens to spans.
pub(super) fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

pub(super) fn turn_on(ratio: f64) {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share, and casts saturate"
    )]
    let share = (ratio.clamp(0.0, 1.0) * 2.0_f64.powi(64)) as u64;
    SHARE.store(share, Ordering::Relaxed);
    ON.store(true, Ordering::Relaxed);
}

thread_local! {
    static DICE: Cell<u64> = Cell::new(RandomState::new().build_hasher().finish() | 1);
}

/// Whether something is to begin a trace of which there are too many for a span of each: a span that is named
/// `PUBLISH telemetry` and made after this said yes is kept.
#[must_use]
pub fn sampled() -> bool {
    let share = SHARE.load(Ordering::Relaxed);
    if share == 0 || share == u64::MAX {
        return share != 0;
    }
    let throw = DICE.try_with(|dice| {
        // Marsaglia's xorshift: good enough to choose by, and a nanosecond.
        let mut x = dice.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        dice.set(x);
        x
    });
    throw.is_ok_and(|throw| throw < share)
}

/// Does as whoever calls has decided; otherwise keeps a share of all traces, and what was chosen before.
#[derive(Debug, Clone)]
pub(super) struct HeadSampler(Sampler);

impl HeadSampler {
    pub(super) fn new(ratio: f64) -> Self {
        Self(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))))
    }
}

impl ShouldSample for HeadSampler {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let mut result = self.0.should_sample(parent, trace, name, kind, attributes, links);
        if name == CHOSEN {
            result.decision = SamplingDecision::RecordAndSample;
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_all_is_chosen() {
        let chosen = |ratio: f64| {
            turn_on(ratio);
            (0..100_000).filter(|_| sampled()).count()
        };
        assert_eq!(chosen(1.0), 100_000);
        // Six standard deviations.
        let tenth = chosen(0.1);
        assert!((9_400..10_600).contains(&tenth), "{tenth}");
        assert_eq!(chosen(0.0), 0);
    }
}
