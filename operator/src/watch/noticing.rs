//! Notes when a watch is answered: one that goes on says nothing as long as nothing happens.

use http::Request;
use kube::Client;
use kube::client::Body;
use tokio::sync::watch;

/// A client for one watch, and how often the API server has begun to answer that.
pub(super) fn noticing(client: Client) -> (Client, watch::Receiver<u64>) {
    let (answered, receiver) = watch::channel(0_u64);
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, answered) = (client.clone(), answered.clone());
        async move {
            let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
            let answer = client.send(request).await?;
            if watches && answer.status().is_success() {
                answered.send_modify(|times| *times += 1);
            }
            Ok::<_, kube::Error>(answer)
        }
    });
    (Client::new(service, namespace), receiver)
}
