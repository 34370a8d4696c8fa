//! MQTT in the binary messages of a WebSocket (MQTT 5, section 6): where messages and packets end has nothing to do with
//! each other, so this is a stream of bytes like any other.
//!
//! The codec is tungstenite's; the bytes go in and out by hand, so that a connection that waits holds no buffer for
//! them, and one waker is enough.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error, Message};

use crate::transport::Stream;

#[cfg(test)]
mod client;
#[cfg(test)]
mod tests;

/// Bytes that are read at once, into a buffer of the thread.
const READ: usize = 16 * 1024;
/// The largest frame sent. What is larger goes in several messages; a command fits into one.
const FRAME_MOST: usize = 64 * 1024;
/// Room for pongs beside a frame that the peer has not taken yet. What does not fit replaces the pong that waits, as the
/// RFC allows (5.5.3).
const PONGS_MOST: usize = 4 * 1024;
/// What the codec may keep for its next message: most are smaller.
const KEPT: usize = 256;
/// The least that a frame of a client has beside its payload: two bytes and the mask.
const HEADER: usize = 6;

thread_local! {
    static RAW: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// Why nothing more comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The peer has closed it.
    Closed,
    /// The peer did what it may not, and is told so.
    Broken(CloseCode),
}

/// How the bytes have gone.
#[derive(Debug, Default)]
struct Flow {
    /// Bytes given to the codec, less those of the messages that came out of it. Zero: it holds nothing of the peer's.
    held: usize,
    /// The stream takes no more at the moment, and the codec has bytes for it.
    blocked: bool,
    /// The stream has taken bytes.
    moved: bool,
}

/// What the codec reads from and writes to.
struct Pipe<'a, 'b, 'c> {
    stream: &'a mut Stream,
    flow: &'a mut Flow,
    context: &'a mut Context<'c>,
    rest: &'a mut &'b [u8],
}

fn now_or_later<T>(flow: &mut Flow, poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => {
            flow.blocked = true;
            Err(ErrorKind::WouldBlock.into())
        }
    }
}

impl Read for Pipe<'_, '_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let read = self.rest.read(buffer)?;
        self.flow.held += read;
        Ok(read)
    }
}

impl Write for Pipe<'_, '_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = Pin::new(&mut *self.stream).poll_write(self.context, bytes);
        let written = now_or_later(self.flow, written)?;
        self.flow.moved |= written > 0;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = Pin::new(&mut *self.stream).poll_flush(self.context);
        now_or_later(self.flow, flushed)
    }
}

/// A WebSocket whose handshake is over.
pub(crate) struct WebSocket {
    stream: Stream,
    codec: WebSocketContext,
    flow: Flow,
    /// Read from the stream, and the codec has not had it.
    raw: Vec<u8>,
    /// Of a message, what the connection had no room for.
    payload: Bytes,
    end: Option<End>,
    /// A message was large, and the codec still has the memory for it.
    grown: bool,
    /// Our close frame is on its way.
    said_goodbye: bool,
    /// Our side of the stream is closed.
    shut: bool,
}

fn config(message_most: u32) -> WebSocketConfig {
    let most = usize::try_from(message_most).unwrap_or(usize::MAX);
    WebSocketConfig::default()
        .read_buffer_size(KEPT)
        // Written at once: several packets of one turn come in one piece already.
        .write_buffer_size(0)
        .max_write_buffer_size(FRAME_MOST + PONGS_MOST)
        .max_message_size(Some(most))
        .max_frame_size(Some(most))
}

fn is_blocked(error: &Error) -> bool {
    matches!(error, Error::Io(error) if error.kind() == ErrorKind::WouldBlock)
}

fn broken(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        error => io::Error::other(error),
    }
}

/// Why a message was not taken, in the words of a close frame.
fn verdict(error: &Error) -> End {
    match error {
        Error::Capacity(_) => End::Broken(CloseCode::Size),
        // A text: of no use here whatever is in it.
        Error::Utf8(_) => End::Broken(CloseCode::Unsupported),
        Error::Protocol(_) => End::Broken(CloseCode::Protocol),
        _ => End::Closed,
    }
}

impl WebSocket {
    /// On a stream whose handshake is over, with what was read behind it.
    pub(crate) fn new(stream: Stream, behind: &[u8], message_most: u32) -> Self {
        Self {
            stream,
            codec: WebSocketContext::new(Role::Server, Some(config(message_most))),
            flow: Flow::default(),
            raw: behind.to_vec(),
            payload: Bytes::new(),
            end: None,
            grown: false,
            said_goodbye: false,
            shut: false,
        }
    }

    /// From now on messages may have that size.
    pub(crate) fn take_messages_of(&mut self, message_most: u32) {
        self.codec.set_config(|now| *now = config(message_most));
    }

    pub(crate) fn is_behind(&self) -> bool {
        self.flow.blocked
    }

