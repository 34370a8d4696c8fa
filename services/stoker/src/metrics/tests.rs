//! What is exposed is what `docs/metrics.md` says, and the other way round.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use stoker_bus::{RabbitSnapshot, Snapshot};
use stoker_core::CoreStats;
use stoker_link::CallStats;
use stoker_portal::PortalStats;
use stoker_store::{CassandraStats, Stats};
use stoker_telemetry::TraceStats;
use stoker_telemetry::metrics::encoding::text::encode;

use super::{Metrics, UpStats};

const DOCUMENT: &str = include_str!("../../../../docs/metrics.md");
const PROCESSES: [&str; 5] = ["up", "core", "gateway", "notifier", "portal"];

/// Kind and labels of a metric.
type Shape = (String, BTreeSet<String>);

/// What a process exposes, by name.
fn exposed(metrics: Metrics) -> BTreeMap<String, Shape> {
    let metrics = metrics.traces(Arc::new(TraceStats::default()));
    let mut text = String::new();
    encode(&mut text, &metrics.registry()).unwrap();
    let mut kinds = BTreeMap::new();
    let mut found = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            kinds.insert(name.to_owned(), kind.to_owned());
        } else if !line.starts_with('#') {
            let (series, _) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let endings = ["_total", "_bucket", "_sum", "_count", "_info"];
            let base = endings
                .iter()
                .find_map(|ending| name.strip_suffix(ending).filter(|base| kinds.contains_key(*base)))
                .unwrap_or(name);
            let kind = kinds[base].clone();
            let shown = match kind.as_str() {
                "counter" => format!("{base}_total"),
                "info" => format!("{base}_info"),
                _ => base.to_owned(),
            };
            let labels = labels.trim_end_matches('}').split("\",").filter_map(|label| label.split_once('='));
            let labels = labels.map(|(name, _)| name.to_owned()).filter(|name| name != "le");
            let shape: &mut Shape = found.entry(shown).or_insert((kind, BTreeSet::new()));
            shape.1.extend(labels);
        }
    }
    found
}

/// What the document says that a process exposes.
fn documented(process: &str) -> BTreeMap<String, Shape> {
    let rows = DOCUMENT.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = rows.map(|row| row.trim_end_matches(" |").split(" | ").collect::<Vec<_>>());
    let mut found = BTreeMap::new();
    for row in rows {
        let [name, kind, unit, labels, processes, meaning] = row[..] else { panic!("six columns: {row:?}") };
        assert!(!unit.is_empty() && !meaning.is_empty(), "{name}");
        for listed in processes.split(", ") {
            assert!(listed == "all" || PROCESSES.contains(&listed), "{name}: {listed}");
        }
        if processes == "all" || processes.split(", ").any(|listed| listed == process) {
            let labels = labels
                .split(", ")
                .filter(|label| *label != "–")
                .map(|label| label.trim_matches('`').to_owned());
            let shape = (kind.to_owned(), labels.collect());
            assert_eq!(found.insert(name.trim_end_matches('`').to_owned(), shape), None, "{name} twice");
        }
    }
    found
}

fn calls() -> CallStats {
    // A series is there once something has happened.
    let calls = CallStats::default();
    let call = [("service", "s".to_owned()), ("method", "m".to_owned()), ("code", "Ok".to_owned())];
    calls.made.get_or_create(&call).observe(1.0);
    calls.answered.get_or_create(&call).observe(1.0);
    calls
}

fn portal() -> PortalStats {
    let portal = PortalStats::default();
    let labels = [("method", "GET".to_owned()), ("route", "/".to_owned()), ("status", "2xx".to_owned())];
    portal.requests.get_or_create(&labels).observe(1.0);
    portal
}

fn notifier() -> Arc<stoker_notifier::NotifierStats> {
    Arc::default()
}

#[test]
fn every_process_exposes_what_is_documented_and_nothing_else() {
    let up = Metrics::up(UpStats {
        gateway: Arc::default(),
        core: Arc::new(CoreStats::default()),
        store: Stats::default,
        bus: Snapshot::default,
        notifier: notifier(),
        portal: &portal(),
        calls: &calls(),
    });
    let core = Metrics::of_core(Arc::default(), CassandraStats::default, RabbitSnapshot::default, &calls());
    let gateway = Metrics::of_gateway(Arc::default(), RabbitSnapshot::default, &calls());
    let notifier = Metrics::of_notifier(notifier(), RabbitSnapshot::default, &calls());
    let portal = Metrics::of_portal(&portal(), &calls());
    for (process, metrics) in PROCESSES.into_iter().zip([up, core, gateway, notifier, portal]) {
        let (exposed, documented) = (exposed(metrics), documented(process));
        assert!(exposed.len() >= 10, "{exposed:?}");
        for (name, shape) in &exposed {
            assert_eq!(
                documented.get(name),
                Some(shape),
                "{process} exposes {name}; docs/metrics.md differs"
            );
        }
        for name in documented.keys() {
            assert!(exposed.contains_key(name), "docs/metrics.md says that {process} exposes {name}");
        }
    }
}

#[test]
fn names_are_those_of_the_conventions() {
    for process in PROCESSES {
        for (name, (kind, _)) in documented(process) {
            assert!(name.starts_with("stoker_") || name.starts_with("process_"), "{name}");
            for unit in ["micro", "milli", "_ms", "_us", "minutes", "kb"] {
                assert!(!name.contains(unit), "{name}: base units");
            }
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
        }
    }
}
