//! What the private port shows, read from each part's own counters when it is asked for. `docs/metrics.md` lists it.

mod cassandra;
mod core;
mod embedded;
mod gateway;
mod in_process;
mod notifier;
mod rabbit;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use stoker_bus::{RabbitSnapshot, Snapshot};
use stoker_core::CoreStats;
use stoker_gateway::GatewayStats;
use stoker_link::CallStats;
use stoker_notifier::NotifierStats;
use stoker_portal::PortalStats;
use stoker_store::{CassandraStats, Stats};
use stoker_telemetry::metrics::collector::Collector;
use stoker_telemetry::metrics::encoding::DescriptorEncoder;
use stoker_telemetry::metrics::metrics::info::Info;
use stoker_telemetry::metrics::registry::Registry;
use stoker_telemetry::{Exposition, HistogramSnapshot, ProcessMetrics, TraceStats};

/// What ours begin with. What the kernel knows of a process has names that all programs share.
const PREFIX: &str = "stoker";

/// Whose numbers the whole platform in one process shows.
pub(crate) struct UpStats<'a, S, B> {
    pub(crate) gateway: Arc<GatewayStats>,
    pub(crate) core: Arc<CoreStats>,
    pub(crate) store: S,
    pub(crate) bus: B,
    pub(crate) notifier: Arc<NotifierStats>,
    pub(crate) portal: &'a PortalStats,
    pub(crate) calls: &'a CallStats,
}

/// What a process shows: the counters of its parts.
pub(crate) struct Metrics(Registry);

/// Something that shows numbers when it is asked.
struct Part<T>(T);

impl<T> fmt::Debug for Part<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Part")
    }
}

impl<T> Collector for Part<T>
where
    T: Fn(&mut Exposition<'_>) -> fmt::Result + Send + Sync + 'static,
{
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        (self.0)(&mut Exposition(encoder))
    }
}

