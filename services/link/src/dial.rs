//! Connections to cores.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::{Endpoint, Uri};
use tonic::{Code, Status};

use crate::owner::Owners;
use crate::{CallStats, Channel, Cores, WINDOW};

/// A connection is there within this time, or it is tried elsewhere.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// Where a connection is refused this soon, another one may stand a moment later.
const AT_ONCE: Duration = Duration::from_millis(200);
/// Where none came about after longer than that, none is tried for so long.
const SILENT: Duration = Duration::from_secs(2);
/// A core that does not answer a ping of HTTP/2 has lost its power, or was stopped: its connection ends, so that others
/// are asked.
const PING_EVERY: Duration = Duration::from_secs(2);
const PONG_WITHIN: Duration = Duration::from_secs(4);

/// Bytes both ways.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// A connection that is being made.
pub type Dialed = Pin<Box<dyn Future<Output = io::Result<Box<dyn Wire>>> + Send>>;

/// Makes a connection to an address, `host:port`.
pub type Dial = Arc<dyn Fn(String) -> Dialed + Send + Sync>;

pub(crate) async fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// By TCP.
#[must_use]
pub fn tcp() -> Dial {
    Arc::new(|address| Box::pin(async move { Ok(Box::new(connect(&address).await?) as Box<dyn Wire>) }))
}

/// Nobody was reached: whatever was to be sent has not left this process.
#[derive(Debug, thiserror::Error)]
pub struct NoConnection(#[source] pub(crate) io::Error);

impl NoConnection {
    const WORDS: &str = "no connection to a core";

    /// True when a call ended by this. Of an error on the way nothing but its text comes through a channel.
    pub(crate) fn is_in(status: &Status) -> bool {
        status.code() == Code::Unavailable
            && status.details().is_empty()
            && status.message().starts_with(Self::WORDS)
    }
}

impl fmt::Display for NoConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", Self::WORDS, self.0)
    }
}

/// Makes channels to cores. A channel connects when it is first used, and again whenever it has to.
#[derive(Clone)]
pub struct Link {
    dial: Dial,
    stats: Arc<CallStats>,
}

pub(crate) async fn dial(dial: Dial, address: String) -> io::Result<Box<dyn Wire>> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{address}: {error}"));
    match timeout(CONNECT_WITHIN, dial(address.clone())).await {
        Ok(dialed) => dialed.map_err(named),
        Err(_) => Err(named(io::ErrorKind::TimedOut.into())),
    }
}

/// A connection that breaks when its core is to be left.
pub(crate) struct Leaving {
    wire: Box<dyn Wire>,
    left: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Leaving {
    pub(crate) fn new(wire: Box<dyn Wire>, left: CancellationToken) -> Self {
        Self { wire, left: Box::pin(left.cancelled_owned()) }
    }
}

impl AsyncRead for Leaving {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::Error::other("this core is of no use at the moment")));
        }
        Pin::new(&mut self.wire).poll_read(context, buffer)
    }
}

impl AsyncWrite for Leaving {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(context)
    }
}

pub(crate) fn endpoint() -> Endpoint {
    // The address is a name only: who is dialled is said by the connector.
    Endpoint::from_static("http://core.stoker")
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN)
        .keep_alive_while_idle(true)
}

impl Link {
    /// Connections are made by `dial`.
    #[must_use]
    pub fn new(dial: Dial) -> Self {
        Self { dial, stats: Arc::default() }
    }

    /// What its calls cost.
    #[must_use]
    pub fn stats(&self) -> &Arc<CallStats> {
        &self.stats
    }

    /// A channel to the core at this address. When nobody says no, and nobody lets in, those that wait behind the first do not
    /// try it once more, one after the other.
    #[must_use]
    pub fn to(&self, address: &str) -> Channel {
        let (link, address) = (self.dial.clone(), address.to_owned());
        let silent_until = Arc::<Mutex<Option<Instant>>>::default();
        let connect = tower::service_fn(move |_: Uri| {
            let (link, address, silent_until) = (link.clone(), address.clone(), silent_until.clone());
            async move {
                let began = Instant::now();
                if silent_until.lock().is_some_and(|until| began < until) {
                    return Err(NoConnection(io::Error::other(format!(
                        "{address} was not reached just now"
                    ))));
                }
                dial(link, address).await.map(TokioIo::new).map_err(|error| {
                    if began.elapsed() > AT_ONCE {
                        *silent_until.lock() = Some(Instant::now() + SILENT);
                    }
                    NoConnection(error)
                })
            }
        });
        Channel::new(endpoint().connect_with_connector_lazy(connect), self.stats.clone())
    }

    /// A channel to any of these cores: whenever it has to connect, to the next one that can be reached. What was made
    /// by [`to_owner`](crate::to_owner) goes straight to the owner of its slot, where the cores have said who that is.
    #[must_use]
    pub fn to_any(&self, cores: &Cores) -> Channel {
        let owners = Owners::new(self.dial.clone(), cores.clone());
        let (link, cores) = (self.dial.clone(), cores.clone());
        let connect = tower::service_fn(move |_: Uri| {
            let (link, cores) = (link.clone(), cores.clone());
            async move {
                let mut last = io::Error::other("no core is known");
                for address in cores.in_order() {
                    match dial(link.clone(), address.clone()).await {
                        Ok(wire) => return Ok(TokioIo::new(Leaving::new(wire, cores.left(&address)))),
                        Err(error) => {
                            cores.shun(&address);
                            last = error;
                        }
                    }
                }
                Err(NoConnection(last))
            }
        });
        Channel::new(endpoint().connect_with_connector_lazy(connect), self.stats.clone()).with_owners(owners)
    }
}
