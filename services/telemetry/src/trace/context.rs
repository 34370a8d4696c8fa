//! The context of a trace on its way: W3C Trace Context, `traceparent` alone.

use std::cell::RefCell;
use std::collections::HashMap;

use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// What a context is called in headers of HTTP, metadata of gRPC, headers of AMQP and user properties of MQTT.
pub const HEADER: &str = "traceparent";
/// A `traceparent` of version 00 has 55 characters; later ones may have more.
const MOST: usize = 128;

/// A span of somebody else, or of our own past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote(SpanContext);

impl Remote {
    /// Reads a `traceparent`. `None` when it is not of that form.
    #[must_use]
    pub fn parse(traceparent: &str) -> Option<Self> {
        if traceparent.len() > MOST {
            return None;
        }
        let carrier = HashMap::from([(HEADER.to_owned(), traceparent.to_owned())]);
        let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
        let span = context.span().span_context().clone();
        span.is_valid().then_some(Self(span))
    }

    /// That of a span of this process; `None` while traces are off.
    #[must_use]
    pub fn of(span: &Span) -> Option<Self> {
        if span.is_none() || !is_listened_to(span) {
            return None;
        }
        let context = span.context();
        let span = context.span().span_context().clone();
        span.is_valid().then_some(Self(span))
    }

    /// That of the span that this is called in; `None` while traces are off.
    #[must_use]
    pub fn current() -> Option<Self> {
        Self::of(&Span::current())
    }

    /// As a `traceparent`.
    #[must_use]
    pub fn traceparent(&self) -> String {
        let span = &self.0;
        format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags().to_u8())
    }

    /// Whether the trace is kept.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.0.is_sampled()
    }

    /// Makes this the parent of a span that was just made and that nothing has happened in yet.
    pub fn is_parent_of(&self, span: &Span) {
        // Traces may be off: then nobody asks for its parent.
        drop(span.set_parent(Context::new().with_remote_span_context(self.0.clone())));
    }

    /// Links a span to this one, which is part of what it does, or caused it together with others.
    pub fn is_linked_from(&self, span: &Span) {
        span.add_link(self.0.clone());
    }
}

/// Whether anybody but the log listens to a span.
fn is_listened_to(span: &Span) -> bool {
    super::sampler::is_on() && !span.is_disabled()
}

/// The ids of a span's trace and of the span itself, for a line of the log.
pub(crate) fn ids(id: &tracing::span::Id) -> Option<(String, String)> {
    if !super::sampler::is_on() {
        return None;
    }
    let context = tracing::dispatcher::get_default(|all| tracing_opentelemetry::get_otel_context(id, all))?;
    let span = context.span().span_context().clone();
    span.is_valid().then(|| (span.trace_id().to_string(), span.span_id().to_string()))
}

/// The id of the trace that this is called in, for people.
#[must_use]
pub fn trace_id() -> Option<String> {
    Remote::current().map(|remote| remote.0.trace_id().to_string())
}

thread_local! {
    static RECEIVED: RefCell<Option<Remote>> = const { RefCell::new(None) };
}

/// Remembers the context of the message that is being handed to this task, until [`received`] is asked.
pub fn remember(context: Option<Remote>) {
    drop(RECEIVED.try_with(|received| received.replace(context)));
}

/// The context of the message that this task was handed last. To be asked before the next await: it is kept by the
/// thread.
#[must_use]
pub fn received() -> Option<Remote> {
    RECEIVED.try_with(RefCell::take).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_context_comes_back_as_it_went() {
        let remote = Remote::parse(TEXT).unwrap();
        assert!(remote.is_sampled());
        assert_eq!(remote.traceparent(), TEXT);
        assert!(!Remote::parse(&TEXT.replace("-01", "-00")).unwrap().is_sampled());
    }

    #[test]
    fn what_is_no_context_is_none() {
        for text in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "zz-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            &format!("{TEXT}{}", "0".repeat(1_000)),
        ] {
            assert_eq!(Remote::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_was_received_is_told_once() {
        remember(Remote::parse(TEXT));
        assert_eq!(received(), Remote::parse(TEXT));
        assert_eq!(received(), None);
    }
}
