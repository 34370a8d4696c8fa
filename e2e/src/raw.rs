//! A connection of bytes, for what no well-behaved client does. The packets are put together here by the standard's
//! text and not by the platform's own codec, which is under test.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::wait::WITHIN;

/// A TCP connection with no client behind it.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
}

/// A packet from the platform: its first byte, and what is behind the length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Type and flags.
    pub first: u8,
    /// The rest.
    pub body: Vec<u8>,
}

impl Packet {
    /// The packet's type: 2 is CONNACK, 4 PUBACK, 9 SUBACK, 14 DISCONNECT.
    #[must_use]
    pub fn kind(&self) -> u8 {
        self.first >> 4
    }

    /// The packets that these bytes are.
    ///
    /// # Errors
    /// The last is not whole.
    pub fn all(bytes: &[u8]) -> Result<Vec<Self>> {
        let (mut packets, mut rest) = (Vec::new(), bytes);
        while let Some((&first, behind)) = rest.split_first() {
            let last = behind.iter().position(|byte| byte & 0x80 == 0).context("no end of a length")?;
            let (digits, behind) = behind.split_at(last + 1);
            let length = digits.iter().rev().fold(0, |sum, digit| sum << 7 | usize::from(digit & 0x7f));
            let (body, behind) = behind.split_at_checked(length).context("a part of a packet")?;
            packets.push(Self { first, body: body.to_vec() });
            rest = behind;
        }
        Ok(packets)
    }
}

/// What stands in a CONNECT.
#[derive(Debug, Clone, Copy)]
pub struct RawConnect<'a> {
    /// 4 or 5.
    pub version: u8,
    /// The access token.
    pub token: &'a str,
    /// In seconds.
    pub keep_alive_s: u16,
}

fn text(value: &str) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    [length.to_be_bytes().as_slice(), value.as_bytes()].concat()
}

/// A whole packet: first byte, length, body.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let (mut bytes, mut left) = (vec![first], body.len());
    loop {
        let byte = u8::try_from(left % 128).unwrap_or_default();
        left /= 128;
        bytes.push(if left > 0 { byte | 0x80 } else { byte });
        if left == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

impl RawConnect<'_> {
    /// The bytes of the packet.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut body = text("MQTT");
        body.extend([self.version, 0x82]);
        body.extend(self.keep_alive_s.to_be_bytes());
        if self.version == 5 {
            body.push(0);
        }
        body.extend(text("raw"));
        body.extend(text(self.token));
        packet(0x10, &body)
    }
}

impl Raw {
    /// Opens a connection and says nothing.
    ///
    /// # Errors
    /// There is no connection.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.context("failed to connect")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream })
    }

    /// Connects as MQTT wants it.
    ///
    /// # Errors
    /// The session was not granted.
    pub async fn connect(address: SocketAddr, connect: RawConnect<'_>) -> Result<Self> {
        let mut raw = Self::open(address).await?;
        raw.write(&connect.bytes()).await?;
        let answer = raw.packet().await?.context("closed before CONNACK")?;
        if answer.kind() != 2 || answer.body.get(1) != Some(&0) {
            bail!("no session: {answer:?}");
        }
        Ok(raw)
    }

    /// Where it comes from.
    ///
    /// # Errors
    /// The system does not know.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.stream.local_addr()?)
    }

    /// Writes bytes, any.
    ///
    /// # Errors
    /// The connection is over, or takes nothing in time.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        timeout(WITHIN, self.stream.write_all(bytes)).await.context("the platform takes no bytes")??;
        Ok(())
    }

    /// The bytes of a PUBLISH of QoS 1.
    #[must_use]
    pub fn publish(version: u8, id: u16, topic: &str, payload: &[u8]) -> Vec<u8> {
        let mut body = text(topic);
        body.extend(id.to_be_bytes());
        if version == 5 {
            body.push(0);
        }
        body.extend_from_slice(payload);
        packet(0x32, &body)
    }

    /// The bytes of a SUBSCRIBE.
    #[must_use]
    pub fn subscribe(version: u8, id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
        let mut body = id.to_be_bytes().to_vec();
        if version == 5 {
            body.push(0);
        }
        for (filter, qos) in filters {
            body.extend(text(filter));
            body.push(*qos);
        }
        packet(0x82, &body)
    }

    /// The next packet. None: the platform has closed the connection.
    ///
    /// # Errors
    /// Neither comes in time.
    pub async fn packet(&mut self) -> Result<Option<Packet>> {
        timeout(WITHIN, self.read_packet()).await.context("the platform says nothing")?
    }

    async fn read_packet(&mut self) -> Result<Option<Packet>> {
        // A reset is an end, too.
        let Ok(first) = self.stream.read_u8().await else { return Ok(None) };
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let byte = self.stream.read_u8().await.context("closed within a packet")?;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
            if shift > 21 {
                bail!("a length of more than four bytes");
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.context("closed within a packet")?;
        Ok(Some(Packet { first, body }))
    }

    /// Reads until the platform closes the connection; the packets that came before.
    ///
    /// # Errors
    /// It does not close it in time.
    pub async fn closed(&mut self) -> Result<Vec<Packet>> {
        let mut packets = Vec::new();
        while let Some(packet) = self.packet().await? {
            packets.push(packet);
        }
        Ok(packets)
    }

    /// Ends the connection by a reset.
    ///
    /// # Errors
    /// The socket does not allow it.
    pub fn cut(self) -> Result<()> {
        self.stream.set_zero_linger()?;
        Ok(())
    }

    /// Keeps what the platform has to say within a few KiB of the kernel's memory.
    ///
    /// # Errors
    /// The socket does not allow it.
    pub async fn open_narrow(address: SocketAddr) -> Result<Self> {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4096)?;
        let stream = timeout(Duration::from_secs(10), socket.connect(address)).await??;
        Ok(Self { stream })
    }
}
