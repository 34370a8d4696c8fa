//! One JSON object a line. What is known of the spans that a line is written in stands beside what the line says
//! itself: the device, the session, the request, the trace.

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::trace;

/// What spans say to collectors of traces alone.
const NOT_FOR_LOGS: &str = "otel.";

/// Writes events as lines of JSON.
#[derive(Debug)]
pub(super) struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Map::new();
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            let extensions = span.extensions();
            let Some(formatted) = extensions.get::<FormattedFields<N>>() else { continue };
            if let Ok(Value::Object(of_span)) = serde_json::from_str(&formatted.fields) {
                fields.extend(of_span.into_iter().filter(|(name, _)| !name.starts_with(NOT_FOR_LOGS)));
            }
        }
        if let Some(span) = context.event_scope().and_then(|mut scope| scope.next())
            && let Some((trace, span)) = trace::ids(&span.id())
        {
            fields.insert("trace_id".to_owned(), trace.into());
            fields.insert("span_id".to_owned(), span.into());
        }
        let mut said = Said(fields);
        event.record(&mut said);
        let Said(mut fields) = said;
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let metadata = event.metadata();
        write!(
            writer,
            "{{\"timestamp\":{},\"level\":\"{}\",\"target\":{},\"message\":{}",
            Value::from(time),
            metadata.level(),
            Value::from(metadata.target()),
            fields.remove("message").unwrap_or_default()
        )?;
        for (name, value) in fields {
            write!(writer, ",{}:{value}", Value::from(name))?;
        }
        writeln!(writer, "}}")
    }
}

/// What an event says.
struct Said(Map<String, Value>);

impl Said {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Said {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tracing_subscriber::fmt::format::JsonFields;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_has_what_its_spans_know() {
        let kept = Kept::default();
        let writer = kept.clone();
        let layer = tracing_subscriber::fmt::layer()
            .fmt_fields(JsonFields::new())
            .event_format(Lines)
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let outer = tracing::info_span!("outer", device = %"default/boiler-7", request_id = "r-1", otel.name = "x");
            let inner = outer.in_scope(|| tracing::info_span!("inner", session = "3.1", request_id = "r-2"));
            inner.in_scope(|| tracing::warn!(session = "3.2", count = 7, "not \"stored\""));
            tracing::info!("alone");
        });
        let text = String::from_utf8(kept.0.lock().clone()).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [inside, alone] = &lines[..] else { panic!("{text}") };
        assert_eq!(inside["message"], "not \"stored\"");
        assert_eq!((&inside["device"], &inside["count"]), (&"default/boiler-7".into(), &7.into()));
        assert_eq!((&inside["request_id"], &inside["session"]), (&"r-2".into(), &"3.2".into()));
        assert_eq!(inside.get("otel.name"), None);
        assert_eq!((&alone["message"], alone.get("device")), (&"alone".into(), None));
        assert!(text.starts_with("{\"timestamp\":\"20"), "{text}");
    }
}
