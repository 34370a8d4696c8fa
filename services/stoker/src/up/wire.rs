//! gRPC within one process: the services speak to each other as they do over a network, through memory.

use std::future::Future;
use std::io;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use stoker_core::CoreServices;
use stoker_link::{Answering, CallStats, Channel};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Endpoint, Server, Uri};

/// Bytes on their way in one direction.
const PIPE: usize = 1024 * 1024;
/// What may be sent without an answer of HTTP/2: batches of readings are large.
const WINDOW: u32 = 8 * 1024 * 1024;

/// The server's side.
pub(super) struct Listener(mpsc::Receiver<DuplexStream>);

/// The clients' side.
#[derive(Clone)]
pub(super) struct Connector {
    pipes: mpsc::Sender<DuplexStream>,
    stats: Arc<CallStats>,
}

/// A network of one process.
pub(super) fn network() -> (Connector, Listener) {
    let (connector, listener) = mpsc::channel(16);
    (Connector { pipes: connector, stats: Arc::default() }, Listener(listener))
}

impl Connector {
    /// What calls cost, on both sides.
    pub(super) fn stats(&self) -> &Arc<CallStats> {
        &self.stats
    }

    /// A channel to core. Each is a connection of its own: lanes do not share one.
    pub(super) fn channel(&self) -> Channel {
        let pipes = self.pipes.clone();
        let connect = tower::service_fn(move |_: Uri| {
            let pipes = pipes.clone();
            async move {
                let (client, server) = tokio::io::duplex(PIPE);
                let closed = || io::Error::new(io::ErrorKind::ConnectionRefused, "core has ended");
                pipes.send(server).await.map_err(|_| closed())?;
                Ok::<_, io::Error>(TokioIo::new(client))
            }
        });
        // The address is a name only: nothing is looked up.
        let endpoint = Endpoint::from_static("http://core.in-process")
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW);
        Channel::new(endpoint.connect_with_connector_lazy(connect), self.stats.clone())
    }
}

/// Serves core's services until shutdown.
pub(super) fn serve(
    listener: Listener,
    services: CoreServices,
    stats: Arc<CallStats>,
    shutdown: CancellationToken,
) -> impl Future<Output = Result<(), tonic::transport::Error>> {
    let CoreServices { gateway, portal, notifier, peer, member } = services;
    let incoming = ReceiverStream::new(listener.0).map(Ok::<_, io::Error>);
    Server::builder()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .layer(Answering::new(stats))
        .add_service(gateway)
        .add_service(portal)
        .add_service(notifier)
        .add_service(peer)
        .add_service(member)
        .serve_with_incoming_shutdown(incoming, async move { shutdown.cancelled().await })
}
