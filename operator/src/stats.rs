//! What the operator counts, and how it is shown.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use stoker_telemetry::metrics::collector::Collector;
use stoker_telemetry::metrics::encoding::DescriptorEncoder;
use stoker_telemetry::metrics::metrics::info::Info;
use stoker_telemetry::metrics::registry::Registry;
use stoker_telemetry::{Exposition, Histogram, LATENCY, Labels, Of, ProcessMetrics};

use crate::failure::Failure;
use crate::queue::{Ended, Queue};

/// What is written to the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// An object is to be as it is given.
    Apply,
    /// A Deployment is to have another number of pods.
    Scale,
    /// An object is to go.
    Delete,
    /// How a resource stands.
    Status,
    /// What people are told of.
    Event,
    /// A Secret of our own, made or mended.
    Secret,
}

const VERBS: [(Verb, &str); 6] = [
    (Verb::Apply, "apply"),
    (Verb::Scale, "scale"),
    (Verb::Delete, "delete"),
    (Verb::Status, "status"),
    (Verb::Event, "event"),
    (Verb::Secret, "secret"),
];
const RESULTS: [&str; 4] = ["done", "conflict", "refused", "unavailable"];
const ENDS: [&str; 5] = ["done", "empty", "again", "refused", "unavailable"];

/// What the operator counts.
#[derive(Debug)]
pub(crate) struct Stats {
    looks: [AtomicU64; ENDS.len()],
    look_time: Histogram,
    writes: [[AtomicU64; RESULTS.len()]; VERBS.len()],
    watch_failures: AtomicU64,
    samples_failed: AtomicU64,
    leader: AtomicBool,
    /// By namespace: when the first certificate ends, in seconds since the epoch.
    certificates: Mutex<BTreeMap<String, i64>>,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            looks: Default::default(),
            look_time: Histogram::new(LATENCY),
            writes: Default::default(),
            watch_failures: AtomicU64::new(0),
            samples_failed: AtomicU64::new(0),
            leader: AtomicBool::new(false),
            certificates: Mutex::default(),
        }
    }
}

impl Stats {
    pub(crate) fn looked(&self, ended: Ended, took: Duration) {
        let index = match ended {
            Ended::Done(_) => 0,
            Ended::Empty => 1,
            Ended::Again(_) => 2,
            Ended::Refused(_) => 3,
            Ended::Unavailable => 4,
        };
        count(self.looks.get(index));
        self.look_time.time(took);
    }

    pub(crate) fn wrote<T>(&self, verb: Verb, result: &Result<T, Failure>) {
        let index = match result {
            Ok(_) => 0,
            Err(Failure::Conflict { .. }) => 1,
            Err(Failure::Refused { .. }) => 2,
            Err(Failure::Failing { .. } | Failure::Silent { .. } | Failure::Unavailable { .. }) => 3,
            // Nothing was sent.
            Err(Failure::NotLeading) => return,
        };
        let row = VERBS.iter().position(|(of, _)| *of == verb).and_then(|row| self.writes.get(row));
        count(row.and_then(|row| row.get(index)));
    }

    pub(crate) fn watch_failed(&self) {
        count(Some(&self.watch_failures));
    }

    pub(crate) fn sample_failed(&self) {
        count(Some(&self.samples_failed));
    }

    /// When the first certificate of a namespace ends; none when it has none.
    pub(crate) fn certificates(&self, namespace: &str, end: Option<i64>) {
        let mut all = self.certificates.lock();
        match end {
            Some(end) => drop(all.insert(namespace.to_owned(), end)),
            None => drop(all.remove(namespace)),
        }
    }

    pub(crate) fn leads(&self, leads: bool) {
        self.leader.store(leads, Ordering::Relaxed);
    }
}

fn count(of: Option<&AtomicU64>) {
    if let Some(of) = of {
        of.fetch_add(1, Ordering::Relaxed);
    }
}

fn number(of: &AtomicU64) -> u64 {
    of.load(Ordering::Relaxed)
}

/// What the private port shows.
pub(crate) fn registry(stats: Arc<Stats>, queue: Arc<Queue>) -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(ProcessMetrics::new()));
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    let build =
        [("version", env!("CARGO_PKG_VERSION")), ("profile", profile), ("arch", std::env::consts::ARCH)];
    let ours = registry.sub_registry_with_prefix("stoker");
    ours.register("build", "What runs", Info::new(build.to_vec()));
    ours.register_collector(Box::new(Shown { stats, queue }));
    registry
}

