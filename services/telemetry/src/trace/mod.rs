//! Traces: spans of our own code, given to a collector by OTLP, and their context between processes.
//!
//! Off unless a collector is configured, and then of no cost: nothing is listening. Spans are those of `tracing`, at
//! level INFO; where so many things happen that a span of each would cost too much, [`sampled`] is asked first.

mod context;
mod export;
mod sampler;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanExporter as _, SpanLimits};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

pub(crate) use context::ids;
pub use context::{HEADER, Remote, received, remember, trace_id};
pub use export::{TraceExport, TraceStats};
pub use sampler::sampled;

/// Who of this program makes spans.
const OURS: &str = "stoker";
/// One export of spans may take so long.
const EXPORT_WITHIN: Duration = Duration::from_secs(5);
/// Links of one span: a batch names so many of its members.
pub const LINKS_MOST: usize = 32;

/// Where spans go.
#[derive(Debug, Clone, PartialEq)]
pub struct OtlpConfig {
    /// The collector, `http://host:port`, spoken to by gRPC.
    pub endpoint: String,
    /// What has given the address, for errors: a key of the configuration, or a variable.
    pub named: &'static str,
    /// The share of traces that are kept, 0 to 1. Whoever calls with a context of their own has decided for us.
    pub sample_ratio: f64,
    /// What this process is to the reader of a trace, such as `stoker-core`.
    pub service: String,
    /// Which of them: the member's id.
    pub instance: String,
}

/// Why spans cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The address is none that we can speak to.
    #[error(
        "{named}: {endpoint:?} is no address such as http://127.0.0.1:4317; of a collector that is spoken to by TLS put one beside this process that is not"
    )]
    Endpoint {
        /// What has given it.
        named: &'static str,
        /// The address.
        endpoint: String,
    },
    /// The exporter could not be made.
    #[error("{named}: failed to set up the export of traces: {source}")]
    Exporter {
        /// What has given the address.
        named: &'static str,
        /// Why not.
        source: opentelemetry_otlp::ExporterBuildError,
    },
}

/// Makes the layer that listens to spans, and what exports them. To be called within a runtime.
///
/// # Errors
/// [`TraceError`] says what is wrong with the configuration.
pub(crate) fn open<S>(
    config: &OtlpConfig,
    version: &'static str,
) -> Result<(impl Layer<S> + Send + Sync + 'static, TraceExport), TraceError>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let host = config.endpoint.strip_prefix("http://").filter(|host| !host.is_empty());
    let named = config.named;
    host.ok_or_else(|| TraceError::Endpoint { named, endpoint: config.endpoint.clone() })?;
    let mut exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(config.endpoint.clone())
        .with_timeout(EXPORT_WITHIN)
        .build()
        .map_err(|source| TraceError::Exporter { named, source })?;
    let resource = Resource::builder()
        .with_service_name(config.service.clone())
        .with_attribute(KeyValue::new("service.version", version))
        .with_attribute(KeyValue::new("service.instance.id", config.instance.clone()))
        .build();
    exporter.set_resource(&resource);
    let (processor, export) = export::queue(exporter, config.endpoint.clone());
    let limits = SpanLimits {
        max_events_per_span: 32,
        max_attributes_per_span: 32,
        max_links_per_span: u32::try_from(LINKS_MOST).unwrap_or(u32::MAX),
        ..SpanLimits::default()
    };
    let provider = SdkTracerProvider::builder()
        .with_span_processor(processor)
        .with_sampler(sampler::HeadSampler::new(config.sample_ratio))
        .with_span_limits(limits)
        .with_resource(resource)
        .build();
    sampler::turn_on(config.sample_ratio);
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("stoker"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_context_activation(false)
        .with_filter(filter_fn(is_for_traces));
    Ok((layer, export.keeping(Arc::new(provider))))
}

/// Our own spans, and what is logged in them when something is wrong.
fn is_for_traces(metadata: &Metadata<'_>) -> bool {
    let most = if metadata.is_span() { Level::INFO } else { Level::WARN };
    *metadata.level() <= most && metadata.target().starts_with(OURS)
}
