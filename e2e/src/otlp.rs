//! A collector of traces: it keeps every span as it came.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// A span, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The service that made it.
    pub service: String,
    /// What it is called.
    pub name: String,
    /// Its trace, in hexadecimal digits.
    pub trace: String,
    /// Its own id.
    pub id: String,
    /// That of its parent; empty without one.
    pub parent: String,
    /// The ids of the spans that it is linked to.
    pub links: Vec<String>,
    /// What else is known of it.
    pub attributes: HashMap<String, String>,
}

/// A collector; it ends with the value.
pub struct Collector {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<Span>>>,
    _tasks: JoinSet<()>,
}

#[derive(Clone)]
struct Keeper(Arc<Mutex<Vec<Span>>>);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(yes)) => yes.to_string(),
        other => format!("{other:?}"),
    }
}

fn known(attributes: Vec<KeyValue>) -> HashMap<String, String> {
    attributes.into_iter().map(|attribute| (attribute.key, text(attribute.value))).collect()
}

#[tonic::async_trait]
impl TraceService for Keeper {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for of_process in request.into_inner().resource_spans {
            let resource = known(of_process.resource.map(|resource| resource.attributes).unwrap_or_default());
            let service = resource.get("service.name").cloned().unwrap_or_default();
            let spans = of_process.scope_spans.into_iter().flat_map(|scope| scope.spans);
            let spans = spans.map(|span| Span {
                service: service.clone(),
                name: span.name,
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                links: span.links.iter().map(|link| hex(&link.span_id)).collect(),
                attributes: known(span.attributes),
            });
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(spans);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Starts one on a port of its own.
    ///
    /// # Errors
    /// There is no port.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port for a collector")?;
        let address = listener.local_addr()?;
        let spans = Arc::default();
        let service = TraceServiceServer::new(Keeper(Arc::clone(&spans)));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let serving = Server::builder().add_service(service);
            // Whoever misses its spans says so.
            drop(serving.serve_with_incoming(TcpListenerStream::new(listener)).await);
        });
        Ok(Self { address, spans, _tasks: tasks })
    }

    /// What makes a platform give all its traces to it.
    pub fn config(&self) -> String {
        format!("telemetry: {{otlp: {{endpoint: 'http://{}', sample_ratio: 1.0}}}}\n", self.address)
    }

    /// The spans so far.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The spans of one trace so far, by their ids.
    pub fn trace(&self, trace: &str) -> HashMap<String, Span> {
        let spans = self.spans().into_iter().filter(|span| span.trace == trace);
        spans.map(|span| (span.id.clone(), span)).collect()
    }
}

/// The names of a span and of those above it, the root first. A call has a span on either side, and may be passed on by
/// a core to another: it stands there once.
pub fn way(trace: &HashMap<String, Span>, span: &Span) -> Vec<String> {
    let mut names = vec![span.name.clone()];
    let mut parent = span.parent.as_str();
    while let Some(above) = trace.get(parent) {
        names.push(above.name.clone());
        parent = &above.parent;
    }
    if !parent.is_empty() {
        names.push(format!("unknown {parent}"));
    }
    names.reverse();
    names.dedup();
    names
}
