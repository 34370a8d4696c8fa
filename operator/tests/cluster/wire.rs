//! The way from an operator to the API server, where calls are counted, end in the midst, and events come late or never.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyDataStream, BodyExt, Full, StreamBody};
use hyper::body::Frame;
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// What happens to watches.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Watches {
    #[default]
    Plain,
    /// Each event comes so much later.
    Late(Duration),
    /// The first two of each kind lose their first event, and cannot be gone on with.
    Torn,
}

/// An answer, whatever becomes of it on the way.
type Answer = Response<UnsyncBoxBody<Bytes, kube::Error>>;

/// What is known of the calls.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    /// The connection is cut after so many writes that have changed something; never when none.
    cut_after: Option<u64>,
    watches: Watches,
    /// Pulled when it is cut.
    pub(crate) cut: CancellationToken,
    changes: AtomicU64,
    torn: Mutex<BTreeMap<String, u32>>,
    /// All calls but watches.
    calls: Mutex<Vec<String>>,
}

impl Wire {
    /// One that is cut after so many writes that have changed something.
    pub(crate) fn cut_after(writes: u64) -> Arc<Self> {
        Arc::new(Self { cut_after: Some(writes), ..Self::default() })
    }

    /// One on which this happens to watches.
    pub(crate) fn with(watches: Watches) -> Arc<Self> {
        Arc::new(Self { watches, ..Self::default() })
    }

    /// A client by this way.
    pub(crate) fn client(self: &Arc<Self>, client: Client) -> Client {
        let (wire, namespace) = (Arc::clone(self), client.default_namespace().to_owned());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (wire, client) = (Arc::clone(&wire), client.clone());
            async move { wire.call(client, request).await }
        });
        Client::new(service, namespace)
    }

    /// The calls so far, watches apart.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.calls.lock().clone()
    }

    async fn call(&self, client: Client, request: Request<Body>) -> Result<Answer, kube::Error> {
        let cut = || kube::Error::Service("the connection is cut".into());
        if self.cut.is_cancelled() {
            return Err(cut());
        }
        let (method, uri) = (request.method().clone(), request.uri().clone());
        if uri.query().is_some_and(|query| query.contains("watch=true")) {
            let answer = client.send(request).await?;
            return Ok(self.watched(uri.path(), answer));
        }
        self.calls.lock().push(format!("{method} {uri}"));
        if method == Method::GET || uri.path().contains("/leases") {
            return Ok(client.send(request).await?.map(BodyExt::boxed_unsync));
        }
        let path = uri.path().trim_end_matches("/status");
        let before = version(&client, path).await;
        let (head, body) = client.send(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        let after = if method == Method::POST { None } else { version(&client, path).await };
        if head.status.is_success() && (method == Method::POST || before != after) {
            let changes = self.changes.fetch_add(1, Ordering::Relaxed) + 1;
            if self.cut_after.is_some_and(|most| changes >= most) {
                self.cut.cancel();
                // It was done, and the answer is lost.
                return Err(cut());
            }
        }
        let body = Full::new(body).map_err(|never| match never {});
        Ok(Response::from_parts(head, body.boxed_unsync()))
    }

    fn watched(&self, path: &str, answer: Response<Body>) -> Answer {
        let (head, body) = answer.into_parts();
        let frames = BodyDataStream::new(body).map(|data| data.map(Frame::data));
        let plain = |frames| BodyExt::boxed_unsync(StreamBody::new(frames));
        let body = match self.watches {
            Watches::Plain => plain(frames),
            Watches::Late(by) => {
                let late = frames.then(move |frame| async move {
                    // tidy: allow(sleep): it is what is tried here
                    tokio::time::sleep(by).await;
                    frame
                });
                BodyExt::boxed_unsync(StreamBody::new(late))
            }
            Watches::Torn => {
                let mut torn = self.torn.lock();
                let times = torn.entry(path.to_owned()).or_default();
                *times += 1;
                if *times > 2 {
                    plain(frames)
                } else {
                    let lost =
                        frames.take(1).map(|frame| frame.map(|_| Frame::data(Bytes::from_static(EXPIRED))));
                    BodyExt::boxed_unsync(StreamBody::new(lost))
                }
            }
        };
        Response::from_parts(head, body)
    }
}

/// What the API server says to who asks for events that it has forgotten.
const EXPIRED: &[u8] =
    b"{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Failure\",\
    \"message\":\"too old resource version\",\"reason\":\"Expired\",\"code\":410}}\n";

/// The version of an object; none when it is not there.
async fn version(client: &Client, path: &str) -> Option<String> {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let answer = client.send(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    let object: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    object["metadata"]["resourceVersion"].as_str().map(str::to_owned)
}
