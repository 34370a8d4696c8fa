//! One connection to the broker: made, watched, cut, made again.
//!
//! The client library can recover by itself; this does not use it. Its recovery replays what it knows of a channel on
//! the io thread, without a deadline, and leaves open which messages were lost on the way. Here a connection that
//! fails in any way is ended for sure, and everybody who used it begins anew with the next one.

use std::fmt;
use std::future::Future;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::tcp::{AsyncTcpStream, RustlsConnector};
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind, Event};
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::config::RabbitConfig;
use super::error::RabbitError;

/// The broker's codes for a user or a virtual host that it does not let in.
const REFUSALS: [u16; 3] = [402, 403, 530];
/// How often a connection is looked at that has not said anything of itself.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A second handle on a connection's socket. The library offers no way to end a connection that answers no more, and
/// its thread would wait on it.
#[derive(Clone, Default)]
struct Lifeline(Arc<Mutex<(bool, Option<TcpStream>)>>);

impl Lifeline {
    fn hold(&self, socket: TcpStream) {
        let mut inner = self.0.lock();
        if inner.0 {
            // Given up meanwhile.
            drop(socket.shutdown(Shutdown::Both));
        } else {
            inner.1 = Some(socket);
        }
    }

    fn cut(&self) {
        let mut inner = self.0.lock();
        inner.0 = true;
        if let Some(socket) = inner.1.take() {
            drop(socket.shutdown(Shutdown::Both));
        }
    }
}

/// A connection that works, as far as is known.
pub(super) struct Link {
    connection: Connection,
    lifeline: Lifeline,
    lost: CancellationToken,
    why: Mutex<Option<String>>,
    answer_within: Duration,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("lost", &self.lost.is_cancelled()).finish_non_exhaustive()
    }
}

impl Link {
    /// Cancelled when it is over.
    pub(super) fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Why it is over.
    pub(super) fn why(&self) -> String {
        self.why.lock().clone().unwrap_or_else(|| "the connection to the broker was lost".into())
    }

    /// The broker takes no more from publishers: it is short of memory or disk.
    pub(super) fn blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// Ends it, whatever state it is in. The first reason stays.
    pub(super) fn cut(&self, why: impl Into<String>) {
        self.why.lock().get_or_insert_with(|| why.into());
        self.lifeline.cut();
        self.lost.cancel();
    }

    /// A channel of its own.
    pub(super) async fn channel(&self) -> Result<Channel, RabbitError> {
        self.ask("open a channel", self.connection.create_channel()).await
    }

    /// Asks the broker something, with a deadline. While it has blocked us nothing reaches it, and it is not held to
    /// that: to connect anew would change nothing, and lose what is under way.
    pub(super) async fn ask<T>(
        &self,
        doing: &str,
        asked: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, RabbitError> {
        let mut asked = std::pin::pin!(asked);
        let mut left = self.answer_within;
        loop {
            let step = left.min(LOOK_EVERY);
            tokio::select! {
                biased;
                answer = &mut asked => {
                    return answer.map_err(|source| RabbitError::Broker { doing: doing.into(), source });
                }
                () = self.lost.cancelled() => return Err(RabbitError::NoLink),
                () = sleep(step) => if !self.blocked() {
                    left -= step;
                },
            }
            if left.is_zero() {
                let within = self.answer_within;
                self.cut(format!("the broker did not answer within {within:?}"));
                return Err(RabbitError::NoAnswer { doing: doing.into(), within });
            }
        }
    }

    /// Returns when it is over.
    pub(super) async fn watch(&self) {
        let mut events = std::pin::pin!(self.connection.events_listener());
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            let event = tokio::select! {
                biased;
                () = self.lost.cancelled() => return,
                event = events.next() => event,
                _ = look.tick() => None,
            };
            match event {
                Some(Event::ConnectionBlocked(reason)) => {
                    tracing::warn!(reason, "the broker takes nothing from publishers");
                }
                Some(Event::ConnectionUnblocked) => tracing::info!("the broker takes from publishers again"),
                Some(Event::Error(error)) if !self.connection.status().connected() => {
                    self.cut(error.to_string());
                }
                _ if !self.connection.status().connected() => self.cut("the broker closed the connection"),
                _ => {}
            }
        }
    }

    /// Says goodbye, so that the broker need not find out.
    pub(super) async fn close(&self) {
        let goodbye = self.ask("close the connection", self.connection.close(200, "bye".into()));
        let _gone_already = timeout(self.answer_within, goodbye).await;
        self.cut("the bus is closed");
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.lifeline.cut();
    }
}

/// Makes connections to one broker.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    config: Arc<RabbitConfig>,
    uri: AMQPUri,
    tls: Option<RustlsConnector>,
}

impl Connector {
    pub(super) fn new(config: Arc<RabbitConfig>) -> Result<Self, RabbitError> {
        let tls = if config.url.is_tls() { Some(config.tls.connector()?) } else { None };
        Ok(Self { uri: config.url.to_uri(&config.limits), tls, config })
    }

    /// One try. `role` stands in the broker's list of connections.
    pub(super) async fn open(&self, role: &str) -> Result<Link, RabbitError> {
        let limits = &self.config.limits;
        let lifeline = Lifeline::default();
        let broker = || self.config.url.clone();
        let runtime = lapin::runtime::default_runtime()
            .map_err(|error| RabbitError::Unreachable { broker: broker(), reason: error.to_string() })?;
        let connect = {
            let (lifeline, tls, within) = (lifeline.clone(), self.tls.clone(), limits.connect_within);
            let (host, runtime) = (self.config.url.host().to_owned(), runtime.clone());
            async move |uri: AMQPUri, _| {
                // On the library's own thread, which must come to an end when nobody waits for it any more.
                let tcp = timeout(within, tokio::net::lookup_host((host.as_str(), uri.authority.port)));
                let found: Vec<_> = tcp.await.map_err(std::io::Error::from)??.collect();
                let stream = timeout(within, AsyncTcpStream::connect(&runtime, found));
                let stream = stream.await.map_err(std::io::Error::from)??;
                if let AsyncTcpStream::Plain(plain) = &stream {
                    let socket = plain.get_ref();
                    // What is written belongs on its way: a publisher waits for its confirmation.
                    socket.set_nodelay(true)?;
                    lifeline.hold(TcpStream::from(socket.as_fd().try_clone_to_owned()?));
                }
                match &tls {
                    None => Ok(stream),
                    Some(tls) => {
                        let handshake = timeout(within, stream.into_rustls(tls, &host));
                        Ok(handshake.await.map_err(std::io::Error::from)??)
                    }
                }
            }
        };
        let name = format!("{} ({role})", self.config.name);
        let properties = ConnectionProperties::default().with_connection_name(name.as_str().into());
        let connecting = Box::pin(Connection::connector(self.uri.clone(), runtime, connect, properties));
        let reason = match timeout(limits.connect_within, connecting).await {
            Ok(Ok(connection)) => {
                let (lost, why, answer_within) =
                    (CancellationToken::new(), Mutex::default(), limits.answer_within);
                return Ok(Link { connection, lifeline, lost, why, answer_within });
            }
            Ok(Err(error)) => match error.kind() {
                ErrorKind::ProtocolError(said) if REFUSALS.contains(&said.get_id()) => {
                    let said = said.get_message().to_string();
                    return Err(RabbitError::Refused { broker: broker(), said });
                }
                _ => error.to_string(),
            },
            Err(_) => format!("no welcome within {:?}", limits.connect_within),
        };
        lifeline.cut();
        Err(RabbitError::Unreachable { broker: broker(), reason })
    }
}