    pub(crate) fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.flow.moved)
    }

    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.end, Some(End::Broken(_)))
    }

    /// Reads what stands in the messages; nothing read is the end.
    pub(crate) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let kept = std::mem::take(&mut self.raw);
        // Also when nothing was kept: a pong may wait to be written.
        self.decode(context, &kept, out);
        while out.filled().is_empty() && self.end.is_none() {
            let read = RAW.with_borrow_mut(|raw| {
                let mut raw = ReadBuf::new(raw);
                ready!(Pin::new(&mut self.stream).poll_read(context, &mut raw))?;
                if raw.filled().is_empty() {
                    self.end = Some(End::Closed);
                } else {
                    self.decode(context, raw.filled(), out);
                }
                Poll::Ready(Ok::<(), io::Error>(()))
            });
            if read.is_pending() {
                self.shrink();
            }
            ready!(read)?;
        }
        match self.end {
            Some(End::Broken(code)) if out.filled().is_empty() => {
                Poll::Ready(Err(io::Error::new(ErrorKind::InvalidData, format!("close code {code}"))))
            }
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Takes messages out of the bytes while there is room for them; what is left is kept.
    fn decode(&mut self, context: &mut Context<'_>, bytes: &[u8], out: &mut ReadBuf<'_>) {
        let mut rest = bytes;
        loop {
            let part = self.payload.split_to(self.payload.len().min(out.remaining()));
            out.put_slice(&part);
            if self.end.is_some() || out.remaining() == 0 {
                break;
            }
            drop(part);
            self.payload = Bytes::new();
            let Self { stream, flow, .. } = self;
            let mut pipe = Pipe { stream, flow, context, rest: &mut rest };
            match self.codec.read(&mut pipe) {
                Ok(Message::Binary(payload)) => {
                    self.taken(&payload);
                    self.payload = payload;
                }
                Ok(Message::Ping(payload) | Message::Pong(payload)) => self.taken(&payload),
                Ok(Message::Text(_)) => self.end = Some(End::Broken(CloseCode::Unsupported)),
                Ok(Message::Close(_)) => self.end = Some(End::Closed),
                // Only whole messages are read.
                Ok(Message::Frame(_)) => {}
                Err(error) if is_blocked(&error) => break,
                Err(error) => {
                    tracing::debug!(%error, "a WebSocket is closed");
                    self.end = Some(verdict(&error));
                }
            }
        }
        self.raw = rest.to_vec();
    }

    /// Notes that a message came out of the codec.
    fn taken(&mut self, payload: &Bytes) {
        let length = match payload.len() {
            short @ ..126 => short,
            middle @ ..65_536 => middle + 2,
            long => long + 8,
        };
        // A message of several frames has had more bytes than this says: the codec is then taken to hold the rest.
        self.flow.held = self.flow.held.saturating_sub(length + HEADER);
        self.grown |= payload.len() > KEPT;
    }

    /// The codec keeps room for the largest message it has seen. Thousands of connections wait most of the time: what
    /// it needs is made anew when it comes.
    fn shrink(&mut self) {
        if self.grown && self.flow.held == 0 && !self.flow.blocked && self.codec.can_write() {
            self.codec = WebSocketContext::new(Role::Server, Some(*self.codec.get_config()));
            self.grown = false;
        }
    }

    /// Takes a part of the bytes as one message.
    pub(crate) fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // The codec takes whatever it is given: one frame at a time is its bound.
        if self.flow.blocked {
            ready!(self.poll_flush(context))?;
        }
        let part = bytes.get(..FRAME_MOST).unwrap_or(bytes);
        self.grown |= part.len() > KEPT;
        let Self { stream, flow, .. } = self;
        let mut pipe = Pipe { stream, flow, context, rest: &mut [].as_slice() };
        match self.codec.write(&mut pipe, Message::Binary(Bytes::copy_from_slice(part))) {
            Err(error) if !is_blocked(&error) => Poll::Ready(Err(broken(error))),
            _ => Poll::Ready(Ok(part.len())),
        }
    }

    pub(crate) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, flow, .. } = self;
        let mut pipe = Pipe { stream, flow, context, rest: &mut [].as_slice() };
        match self.codec.flush(&mut pipe) {
            // The peer's close frame is answered, and that was all.
            Ok(()) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => {
                self.flow.blocked = false;
                Poll::Ready(Ok(()))
            }
            Err(error) if is_blocked(&error) => Poll::Pending,
            Err(error) => Poll::Ready(Err(broken(error))),
        }
    }

    /// Says why it ends, if that is to be said, closes our side, and waits for the peer to close its own.
    pub(crate) fn poll_shutdown(
        &mut self,
        context: &mut Context<'_>,
        reason: Option<CloseCode>,
    ) -> Poll<io::Result<()>> {
        let reason = match self.end {
            Some(End::Broken(code)) => Some(code),
            Some(End::Closed) => None,
            None => reason,
        };
        if let Some(code) = reason
            && !self.said_goodbye
        {
            self.said_goodbye = true;
            let Self { stream, flow, .. } = self;
            let mut pipe = Pipe { stream, flow, context, rest: &mut [].as_slice() };
            let frame = CloseFrame { code, reason: Default::default() };
            match self.codec.close(&mut pipe, Some(frame)) {
                Err(error) if !is_blocked(&error) => return Poll::Ready(Err(broken(error))),
                _ => {}
            }
        }
        if !self.shut {
            ready!(self.poll_flush(context))?;
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.shut = true;
        }
        if reason.is_none() {
            return Poll::Ready(Ok(()));
        }
        // A socket that is closed with bytes unread is reset, and the reason with it may never arrive.
        RAW.with_borrow_mut(|raw| {
            loop {
                let mut raw = ReadBuf::new(raw);
                ready!(Pin::new(&mut self.stream).poll_read(context, &mut raw))?;
                if raw.filled().is_empty() {
                    return Poll::Ready(Ok(()));
                }
            }
        })
    }
}
