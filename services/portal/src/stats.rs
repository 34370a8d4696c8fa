//! What a portal measures.

use http::{Method, StatusCode};
use stoker_telemetry::metrics::metrics::counter::Counter;
use stoker_telemetry::metrics::metrics::family::Family;
use stoker_telemetry::metrics::metrics::gauge::Gauge;
use stoker_telemetry::metrics::metrics::histogram::Histogram;

/// Seconds: from what memory needs to the longest wait for a command.
const BUCKETS: [f64; 13] = [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// Method, route and class of status of a request.
type Request = [(&'static str, String); 3];

/// What a portal measures, to be kept by whoever serves metrics.
#[derive(Debug, Clone)]
pub struct PortalStats {
    /// Times of requests.
    pub requests: Family<Request, Histogram>,
    /// Who listens to the live feed.
    pub live_listeners: Gauge,
    /// What came in the live feed from publishers with names that no core has.
    pub live_ignored: Counter,
}

impl Default for PortalStats {
    fn default() -> Self {
        let make: fn() -> Histogram = || Histogram::new(BUCKETS);
        Self {
            requests: Family::new_with_constructor(make),
            live_listeners: Gauge::default(),
            live_ignored: Counter::default(),
        }
    }
}

impl PortalStats {
    /// A request was answered. The route is a template or a word of ours: there are only so many.
    pub(crate) fn answered(&self, method: &Method, route: &str, status: StatusCode, seconds: f64) {
        let known = [
            Method::GET,
            Method::POST,
            Method::PATCH,
            Method::PUT,
            Method::DELETE,
            Method::HEAD,
            Method::OPTIONS,
        ];
        // Anybody may make up methods; those are one series.
        let method = if known.contains(method) { method.as_str() } else { "other" };
        let labels = [
            ("method", method.to_owned()),
            ("route", route.to_owned()),
            ("status", format!("{}xx", status.as_u16() / 100)),
        ];
        self.requests.get_or_create(&labels).observe(seconds);
    }
}
