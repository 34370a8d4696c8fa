//! Taking connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::Listener;
use crate::connection::{Connection, Peer};
use crate::shared::Shared;
use crate::stats;
use crate::tls::{self, TlsConfig};
use crate::transport::Transport;

/// A TLS handshake that takes longer is ended.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// Takes connections until shutdown.
pub(crate) async fn run(
    shared: Arc<Shared>,
    listener: Listener,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let (listener, tls) = match listener {
        Listener::Mqtt(listener) => (listener, None),
        Listener::Mqtts(listener, tls) => (listener, Some(tls)),
    };
    loop {
        let taken = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            taken = listener.accept() => taken,
        };
        match taken {
            Ok((stream, address)) => take(&shared, stream, address, tls.clone(), &shutdown),
            // A peer that went before it was taken is its own affair; running out of files is ours, and passes.
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn take(
    shared: &Arc<Shared>,
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<TlsConfig>,
    shutdown: &CancellationToken,
) {
    if shared.stats.connections.load(Ordering::Relaxed)
        >= u64::try_from(shared.max_connections).unwrap_or(u64::MAX)
    {
        stats::up(&shared.stats.connections_refused);
        return;
    }
    stats::up(&shared.stats.connections);
    stats::up(&shared.stats.connections_taken);
    // Small packets both ways: waiting to fill one costs 40 ms.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%address, %error, "no TCP_NODELAY");
    }
    // A device without a keep-alive of its own that has lost its power says nothing, not even that it is gone.
    if let Err(error) = SockRef::from(&stream).set_tcp_keepalive(&keep_alive()) {
        tracing::debug!(%address, %error, "no TCP keep-alive");
    }
    let connection = shared.clone();
    match tls {
        None => {
            let serve = Connection::new(connection, Transport::Tcp(stream), Peer::plain(address)).serve();
            shared.connections.spawn(serve);
        }
        Some(tls) => {
            shared.connections.spawn(secure(connection, stream, address, tls, shutdown.clone()));
        }
    }
}

/// Asked after a minute of silence, and four times more every 15 s: two minutes in all.
fn keep_alive() -> TcpKeepalive {
    let (idle, interval) = (Duration::from_secs(60), Duration::from_secs(15));
    TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(4)
}

async fn secure(
    shared: Arc<Shared>,
    stream: TcpStream,
    address: SocketAddr,
    tls: TlsConfig,
    shutdown: CancellationToken,
) {
    // On the heap, and gone afterwards: a handshake needs much more than what follows.
    let handshake = Box::pin(tokio::time::timeout(HANDSHAKE_WITHIN, tls.acceptor.accept(stream)));
    let ended = tokio::select! {
        ended = handshake => ended,
        () = shutdown.cancelled() => return stats::down(&shared.stats.connections),
    };
    let stream = match ended {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%address, %error, "a TLS handshake failed");
            return stats::down(&shared.stats.connections);
        }
        Err(_) => {
            tracing::debug!(%address, "a TLS handshake took too long");
            return stats::down(&shared.stats.connections);
        }
    };
    let certificates = stream.get_ref().1.peer_certificates();
    let device = certificates.and_then(|chain| chain.first()).and_then(tls::common_name);
    let certificate =
        tls.organization.zip(device).map(|(organization, device)| (organization.to_string(), device));
    let peer = Peer::secure(address, certificate);
    Box::pin(Connection::new(shared, Transport::Tls(Box::new(stream)), peer).serve()).await;
}