#[derive(Debug)]
struct Shown {
    stats: Arc<Stats>,
    queue: Arc<Queue>,
}

impl Collector for Shown {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut to = Exposition(encoder);
        let stats = &self.stats;
        let labels: Vec<[(&str, &str); 1]> = ENDS.iter().map(|end| [("result", *end)]).collect();
        let looks: Vec<_> =
            labels.iter().map(|of| of as Labels<'_>).zip(stats.looks.iter().map(number)).collect();
        to.counters("operator_reconciles", "Looks at a namespace, by how they ended", &looks)?;
        to.histogram(
            "operator_reconcile_seconds",
            "Time of a look at a namespace, with all that is written",
            Of::Time,
            &stats.look_time.snapshot(),
        )?;
        let mut writes = Vec::new();
        for ((_, verb), row) in VERBS.iter().zip(&stats.writes) {
            for (result, of) in RESULTS.iter().zip(row) {
                writes.push(([("verb", *verb), ("result", *result)], number(of)));
            }
        }
        let writes: Vec<_> = writes.iter().map(|(labels, value)| (labels as Labels<'_>, *value)).collect();
        to.counters("operator_writes", "Writes to the API server", &writes)?;
        let waiting = u64::try_from(self.queue.waiting()).unwrap_or(u64::MAX);
        to.gauge("operator_queue", "Namespaces that wait to be looked at", waiting)?;
        to.gauge(
            "operator_leader",
            "1 while this process leads",
            stats.leader.load(Ordering::Relaxed).into(),
        )?;
        // Nothing is said where there is none: it would be one that has ended.
        if let Some(end) = stats.certificates.lock().values().min() {
            to.gauge(
                "operator_certificate_end_seconds",
                "When the first certificate among services ends, in seconds since the epoch",
                u64::try_from(*end).unwrap_or(0),
            )?;
        }
        to.counter(
            "operator_watch_failures",
            "Watches that had to be tried again",
            number(&stats.watch_failures),
        )?;
        to.counter(
            "operator_samples_failed",
            "Questions to pods, of their connections and of what they do without, that were not answered",
            number(&stats.samples_failed),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn shown() -> String {
        let stats = Arc::new(Stats::default());
        stats.looked(Ended::Again(None), Duration::from_millis(3));
        stats.wrote(Verb::Scale, &Err::<(), _>(Failure::Conflict { what: String::new() }));
        stats.wrote(Verb::Scale, &Err::<(), _>(Failure::NotLeading));
        stats.leads(true);
        stats.certificates("a", Some(1_800_000_000));
        stats.certificates("b", Some(1_700_000_000));
        stats.certificates("c", Some(1_600_000_000));
        stats.certificates("c", None);
        let queue = Arc::new(Queue::default());
        queue.touch("a", false);
        let mut text = String::new();
        let registry = registry(stats, queue);
        stoker_telemetry::metrics::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn what_is_counted_is_shown() {
        let text = shown();
        for line in [
            "stoker_operator_reconciles_total{result=\"again\"} 1",
            "stoker_operator_reconcile_seconds_count 1",
            "stoker_operator_writes_total{verb=\"scale\",result=\"conflict\"} 1",
            "stoker_operator_writes_total{verb=\"apply\",result=\"done\"} 0",
            "stoker_operator_queue 1",
            "stoker_operator_leader 1",
            "stoker_operator_certificate_end_seconds 1700000000",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn the_documentation_lists_what_is_shown_and_nothing_else() {
        let mut shown: BTreeSet<String> = BTreeSet::new();
        for line in shown_types() {
            shown.insert(line);
        }
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operator.md");
        let page = std::fs::read_to_string(page).unwrap();
        let listed: BTreeSet<String> = page
            .lines()
            .filter_map(|line| line.strip_prefix("| `stoker_operator_"))
            .filter_map(|rest| rest.split('`').next())
            .map(|name| format!("stoker_operator_{}", name.trim_end_matches("_total")))
            .collect();
        assert_eq!(shown, listed);
    }

    fn shown_types() -> Vec<String> {
        let text = shown();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let names = types.filter_map(|rest| rest.split(' ').next());
        names.filter(|name| name.starts_with("stoker_operator_")).map(str::to_owned).collect()
    }
}
