//! One MQTT connection, from the device's side: bytes to packets and back.
//!
//! While it waits it holds no buffer: a fleet is many connections on which mostly nothing happens.

use std::future::{Future, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use stoker_protocol::codec::{
    DecodeError, EncodeError, FrameError, Packet, Probe, ReasonCode, Version, probe,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What a server may send at most in one packet: a command with its params is far smaller.
const PACKET_MAX: u32 = 256 * 1024;
/// What is read at once.
const READ_SIZE: usize = 4 * 1024;
/// An output buffer that has grown beyond this is given back once it is written.
const KEPT: usize = 1024;

/// Why a connection ended, or did not come about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("the connection failed")]
    Io(#[from] io::Error),
    #[error("the server closed the connection")]
    Closed,
    #[error("the server ended the session: {0}")]
    Ended(ReasonCode),
    #[error("the server refused the connect: {0}")]
    Refused(ReasonCode),
    #[error("no answer in time")]
    Timeout,
    #[error("the server sent what is no packet")]
    Frame(#[from] FrameError),
    #[error("the server sent a packet that is not allowed")]
    Decode(#[from] DecodeError),
    #[error("the server sent {0}, which has no place here")]
    Unexpected(&'static str),
    #[error("failed to write a packet")]
    Encode(#[from] EncodeError),
}

/// Opens connections.
pub(crate) trait Dial: Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send;

    fn dial(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// Opens connections over TCP.
pub(crate) struct Tcp {
    pub(crate) address: String,
}

impl Dial for Tcp {
    type Stream = TcpStream;

    async fn dial(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.address.as_str()).await?;
        // An acknowledgement must not wait for more to send.
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// One connection.
pub(crate) struct Link<S> {
    stream: S,
    version: Version,
    out: Vec<u8>,
    written: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Link<S> {
    pub(crate) fn new(stream: S, version: Version) -> Self {
        Self { stream, version, out: Vec::new(), written: 0 }
    }

    /// Puts a packet behind those that are to be written.
    pub(crate) fn send(&mut self, packet: &Packet<'_>) -> Result<(), LinkError> {
        Ok(packet.encode(self.version, &mut self.out)?)
    }

    /// Bytes that are still to be written.
    pub(crate) fn unwritten(&self) -> usize {
        self.out.len() - self.written
    }

    /// Writes what there is to be written, and waits until something was read into `input`. May be dropped and called
    /// again at any time.
    pub(crate) async fn exchange(&mut self, input: &mut Vec<u8>) -> Result<(), LinkError> {
        poll_fn(|context| {
            // Pending or not, there may be something to read.
            if let Poll::Ready(Err(error)) = self.poll_write(context) {
                return Poll::Ready(Err(error.into()));
            }
            self.poll_read(context, input)
        })
        .await
    }

    /// Writes all there is, flushes it and ends the direction.
    pub(crate) async fn close(&mut self) -> io::Result<()> {
        poll_fn(|context| {
            ready!(self.poll_write(context))?;
            Pin::new(&mut self.stream).poll_shutdown(context)
        })
        .await
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(left @ [_, ..]) = self.out.get(self.written..) {
            let count = ready!(Pin::new(&mut self.stream).poll_write(context, left))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
        }
        self.written = 0;
        if self.out.capacity() > KEPT {
            self.out = Vec::new();
        } else {
            self.out.clear();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, context: &mut Context<'_>, input: &mut Vec<u8>) -> Poll<Result<(), LinkError>> {
        let mut scratch = [MaybeUninit::uninit(); READ_SIZE];
        let mut buffer = ReadBuf::uninit(&mut scratch);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Err(LinkError::Closed));
        }
        input.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(()))
    }
}

/// Takes the next whole packet off the front of `input`.
pub(crate) fn next_packet<'a>(
    version: Version,
    input: &mut &'a [u8],
) -> Result<Option<Packet<'a>>, LinkError> {
    match probe(input, PACKET_MAX)? {
        Probe::NeedMore { .. } => Ok(None),
        Probe::Frame { total, .. } => {
            let (frame, rest) = input.split_at_checked(total).unwrap_or((input, &[]));
            *input = rest;
            Ok(Some(Packet::decode(version, frame)?))
        }
    }
}

/// Forgets all of `input` but its last `left` bytes, and its memory when nothing is left.
pub(crate) fn keep_last(input: &mut Vec<u8>, left: usize) {
    if left == 0 {
        *input = Vec::new();
    } else {
        input.drain(..input.len().saturating_sub(left));
    }
}
