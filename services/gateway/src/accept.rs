//! Taking connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use stoker_domain::model::Millis;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::Listener;
use crate::connection::{Connection, Peer};
use crate::proxy::{self, Balancers, ProxyError};
use crate::shared::Shared;
use crate::stats;
use crate::tls::TlsConfig;
use crate::transport::{Door, Stream, Transport};
use crate::upgrade::{UpgradeError, upgrade};

/// A TLS handshake that takes longer is ended.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// Takes connections until shutdown.
pub(crate) async fn run(
    shared: Arc<Shared>,
    listener: Listener,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let door = listener.door;
    loop {
        let taken = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            taken = listener.tcp.accept() => taken,
        };
        match taken {
            Ok((stream, address)) => take(&shared, stream, address, &listener, &shutdown),
            // A peer that went before it was taken is its own affair; running out of files is ours, and passes.
            Err(error) => {
                tracing::warn!(transport = door.as_str(), %error, "a connection could not be taken");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn take(
    shared: &Arc<Shared>,
    stream: TcpStream,
    address: SocketAddr,
    listener: &Listener,
    shutdown: &CancellationToken,
) {
    let door = listener.door;
    if shared.stats.connections.load(Ordering::Relaxed)
        >= u64::try_from(shared.max_connections).unwrap_or(u64::MAX)
    {
        stats::up(&shared.stats.connections_refused);
        return;
    }
    shared.stats.opened(door);
    // Small packets both ways: waiting to fill one costs 40 ms.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%address, %error, "no TCP_NODELAY");
    }
    // A device without a keep-alive of its own that has lost its power says nothing, not even that it is gone.
    if let Err(error) = SockRef::from(&stream).set_tcp_keepalive(&keep_alive()) {
        tracing::debug!(%address, %error, "no TCP keep-alive");
    }
    let connection = shared.clone();
    let balancers = listener.balancers.as_ref().filter(|balancers| balancers.has(address));
    if door == Door::Mqtt && balancers.is_none() {
        let transport = Transport::Plain(Stream::Tcp(stream));
        let peer = Peer { address, door, certificate: None };
        shared.connections.spawn(Connection::new(connection, transport, peer, shared.now()).serve());
    } else {
        let (tls, balancers) = (listener.tls.clone(), balancers.cloned());
        let begun = Begun { stream, address, door, balancers, tls };
        shared.connections.spawn(enter(connection, begun, shutdown.clone()));
    }
}

/// Asked after a minute of silence, and four times more every 15 s: two minutes in all.
fn keep_alive() -> TcpKeepalive {
    let (idle, interval) = (Duration::from_secs(60), Duration::from_secs(15));
    TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(4)
}

/// A connection that does not begin with MQTT.
struct Begun {
    stream: TcpStream,
    address: SocketAddr,
    door: Door,
    /// It is of one of these.
    balancers: Option<Balancers>,
    tls: Option<TlsConfig>,
}

/// Why a connection came to nothing before a word of MQTT.
#[derive(Debug, thiserror::Error)]
enum HandshakeError {
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    #[error("the TLS handshake failed: {0}")]
    Tls(io::Error),
    #[error("the TLS handshake took too long")]
    TlsLate,
    #[error("no WebSocket: {0}")]
    Upgrade(#[from] UpgradeError),
    #[error("no WebSocket: the request took too long")]
    UpgradeLate,
}

/// What a connection is once its handshakes are over, whose it is, and since when its CONNECT is waited for.
type Entered = (Transport, Peer, Millis);

/// Takes a connection that does not begin with MQTT.
async fn enter(shared: Arc<Shared>, begun: Begun, shutdown: CancellationToken) {
    let (address, door) = (begun.address, begun.door);
    // On the heap, and gone afterwards: handshakes need much more than what follows.
    let handshakes = Box::pin(handshakes(&shared, begun));
    let ended = tokio::select! {
        ended = handshakes => ended,
        () = shutdown.cancelled() => return shared.stats.closed(door),
    };
    let (transport, peer, since) = match ended {
        Ok(entered) => entered,
        Err(error) => {
            tracing::debug!(%address, transport = door.as_str(), %error, "a handshake failed");
            match error {
                HandshakeError::Proxy(ProxyError::Unused) => {}
                HandshakeError::Proxy(_) => stats::up(&shared.stats.proxy_headers_refused),
                _ => stats::up(&shared.stats.handshakes_failed),
            }
            return shared.stats.closed(door);
        }
    };
    Box::pin(Connection::new(shared, transport, peer, since).serve()).await;
}

async fn handshakes(shared: &Shared, begun: Begun) -> Result<Entered, HandshakeError> {
    let Begun { mut stream, address, door, balancers, tls } = begun;
    let address = match balancers {
        None => address,
        Some(balancers) => match proxy::read(&mut stream).await {
            Ok(device) => device.unwrap_or(address),
            Err(error) => {
                balancers.complain(address, &error);
                return Err(error.into());
            }
        },
    };
    let (stream, certificate) = match tls {
        None => (Stream::Tcp(stream), None),
        Some(tls) => {
            let accepted = async { tls.acceptor().await.accept(stream).await };
            let stream = match timeout(HANDSHAKE_WITHIN, accepted).await {
                Ok(stream) => stream.map_err(HandshakeError::Tls)?,
                Err(_) => return Err(HandshakeError::TlsLate),
            };
            let certificates = stream.get_ref().1.peer_certificates();
            let certificate =
                certificates.and_then(<[_]>::first).and_then(|certificate| tls.device(certificate));
            (Stream::Tls(Box::new(stream)), certificate)
        }
    };
    let peer = Peer { address, door, certificate: certificate.map(Box::new) };
    let since = shared.now();
    if !door.is_websocket() {
        return Ok((Transport::Plain(stream), peer, since));
    }
    // The request and CONNECT have one deadline together, and before CONNECT nobody makes us keep more than it needs.
    let within = Duration::from_millis(shared.limits.connect_timeout_ms);
    match timeout(within, upgrade(stream, shared.limits.max_connect_packet)).await {
        Ok(socket) => Ok((Transport::WebSocket(Box::new(socket?)), peer, since)),
        Err(_) => Err(HandshakeError::UpgradeLate),
    }
}
