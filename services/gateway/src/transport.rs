//! The byte stream of a connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tungstenite::protocol::frame::coding::CloseCode;

use crate::websocket::WebSocket;

/// How a device has come: the kind of listener that took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    Mqtt,
    Mqtts,
    Ws,
    Wss,
}

impl Door {
    /// Its scheme, as it stands in logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Mqtts => "mqtts",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// What a connection's protocol is called behind the version of MQTT.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Mqtt => "",
            Self::Mqtts => "+tls",
            Self::Ws => "+ws",
            Self::Wss => "+wss",
        }
    }

    pub(crate) fn is_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }
}

/// Bytes as they travel. TLS stands on the heap: a plain connection does not pay for it.
pub(crate) enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

/// What MQTT travels in. WebSocket stands on the heap, too.
pub(crate) enum Transport {
    Plain(Stream),
    WebSocket(Box<WebSocket>),
}

impl Transport {
    /// Reads MQTT; nothing read is the end.
    pub(crate) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::WebSocket(socket) => socket.poll_read(context, buffer),
        }
    }

    pub(crate) fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::WebSocket(socket) => socket.poll_write(context, bytes),
        }
    }

    pub(crate) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::WebSocket(socket) => socket.poll_flush(context),
        }
    }

    /// Ends it. A WebSocket says why, and then waits for its peer to close; without a reason nobody is waited for.
    pub(crate) fn poll_shutdown(
        &mut self,
        context: &mut Context<'_>,
        reason: Option<CloseCode>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::WebSocket(socket) => socket.poll_shutdown(context, reason),
        }
    }

    /// Whether something has to be written that did not come from the connection: the answer to a ping.
    pub(crate) fn is_behind(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::WebSocket(socket) => socket.is_behind(),
        }
    }

    /// Whether the peer has taken bytes since this was asked last, beyond what writing says.
    pub(crate) fn has_moved(&mut self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::WebSocket(socket) => socket.has_moved(),
        }
    }

    /// Whether the peer has broken the rules of the transport.
    pub(crate) fn is_broken(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::WebSocket(socket) => socket.is_broken(),
        }
    }

    /// The device is known now: it may send messages of that size.
    pub(crate) fn trust(&mut self, message_most: u32) {
        match self {
            Self::Plain(_) => {}
            Self::WebSocket(socket) => socket.take_messages_of(message_most),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_connection_pays_nothing_for_the_others() {
        assert_eq!(size_of::<Transport>(), size_of::<Stream>());
        assert_eq!(size_of::<Stream>(), size_of::<TcpStream>());
    }
}
