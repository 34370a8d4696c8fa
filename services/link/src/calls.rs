//! What happens to every call among the services, on both sides: it is measured, and carries the context of its trace
//! and the id of the request that it is made for.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use http::{HeaderName, HeaderValue, Request, Response};
use stoker_telemetry::metrics::metrics::family::Family;
use stoker_telemetry::metrics::metrics::histogram::Histogram;
use stoker_telemetry::trace::{HEADER, Remote};
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::StdError;
use tonic::transport;
use tower::{Layer, Service};
use tracing::Span;
use tracing::field::Empty;

use crate::owner::{Owners, Whole};

/// The id of the request of a person or a script, as gRPC and HTTP call it.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static(HEADER);
/// No id is longer.
const REQUEST_ID_MOST: usize = 128;
/// Seconds: from what memory needs to the longest wait for a command.
const BUCKETS: [f64; 14] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

tokio::task_local! {
    /// The id of the request that is answered.
    static REQUEST_ID: HeaderValue;
}

/// Service, method and code of a call.
type Call = [(&'static str, String); 3];
/// Times of calls.
pub type Calls = Family<Call, Histogram>;

/// What calls cost, to be kept by whoever serves metrics.
#[derive(Debug, Clone)]
pub struct CallStats {
    /// Those made from here.
    pub made: Calls,
    /// Those answered here.
    pub answered: Calls,
}

impl Default for CallStats {
    fn default() -> Self {
        let calls = || Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        Self { made: calls(), answered: calls() }
    }
}

/// The service and the method of a path such as `/stoker.core.v1.GatewayService/ReportEvent`.
fn names(path: &str) -> (&str, &str) {
    let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
    (service.rsplit('.').next().unwrap_or(service), method)
}

fn code<B>(response: &Response<B>) -> Code {
    // With an answer the code comes after it; a refusal has nothing but its head.
    response.headers().get("grpc-status").map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()))
}

fn observe(calls: &Calls, path: &str, code: Code, began: Instant) {
    // Anybody may ask for anything; what there is not is one series. Who has no business with a service is turned away
    // before anybody has looked whether it has such a method.
    let (service, method) = match (code, names(path)) {
        (Code::Unimplemented, _) => ("unknown", "unknown"),
        (Code::PermissionDenied, (service, _)) => (service, "unknown"),
        (_, names) => names,
    };
    let call =
        [("service", service.to_owned()), ("method", method.to_owned()), ("code", format!("{code:?}"))];
    calls.get_or_create(&call).observe(began.elapsed().as_secs_f64());
}

/// A channel to core.
#[derive(Clone)]
pub struct Channel {
    channel: transport::Channel,
    stats: Arc<CallStats>,
    /// None: all requests go the same way.
    owners: Option<Owners>,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Channel")
    }
}

impl Channel {
    /// Over this channel; its calls are counted there.
    #[must_use]
    pub fn new(channel: transport::Channel, stats: Arc<CallStats>) -> Self {
        Self { channel, stats, owners: None }
    }

    /// What is to be asked of the owner of a slot goes straight there, where it is known.
    pub(crate) fn with_owners(self, owners: Owners) -> Self {
        Self { owners: Some(owners), ..self }
    }

    fn send(&mut self, mut request: Request<Body>) -> Sent {
        let Some(owners) = self.owners.clone() else {
            let sent = Service::call(&mut self.channel, request);
            return Box::pin(async move { Ok(sent.await?) });
        };
        if let Some(whole) = request.extensions_mut().remove::<Whole>() {
            // It leaves the place that it was given among those that wait for any core.
            self.channel = self.channel.clone();
            return Box::pin(owners.ask(whole, request, self.channel.clone()));
        }
        let sent = Service::call(&mut self.channel, request);
        Box::pin(async move {
            let response = sent.await?;
            owners.learn(response.headers());
            Ok(response)
        })
    }
}

/// A request on its way, by whichever.
type Sent = Pin<Box<dyn Future<Output = Result<Response<Body>, StdError>> + Send>>;

impl From<transport::Channel> for Channel {
    /// Its calls are counted nowhere.
    fn from(channel: transport::Channel) -> Self {
        Self::new(channel, Arc::default())
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = StdError;
    type Future = Observed<dyn Future<Output = Result<Response<Body>, StdError>> + Send>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::poll_ready(&mut self.channel, context).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let path = request.uri().path().to_owned();
        let mut span = Span::none();
        // Without a trace there is nothing to tell of this side that the caller does not know.
        if Remote::current().is_some() {
            let (service, method) = names(&path);
            span = tracing::info_span!(
                "call", otel.name = %path, otel.kind = "client", otel.status_code = Empty, rpc.system = "grpc",
                rpc.service = service, rpc.method = method, rpc.grpc.status_code = Empty
            );
            let header =
                Remote::of(&span).and_then(|remote| HeaderValue::try_from(remote.traceparent()).ok());
            if let Some(header) = header {
                request.headers_mut().insert(TRACEPARENT, header);
            }
        }
        if let Ok(id) = REQUEST_ID.try_with(HeaderValue::clone) {
            request.headers_mut().entry(X_REQUEST_ID).or_insert(id);
        }
        let response = {
            let _inside = span.enter();
            self.send(request)
        };
        let calls = self.stats.made.clone();
        Observed { response, began: Instant::now(), path, calls, span }
    }
}

