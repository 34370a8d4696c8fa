//! Connections: how many, how slow, and how they end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use stoker_link::ServerTls;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{PortalError, PortalLimits};

/// How long a request's head may take, and so how long a connection may idle between two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// A TLS handshake that takes longer is ended.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Browsers send about 15 headers, gateways in front of us some more.
const MAX_HEADERS: usize = 100;
/// A head of more than that is refused with 431.
const MAX_HEAD: usize = 64 * 1024;
/// Said on a connection too many, before a single byte of it is read.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
retry-after: 1\r\nconnection: close\r\ncontent-length: 148\r\n\r\n\
{\"type\":\"urn:stoker:problem:overloaded\",\"title\":\"More requests than can be served\",\
\"status\":503,\"detail\":\"too many connections are open; try again\"}";

pub(crate) async fn serve(
    router: Router,
    listener: TcpListener,
    tls: Option<ServerTls>,
    limits: PortalLimits,
    shutdown: CancellationToken,
) -> Result<(), PortalError> {
    let room = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    let accepted = loop {
        tokio::select! {
            () = shutdown.cancelled() => break Ok(()),
            Some(ended) = connections.join_next() => note(ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let Ok(permit) = room.clone().try_acquire_owned() else {
                        // By TLS nothing can be said without a handshake.
                        if tls.is_none() {
                            refuse(&stream);
                        }
                        continue;
                    };
                    let connection = connection(router.clone(), stream, tls.clone(), shutdown.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
                Err(error) if is_temporary(&error) => {
                    tracing::warn!(%error, "failed to accept a connection");
                    // Out of files: connections that end make room, and asking again at once would only burn time.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(error) => break Err(PortalError::Accept(error)),
            },
        }
    };
    drop(listener);
    // When the listener failed nobody has told the connections yet.
    shutdown.cancel();
    let drained = tokio::time::timeout(limits.drain, async {
        while let Some(ended) = connections.join_next().await {
            note(ended);
        }
    });
    if drained.await.is_err() {
        tracing::warn!(open = connections.len(), "closing connections whose requests did not end in time");
        connections.shutdown().await;
    }
    accepted
}

fn note(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task failed");
    }
}

/// Whether accepting may work again later.
fn is_temporary(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotConnected)
}

fn refuse(stream: &TcpStream) {
    // The buffer of a fresh connection is empty, so this never waits; whoever is gone already needs no answer.
    if let Err(error) = stream.try_write(FULL) {
        tracing::debug!(%error, "a connection too many was gone before it was told so");
    }
}

async fn connection(router: Router, stream: TcpStream, tls: Option<ServerTls>, shutdown: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection was gone before it was served");
        return;
    }
    let Some(tls) = tls else { return requests(router, stream, shutdown).await };
    let accepting = async { tls.acceptor().await.accept(stream).await };
    // On the heap, and gone afterwards: a handshake needs much more than what follows.
    let accepting = Box::pin(tokio::time::timeout(HANDSHAKE_TIMEOUT, accepting));
    let accepted = tokio::select! {
        accepted = accepting => accepted,
        () = shutdown.cancelled() => return,
    };
    match accepted {
        Ok(Ok(stream)) => requests(router, stream, shutdown).await,
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

/// Serves one connection.
async fn requests(
    router: Router,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    shutdown: CancellationToken,
) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD);
    let connection =
        builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Clients come and go as they like; only who looks for it wants to know.
        tracing::debug!(%error, "a connection ended with an error");
    }
}

#[cfg(test)]
mod tests {
    use super::FULL;

    #[test]
    fn the_refusal_of_a_connection_announces_its_length() {
        let text = std::str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}