impl Metrics {
    /// Which version runs, in what kind of process, and nothing else yet.
    fn new() -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ProcessMetrics::new()));
        let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
        let build =
            [("version", env!("CARGO_PKG_VERSION")), ("profile", profile), ("arch", std::env::consts::ARCH)];
        let ours = registry.sub_registry_with_prefix(PREFIX);
        ours.register("build", "What runs", Info::new(build.to_vec()));
        Self(registry)
    }

    fn with(mut self, part: impl Fn(&mut Exposition<'_>) -> fmt::Result + Send + Sync + 'static) -> Self {
        self.0.sub_registry_with_prefix(PREFIX).register_collector(Box::new(Part(part)));
        self
    }

    /// With a gateway's.
    fn gateway(self, stats: Arc<GatewayStats>) -> Self {
        self.with(move |to| gateway::show(to, &stats))
    }

    /// With a core's.
    fn core(self, stats: Arc<CoreStats>) -> Self {
        self.with(move |to| core::show(to, &stats.snapshot()))
    }

    /// With the embedded store's.
    fn embedded_store(self, stats: impl Fn() -> Stats + Send + Sync + 'static) -> Self {
        self.with(move |to| embedded::show(to, &stats()))
    }

    /// With those of the store on Cassandra.
    fn cassandra(self, stats: impl Fn() -> CassandraStats + Send + Sync + 'static) -> Self {
        self.with(move |to| cassandra::show(to, &stats()))
    }

    /// With those of the bus in this process.
    fn in_process_bus(self, bus: impl Fn() -> Snapshot + Send + Sync + 'static) -> Self {
        self.with(move |to| in_process::show(to, &bus()))
    }

    /// With those of the way to RabbitMQ.
    fn rabbit(self, bus: impl Fn() -> RabbitSnapshot + Send + Sync + 'static) -> Self {
        self.with(move |to| rabbit::show(to, &bus()))
    }

    /// With a notifier's.
    fn notifier(self, stats: Arc<NotifierStats>) -> Self {
        self.with(move |to| notifier::show(to, &stats.snapshot()))
    }

    /// With a portal's.
    fn portal(mut self, stats: &PortalStats) -> Self {
        self.0.sub_registry_with_prefix(PREFIX).register(
            "portal_http_request_seconds",
            "Time from the head of a request until the head of its answer",
            stats.requests.clone(),
        );
        let ours = self.0.sub_registry_with_prefix(PREFIX);
        ours.register("portal_live_listeners", "Who listens to the live feed", stats.live_listeners.clone());
        let ignored = "What came in the live feed from publishers with names that no core has";
        ours.register("portal_live_ignored", ignored, stats.live_ignored.clone());
        self
    }

    /// With those of calls among the services, made and answered.
    fn calls(mut self, stats: &CallStats) -> Self {
        let ours = self.0.sub_registry_with_prefix(PREFIX);
        ours.register(
            "grpc_client_seconds",
            "Time of calls made to core until the head of their answers",
            stats.made.clone(),
        );
        ours.register(
            "grpc_server_seconds",
            "Time of calls answered here until the head of their answers",
            stats.answered.clone(),
        );
        self
    }

    /// With those of the way to a collector of traces.
    pub(crate) fn traces(self, stats: Arc<TraceStats>) -> Self {
        self.with(move |to| {
            to.counter("traces_spans_exported", "Spans that the collector has", stats.exported())?;
            to.counters(
                "traces_spans_dropped",
                "Spans that it does not have",
                &[(&[("reason", "full")], stats.full()), (&[("reason", "failed")], stats.failed())],
            )
        })
    }

    /// Those of the whole platform in one process.
    pub(crate) fn up<S, B>(of: UpStats<'_, S, B>) -> Self
    where
        S: Fn() -> Stats + Send + Sync + 'static,
        B: Fn() -> Snapshot + Send + Sync + 'static,
    {
        let all = Self::new().gateway(of.gateway).core(of.core).embedded_store(of.store);
        all.in_process_bus(of.bus).notifier(of.notifier).portal(of.portal).calls(of.calls)
    }

    /// Those of a core among others.
    pub(crate) fn of_core(
        core: Arc<CoreStats>,
        store: impl Fn() -> CassandraStats + Send + Sync + 'static,
        bus: impl Fn() -> RabbitSnapshot + Send + Sync + 'static,
        calls: &CallStats,
    ) -> Self {
        Self::new().core(core).cassandra(store).rabbit(bus).calls(calls)
    }

    /// Those of a gateway in a process of its own.
    pub(crate) fn of_gateway(
        gateway: Arc<GatewayStats>,
        bus: impl Fn() -> RabbitSnapshot + Send + Sync + 'static,
        calls: &CallStats,
    ) -> Self {
        Self::new().gateway(gateway).rabbit(bus).calls(calls)
    }

    /// Those of a notifier in a process of its own.
    pub(crate) fn of_notifier(
        notifier: Arc<NotifierStats>,
        bus: impl Fn() -> RabbitSnapshot + Send + Sync + 'static,
        calls: &CallStats,
    ) -> Self {
        Self::new().notifier(notifier).rabbit(bus).calls(calls)
    }

    /// Those of a portal in a process of its own.
    pub(crate) fn of_portal(portal: &PortalStats, calls: &CallStats) -> Self {
        Self::new().portal(portal).calls(calls)
    }

    /// All of them.
    pub(crate) fn registry(self) -> Registry {
        self.0
    }
}

fn count(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// Times of the store, from 64 µs to half a minute.
static TIMES: [u64; 20] = below_powers_of_two(6);
/// Sizes of the store's groups, up to 16,384.
static SIZES: [u64; 14] = below_powers_of_two(1);

const fn below_powers_of_two<const N: usize>(first: usize) -> [u64; N] {
    let mut bounds = [0; N];
    let mut n = 0;
    while n < N {
        bounds[n] = (1 << (n + first)) - 1;
        n += 1;
    }
    bounds
}

/// A histogram of the store, whose bucket `n` holds what is below `2^n`, as one with bounds.
fn doubling(histogram: &stoker_store::Histogram, bounds: &'static [u64], first: usize) -> HistogramSnapshot {
    let mut buckets = vec![0; bounds.len() + 1];
    for (n, count) in histogram.buckets.iter().enumerate() {
        if let Some(bucket) = buckets.get_mut(n.saturating_sub(first).min(bounds.len())) {
            *bucket += count;
        }
    }
    HistogramSnapshot { bounds, buckets, sum: histogram.sum }
}

fn times(histogram: &stoker_store::Histogram) -> HistogramSnapshot {
    doubling(histogram, &TIMES, 6)
}

fn sizes(histogram: &stoker_store::Histogram) -> HistogramSnapshot {
    doubling(histogram, &SIZES, 1)
}
