//! Connections that come to a core.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tonic::transport::server::Connected;

use crate::{Caller, Tls, Wire};

/// Handshakes at the same time. One takes milliseconds, so that with so many the oldest is of somebody who does not
/// speak: it makes room.
pub(crate) const HANDSHAKES_MOST: usize = 128;
/// Who calls gives up after two seconds.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(4);
/// Without file descriptors, say, nobody can be taken in: others have to leave first.
const PAUSE: Duration = Duration::from_millis(50);
/// Whoever comes again and again in vain shall not fill the log.
const COMPLAIN_EVERY: Duration = Duration::from_secs(1);

/// A connection to a core.
pub struct Accepted {
    wire: Box<dyn Wire>,
    caller: Caller,
}

impl Accepted {
    /// A connection of somebody who is known.
    #[must_use]
    pub fn new(wire: Box<dyn Wire>, caller: Caller) -> Self {
        Self { wire, caller }
    }
}

/// Each request has its [`Caller`] among its extensions.
impl Connected for Accepted {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller
    }
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_read(cx, buf)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}

/// All connections that come to a port, each once it is known who calls. It never ends.
pub struct Incoming {
    listener: TcpListener,
    tls: Option<Tls>,
    handshakes: JoinSet<io::Result<Accepted>>,
    /// Those that may still be under way, the oldest first.
    oldest: VecDeque<AbortHandle>,
    pub(crate) within: Duration,
    pause: Option<Pin<Box<Sleep>>>,
    complained: Option<Instant>,
}

impl Incoming {
    /// With TLS only whoever shows a certificate is let in, without it anybody.
    #[must_use]
    pub fn new(listener: TcpListener, tls: Option<Tls>) -> Self {
        let (handshakes, oldest) = (JoinSet::new(), VecDeque::new());
        let within = HANDSHAKE_WITHIN;
        Self { listener, tls, handshakes, oldest, within, pause: None, complained: None }
    }

    fn begin(&mut self, tls: &Tls, stream: TcpStream) {
        self.oldest.retain(|handshake| !handshake.is_finished());
        if self.oldest.len() >= HANDSHAKES_MOST
            && let Some(oldest) = self.oldest.pop_front()
        {
            oldest.abort();
        }
        let peer = stream.peer_addr();
        let handshake = timeout(self.within, tls.accept(stream));
        self.oldest.push_back(self.handshakes.spawn(async move {
            let why = match handshake.await {
                Ok(Ok((wire, caller))) => return Ok(Accepted::new(wire, caller)),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it did not finish its handshake in time".to_owned(),
            };
            let who = peer.map_or_else(|_| "somebody".to_owned(), |peer| peer.to_string());
            Err(io::Error::other(format!("{who} was not let in: {why}")))
        }));
    }

    fn complain(&mut self, why: &str) {
        if self.complained.is_none_or(|last| last.elapsed() >= COMPLAIN_EVERY) {
            self.complained = Some(Instant::now());
            tracing::warn!("{why}");
        } else {
            tracing::debug!("{why}");
        }
    }
}

impl Stream for Incoming {
    type Item = io::Result<Accepted>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            while let Poll::Ready(Some(over)) = this.handshakes.poll_join_next(cx) {
                match over {
                    Ok(Ok(accepted)) => return Poll::Ready(Some(Ok(accepted))),
                    Ok(Err(error)) => this.complain(&error.to_string()),
                    Err(_) => this.complain("somebody who said nothing was sent away for others"),
                }
            }
            if let Some(pause) = &mut this.pause {
                ready!(pause.as_mut().poll(cx));
                this.pause = None;
            }
            match ready!(this.listener.poll_accept(cx)) {
                Ok((stream, _)) => {
                    // Not worth a connection.
                    drop(stream.set_nodelay(true));
                    match this.tls.clone() {
                        None => {
                            let accepted = Accepted::new(Box::new(stream), Caller::Anybody);
                            return Poll::Ready(Some(Ok(accepted)));
                        }
                        Some(tls) => this.begin(&tls, stream),
                    }
                }
                Err(error) => {
                    this.complain(&format!("a connection could not be taken: {error}"));
                    this.pause = Some(Box::pin(sleep(PAUSE)));
                }
            }
        }
    }
}
