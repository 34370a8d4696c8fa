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
/// its thread would wait on it. Whatever becomes of this, the connection ends with it.
struct Lifeline(TcpStream);

impl Lifeline {
    fn cut(&self) {
        // It may have been cut already.
        drop(self.0.shutdown(Shutdown::Both));
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        self.cut();
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

/// Makes connections to one broker.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    config: Arc<RabbitConfig>,
    uri: AMQPUri,
    tls: Option<RustlsConnector>,
}

impl Connector {
    pub(super) fn new(config: Arc<RabbitConfig>) -> Result<Self, RabbitError> {
        let tls = match (config.url.is_tls(), &config.tls) {
            (false, _) => None,
            (true, Some(tls)) => Some(RustlsConnector::from(Arc::clone(tls))),
            (true, None) => return Err(RabbitError::Untrusting(config.url.clone())),
        };
        Ok(Self { uri: config.url.to_uri(&config.limits), tls, config })
    }

    /// One try. `role` stands in the broker's list of connections.
    pub(super) async fn open(&self, role: &str) -> Result<Link, RabbitError> {
        let within = self.config.limits.connect_within;
        // Boxed: it is large, and stays in its callers' futures.
        match timeout(within, Box::pin(self.try_to_open(role))).await {
            Ok(opened) => opened,
            Err(_) => Err(self.unreachable(format!("no welcome within {within:?}"))),
        }
    }

    fn unreachable(&self, reason: impl fmt::Display) -> RabbitError {
        RabbitError::Unreachable { broker: self.config.url.clone(), reason: reason.to_string() }
    }

    /// A handshake that failed: over the certificate, which no trying again mends, or over the network.
    fn stranger(&self, error: std::io::Error) -> RabbitError {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(_)) => {
                RabbitError::Stranger { broker: self.config.url.clone(), reason: error.to_string() }
            }
            _ => self.unreachable(error),
        }
    }

    async fn try_to_open(&self, role: &str) -> Result<Link, RabbitError> {
        let runtime = lapin::runtime::default_runtime().map_err(|error| self.unreachable(error))?;
        let host = self.config.url.host();
        let address = (host, self.uri.authority.port);
        let found = tokio::net::lookup_host(address).await.map_err(|error| self.unreachable(error))?;
        let found: Vec<_> = found.collect();
        let stream =
            AsyncTcpStream::connect(&runtime, found).await.map_err(|error| self.unreachable(error))?;
        let socket = match &stream {
            AsyncTcpStream::Plain(plain) => second_handle(plain.get_ref()),
            _ => Err(std::io::Error::other("it is no plain connection")),
        };
        let lifeline = Lifeline(socket.map_err(|error| self.unreachable(error))?);
        let stream = match &self.tls {
            None => stream,
            Some(tls) => stream.into_rustls(tls, host).await.map_err(|error| self.stranger(error))?,
        };
        // A connection is given to the library, never made by it: where it fails to make one, a task of its stays for
        // ever. It asks once.
        let ready = Mutex::new(Some(stream));
        let connect = async move |_, _| {
            let ready = ready.lock().take();
            ready.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected).into())
        };
        let name = format!("{} ({role})", self.config.name);
        let properties = ConnectionProperties::default().with_connection_name(name.as_str().into());
        match Connection::connector(self.uri.clone(), runtime, connect, properties).await {
            Ok(connection) => Ok(Link {
                connection,
                lifeline,
                lost: CancellationToken::new(),
                why: Mutex::default(),
                answer_within: self.config.limits.answer_within,
            }),
            Err(error) => Err(match error.kind() {
                ErrorKind::ProtocolError(said) if REFUSALS.contains(&said.get_id()) => RabbitError::Refused {
                    broker: self.config.url.clone(),
                    said: said.get_message().to_string(),
                },
                _ => self.unreachable(error),
            }),
        }
    }
}

fn second_handle(socket: &tokio::net::TcpStream) -> std::io::Result<TcpStream> {
    // What is written belongs on its way: a publisher waits for its confirmation.
    socket.set_nodelay(true)?;
    Ok(TcpStream::from(socket.as_fd().try_clone_to_owned()?))
}
