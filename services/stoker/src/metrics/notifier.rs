//! A notifier's numbers.

use std::fmt;

use stoker_notifier::{ChannelSnapshot, LATENCY_BOUNDS_MS, LatencySnapshot, NotifierSnapshot};
use stoker_telemetry::{Exposition, HistogramSnapshot, Labels, Of};

/// The bounds of a notifier, in microseconds.
static BOUNDS: [u64; LATENCY_BOUNDS_MS.len()] = {
    let mut bounds = LATENCY_BOUNDS_MS;
    let mut n = 0;
    while n < bounds.len() {
        bounds[n] *= 1_000;
        n += 1;
    }
    bounds
};

fn times(latency: &LatencySnapshot) -> HistogramSnapshot {
    let sum = latency.sum_ms.saturating_mul(1_000);
    HistogramSnapshot { bounds: &BOUNDS, buckets: latency.buckets.clone(), sum }
}

pub(super) fn show(to: &mut Exposition<'_>, notifier: &NotifierSnapshot) -> fmt::Result {
    to.gauge("notifier_held", "Attempts taken and not settled", notifier.held)?;
    to.counter("notifier_given_back", "Attempts given back unfinished at the end", notifier.given_back)?;
    to.counter("notifier_report_failures", "Reports that had to be tried again", notifier.report_failures)?;
    let labels: Vec<[(&str, &str); 1]> =
        notifier.channels.iter().map(|of| [("channel", of.channel.as_str())]).collect();
    let all = || labels.iter().map(|labels| labels as Labels<'_>).zip(&notifier.channels);
    let numbers = |number: fn(&ChannelSnapshot) -> u64| -> Vec<_> {
        all().map(|(labels, of)| (labels, number(of))).collect()
    };
    to.gauges("notifier_under_way", "Attempts that are being delivered", &numbers(|of| of.under_way))?;
    to.counters(
        "notifier_turned_away",
        "Attempts put off because too many were under way",
        &numbers(|of| of.turned_away),
    )?;
    let attempts: Vec<_> = notifier
        .channels
        .iter()
        .flat_map(|of| of.attempts.iter().map(|(result, count)| (of.channel, *result, *count)))
        .map(|(channel, result, count)| ([("channel", channel.as_str()), ("result", result.as_str())], count))
        .collect();
    let attempts: Vec<_> = attempts.iter().map(|(labels, count)| (labels as Labels<'_>, *count)).collect();
    to.counters("notifier_attempts", "Attempts by channel and result", &attempts)?;
    let latency: Vec<_> = all().map(|(labels, of)| (labels, times(&of.latency))).collect();
    to.histograms(
        "notifier_delivery_seconds",
        "Time from the making of a notification until its recipient, or their mail server, had it",
        Of::Time,
        &latency,
    )
}
