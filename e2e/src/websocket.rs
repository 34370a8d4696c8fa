//! A WebSocket of bytes, for what no well-behaved client does. It is put together by the text of RFC 6455.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::raw::Packet;
use crate::wait::WITHIN;

/// What the first byte of a frame says.
pub mod frame {
    /// The last of its message.
    pub const FIN: u8 = 0x80;
    /// More of a message.
    pub const CONTINUATION: u8 = 0x0;
    /// A text.
    pub const TEXT: u8 = 0x1;
    /// Bytes.
    pub const BINARY: u8 = 0x2;
    /// The goodbye.
    pub const CLOSE: u8 = 0x8;
    /// To be answered by a pong.
    pub const PING: u8 = 0x9;
    /// The answer.
    pub const PONG: u8 = 0xA;
}

/// The lines of a request behind its first, up to the sub-protocol.
const HEADERS: &str = "Host: stoker\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A WebSocket with no client behind it.
#[derive(Debug)]
pub struct RawWebSocket {
    stream: TcpStream,
}

/// What the platform said until it closed a WebSocket.
#[derive(Debug, PartialEq, Eq)]
pub struct LastWords {
    /// The packets of MQTT.
    pub packets: Vec<Packet>,
    /// The code of its close frame, if it sent one.
    pub code: Option<u16>,
}

impl RawWebSocket {
    /// Asks for a path with a sub-protocol, and returns the status of the answer with the connection.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn ask(address: SocketAddr, path: &str, sub_protocol: &str) -> Result<(String, Self)> {
        Self::ask_on(TcpStream::connect(address).await?, path, sub_protocol).await
    }

    async fn ask_on(stream: TcpStream, path: &str, sub_protocol: &str) -> Result<(String, Self)> {
        stream.set_nodelay(true)?;
        let mut raw = Self { stream };
        let request =
            format!("GET {path} HTTP/1.1\r\n{HEADERS}Sec-WebSocket-Protocol: {sub_protocol}\r\n\r\n");
        raw.write(request.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(WITHIN, raw.stream.read_u8()).await.context("no answer")??);
        }
        let head = String::from_utf8(head)?;
        let status = head.split(' ').nth(1).context("no status")?.to_owned();
        Ok((status, raw))
    }

    /// A WebSocket over which nothing of MQTT was said yet.
    ///
    /// # Errors
    /// It is refused.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let (status, raw) = Self::ask(address, "/mqtt", "mqtt").await?;
        ensure!(status == "101", "no WebSocket: {status}");
        Ok(raw)
    }

    /// The same, with what the platform has to say kept within a few KiB of the kernel's memory.
    ///
    /// # Errors
    /// It is refused.
    pub async fn open_narrow(address: SocketAddr) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4_096)?;
        let (status, raw) = Self::ask_on(socket.connect(address).await?, "/mqtt", "mqtt").await?;
        ensure!(status == "101", "no WebSocket: {status}");
        Ok(raw)
    }

    /// Writes bytes, any.
    ///
    /// # Errors
    /// The connection is over, or takes nothing in time.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        timeout(WITHIN, self.stream.write_all(bytes)).await.context("the platform takes no bytes")??;
        Ok(())
    }

    /// The bytes of a frame, masked as a client's are.
    #[must_use]
    pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        const MASK: [u8; 4] = [0x5A, 0x01, 0xFF, 0x80];
        let length = payload.len();
        let mut bytes = vec![first];
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short @ ..126), _) => bytes.push(0x80 | short),
            (_, Ok(middle)) => {
                bytes.push(0x80 | 126);
                bytes.extend(middle.to_be_bytes());
            }
            _ => {
                bytes.push(0x80 | 127);
                bytes.extend(u64::try_from(length).unwrap_or(u64::MAX).to_be_bytes());
            }
        }
        bytes.extend(MASK);
        bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }

    /// Sends bytes of MQTT as one message.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.write(&Self::frame(frame::FIN | frame::BINARY, bytes)).await
    }

    /// The next frame: its first byte and its payload. None: the platform has closed the connection.
    ///
    /// # Errors
    /// Neither comes in time.
    pub async fn next(&mut self) -> Result<Option<(u8, Vec<u8>)>> {
        timeout(WITHIN, self.read_frame()).await.context("the platform says nothing")?
    }

    async fn read_frame(&mut self) -> Result<Option<(u8, Vec<u8>)>> {
        // A reset is an end, too.
        let Ok(first) = self.stream.read_u8().await else { return Ok(None) };
        let length = match self.stream.read_u8().await? {
            126 => u64::from(self.stream.read_u16().await?),
            127 => self.stream.read_u64().await?,
            short => u64::from(short),
        };
        // A mask, which no server sends, would be taken for a length beyond this.
        ensure!(length < 1 << 24, "a frame of {length} bytes");
        let mut payload = vec![0; usize::try_from(length)?];
        self.stream.read_exact(&mut payload).await.context("closed within a frame")?;
        Ok(Some((first, payload)))
    }

    /// The packets of the next message.
    ///
    /// # Errors
    /// What comes is no message of whole packets.
    pub async fn packets(&mut self) -> Result<Vec<Packet>> {
        match self.next().await? {
            Some((first, payload)) if first == frame::FIN | frame::BINARY => Packet::all(&payload),
            other => bail!("no message: {other:?}"),
        }
    }

    /// Reads until the platform closes the connection, and answers its goodbye.
    ///
    /// # Errors
    /// It does not close it in time.
    pub async fn closed(&mut self) -> Result<LastWords> {
        let mut last = LastWords { packets: Vec::new(), code: None };
        while let Some((first, payload)) = self.next().await? {
            if first == frame::FIN | frame::BINARY {
                last.packets.extend(Packet::all(&payload)?);
            } else if first == frame::FIN | frame::CLOSE {
                last.code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                // It may have closed by then.
                drop(self.write(&Self::frame(first, &payload)).await);
                drop(self.stream.shutdown().await);
            }
        }
        Ok(last)
    }

    /// Ends the connection by a reset.
    ///
    /// # Errors
    /// The socket does not allow it.
    pub fn cut(self) -> Result<()> {
        self.stream.set_zero_linger()?;
        Ok(())
    }
}