/// A call that is measured.
pub struct Observed<F: ?Sized> {
    response: Pin<Box<F>>,
    began: Instant,
    path: String,
    calls: Calls,
    span: Span,
}

impl<F, B, E> Future for Observed<F>
where
    F: ?Sized + Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let _inside = this.span.enter();
        let result = ready!(this.response.as_mut().poll(context));
        let code = result.as_ref().map_or(Code::Unavailable, code);
        this.span.record("rpc.grpc.status_code", i32::from(code));
        if code != Code::Ok {
            this.span.record("otel.status_code", "ERROR");
        }
        observe(&this.calls, &this.path, code, this.began);
        Poll::Ready(result)
    }
}

/// Puts what counts its answers around every service of a server.
#[derive(Debug, Clone)]
pub struct Answering(Arc<CallStats>);

impl Answering {
    /// Calls are counted there.
    #[must_use]
    pub fn new(stats: Arc<CallStats>) -> Self {
        Self(stats)
    }
}

impl<S> Layer<S> for Answering {
    type Service = Answered<S>;

    fn layer(&self, service: S) -> Answered<S> {
        Answered { service, stats: self.0.clone() }
    }
}

/// A service whose calls are measured, and go on with their caller's trace.
#[derive(Debug, Clone)]
pub struct Answered<S> {
    service: S,
    stats: Arc<CallStats>,
}

type Answer<B, E> = Pin<Box<dyn Future<Output = Result<Response<B>, E>> + Send>>;

impl<S, A, B> Service<Request<A>> for Answered<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Answer<B, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let path = request.uri().path().to_owned();
        let header = |name| request.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let parent = header(TRACEPARENT).and_then(Remote::parse);
        let id = request.headers().get(X_REQUEST_ID).filter(|id| id.len() <= REQUEST_ID_MOST).cloned();
        let span = span(&path, parent.as_ref(), id.as_ref().and_then(|id| id.to_str().ok()));
        let response = {
            let _inside = span.enter();
            self.service.call(request)
        };
        let (began, calls) = (Instant::now(), self.stats.answered.clone());
        let observed = Observed { response: Box::pin(response), began, path, calls, span };
        match id {
            Some(id) => Box::pin(REQUEST_ID.scope(id, observed)),
            None => Box::pin(observed),
        }
    }
}

/// The span of a call that is answered. One that nobody asks for, such as a beat, has none.
fn span(path: &str, parent: Option<&Remote>, request: Option<&str>) -> Span {
    if parent.is_none() && request.is_none() {
        return Span::none();
    }
    let (service, method) = names(path);
    let span = tracing::info_span!(
        "answer", otel.name = %path, otel.kind = "server", otel.status_code = Empty, rpc.system = "grpc",
        rpc.service = service, rpc.method = method, rpc.grpc.status_code = Empty, request_id = request
    );
    if let Some(parent) = parent {
        parent.is_parent_of(&span);
    }
    span
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const PATH: &str = "http://core.stoker/stoker.core.v1.GatewayService/ReportEvent";

    async fn answered(stats: &Arc<CallStats>, path: &str, status: Option<&'static str>) -> String {
        let mut service =
            Answering::new(stats.clone()).layer(tower::service_fn(move |_: Request<()>| async move {
                let id = REQUEST_ID.try_with(|id| id.to_str().unwrap().to_owned()).unwrap_or_default();
                let mut response = Response::new(id);
                if let Some(status) = status {
                    response.headers_mut().insert("grpc-status", HeaderValue::from_static(status));
                }
                Ok::<_, Infallible>(response)
            }));
        let request = Request::builder().uri(path).header("x-request-id", "r-1").body(()).unwrap();
        service.call(request).await.unwrap().into_body()
    }

    #[tokio::test]
    async fn calls_are_counted_by_what_there_is_and_hand_their_request_on() {
        let stats = Arc::new(CallStats::default());
        assert_eq!(answered(&stats, PATH, None).await, "r-1");
        answered(&stats, PATH, Some("14")).await;
        for n in 0..100 {
            answered(&stats, &format!("http://core.stoker/made.up/Number{n}"), Some("12")).await;
            answered(&stats, &format!("http://core.stoker/a.b.PeerService/Number{n}"), Some("7")).await;
        }
        let mut registry = stoker_telemetry::metrics::registry::Registry::default();
        registry.register("calls", "Calls", stats.answered.clone());
        let mut text = String::new();
        stoker_telemetry::metrics::encoding::text::encode(&mut text, &registry).unwrap();
        let mut counts: Vec<&str> = text.lines().filter(|line| line.contains("_count{")).collect();
        counts.sort_unstable();
        assert_eq!(
            counts,
            [
                "calls_count{service=\"GatewayService\",method=\"ReportEvent\",code=\"Ok\"} 1",
                "calls_count{service=\"GatewayService\",method=\"ReportEvent\",code=\"Unavailable\"} 1",
                "calls_count{service=\"PeerService\",method=\"unknown\",code=\"PermissionDenied\"} 100",
                "calls_count{service=\"unknown\",method=\"unknown\",code=\"Unimplemented\"} 100",
            ]
        );
    }
}
