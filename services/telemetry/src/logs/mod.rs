//! Logs to standard error: for people on a terminal, as JSON for machines. The last lines are kept for crash reports.

mod json;
mod ring;

use std::io::IsTerminal;

use tracing::Subscriber;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::trace::{self, OtlpConfig, TraceError, TraceExport};

pub(crate) use ring::last_lines;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Human on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// One line of text.
    Human,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    fn is_human(self) -> bool {
        match self {
            Self::Human => true,
            Self::Json => false,
            Self::Auto => std::io::stderr().is_terminal(),
        }
    }
}

/// The lines of the log. `RUST_LOG` decides what is said; `default_filter` when it is not set.
fn lines<S>(format: LogFormat, default_filter: &str) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default_filter));
    let layer = tracing_subscriber::fmt::layer().with_writer(ring::Tee::new);
    if format.is_human() {
        let colours = std::io::stderr().is_terminal();
        layer.with_ansi(colours).with_target(false).compact().with_filter(filter).boxed()
    } else {
        layer
            .with_ansi(false)
            .fmt_fields(JsonFields::new())
            .event_format(json::Lines)
            .with_filter(filter)
            .boxed()
    }
}

/// Starts logging. A second call does nothing.
pub fn init_logs(format: LogFormat, default_filter: &str) {
    // Failing means that somebody has set a subscriber already: theirs stands.
    let _ = tracing_subscriber::registry().with(lines(format, default_filter)).try_init();
}

/// Starts logging, and giving spans to a collector. To be called within a runtime.
///
/// # Errors
/// [`TraceError`] when what is configured of the collector is wrong.
pub fn init_logs_and_traces(
    format: LogFormat,
    default_filter: &str,
    otlp: &OtlpConfig,
    version: &'static str,
) -> Result<TraceExport, TraceError> {
    let (traces, export) = trace::open::<Registry>(otlp, version)?;
    let _ = tracing_subscriber::registry().with(traces).with(lines(format, default_filter)).try_init();
    Ok(export)
}
