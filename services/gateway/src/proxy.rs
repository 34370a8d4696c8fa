//! The PROXY protocol, versions 1 and 2: a balancer in front says whose connection it has passed on.
//!
//! Where a header ends is decided here, so that not a byte of what follows is taken; what it says, by `ppp`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use ppp::{v1, v2};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A header is the first thing that is sent. Two lost packets may delay it by 3 s.
const WITHIN: Duration = Duration::from_secs(5);
/// The greatest header of version 2 that is read: addresses take 216 bytes at most, and what balancers add to them, such as
/// the names in a certificate, some hundred more. Others stop at 4 KiB, too.
const MOST: usize = 4096;
/// The greatest header of version 1, by its standard.
const LINE_MOST: usize = 107;
/// What version 1 begins with.
const WORD: &[u8] = b"PROXY ";
/// What version 2 has before its length is known.
const FIXED: usize = 16;
/// Networks in a list: a balancer has a few.
const NETWORKS_MOST: usize = 64;

/// Why networks are not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworksError {
    /// One is none.
    #[error("{text:?} is neither a CIDR nor an address: {reason}")]
    Unreadable {
        /// What was given.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// There are too many.
    #[error("at most {NETWORKS_MOST} networks are taken, not {0}")]
    TooMany(usize),
}

/// The networks of the balancers in front of a listener: connections from there begin with a PROXY header, and the address
/// in it is the device's. All others are devices themselves.
#[derive(Debug, Clone)]
pub struct Balancers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    networks: Vec<IpNet>,
    complained: AtomicBool,
}

impl Balancers {
    /// Of CIDRs such as `10.0.0.0/8`, or single addresses; none where there are none.
    ///
    /// # Errors
    /// Names what is neither.
    pub fn of(networks: &[String]) -> Result<Option<Self>, NetworksError> {
        if networks.len() > NETWORKS_MOST {
            return Err(NetworksError::TooMany(networks.len()));
        }
        let parse = |text: &String| {
            let text = text.trim();
            let network = text.parse().or_else(|error| text.parse().map(IpAddr::into).map_err(|_| error));
            network.map_err(|error: ipnet::AddrParseError| NetworksError::Unreadable {
                text: text.to_owned(),
                reason: error.to_string(),
            })
        };
        let networks = networks.iter().map(parse).collect::<Result<Vec<IpNet>, _>>()?;
        let inner = Inner { networks, complained: AtomicBool::new(false) };
        Ok((!inner.networks.is_empty()).then(|| Self(Arc::new(inner))))
    }

    /// Whether whoever is there says whose connection it is.
    pub(crate) fn has(&self, address: SocketAddr) -> bool {
        // Where both are listened to, IPv4 comes in IPv6 clothes.
        let address = address.ip().to_canonical();
        self.0.networks.iter().any(|network| network.contains(&address))
    }

    /// Says so the first time that one has sent none, or a wrong one: it is configured otherwise than we are, and then all
    /// devices behind it are turned away.
    pub(crate) fn complain(&self, address: SocketAddr, error: &ProxyError) {
        if matches!(error, ProxyError::Unused) {
            return;
        }
        if !self.0.complained.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                %address, %error,
                "a connection from a network of proxy_protocol.trusted_cidrs was closed: have the balancer send PROXY \
                 headers, or take its network out; further ones are counted"
            );
        }
    }
}

/// What is wrong with the bytes of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderError {
    #[error("there is no PROXY header")]
    None,
    #[error("the PROXY header has more than {0} bytes")]
    TooLong(usize),
    #[error("the PROXY header cannot be read")]
    Unreadable,
}

/// Why it is not known whose connection it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error("the PROXY header took too long")]
    Late,
    /// As balancers do that look whether a port is open.
    #[error("it was closed before a byte of a PROXY header")]
    Unused,
    #[error("it was closed within the PROXY header: {0}")]
    Cut(io::Error),
}

/// What is to be read next of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// So many bytes, all of which are its own.
    Bytes(usize),
    /// No more than so many, up to and with the end of a line.
    Line(usize),
    /// Nothing.
    Whole,
}

/// What follows `begun`.
fn next(begun: &[u8]) -> Result<Next, HeaderError> {
    let is_begin = |of: &[u8]| begun.iter().zip(of).all(|(one, other)| one == other);
    if begun.is_empty() {
        // The shortest of version 1 has three more.
        return Ok(Next::Bytes(v2::PROTOCOL_PREFIX.len()));
    }
    if is_begin(v2::PROTOCOL_PREFIX) {
        let Some(length) = begun.get(FIXED - 2..FIXED) else { return Ok(Next::Bytes(FIXED - begun.len())) };
        let whole = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)) + FIXED;
        return match whole - begun.len() {
            0 => Ok(Next::Whole),
            _ if whole > MOST => Err(HeaderError::TooLong(MOST)),
            missing => Ok(Next::Bytes(missing)),
        };
    }
    if !is_begin(WORD) {
        return Err(HeaderError::None);
    }
    match LINE_MOST.saturating_sub(begun.len()) {
        _ if begun.ends_with(b"\n") => Ok(Next::Whole),
        0 => Err(HeaderError::TooLong(LINE_MOST)),
        left => Ok(Next::Line(left)),
    }
}

/// Whose connection a whole header says it is; none where it is the balancer's own, or of a kind that has no such address.
fn source(header: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    if header.starts_with(v2::PROTOCOL_PREFIX) {
        // LOCAL: whatever else stands there means nothing.
        if header.get(v2::PROTOCOL_PREFIX.len()) == Some(&0x20) {
            return Ok(None);
        }
        let header = v2::Header::try_from(header).map_err(|_| HeaderError::Unreadable)?;
        let is_stream = header.protocol == v2::Protocol::Stream;
        return Ok(match header.addresses {
            v2::Addresses::IPv4(v4) if is_stream => Some((v4.source_address, v4.source_port).into()),
            v2::Addresses::IPv6(v6) if is_stream => Some((v6.source_address, v6.source_port).into()),
            _ => None,
        });
    }
    let read = v1::Header::try_from(header).map_err(|_| HeaderError::Unreadable)?;
    if read.header.len() != header.len() {
        return Err(HeaderError::Unreadable);
    }
    Ok(match read.addresses {
        v1::Addresses::Tcp4(v4) => Some((v4.source_address, v4.source_port).into()),
        v1::Addresses::Tcp6(v6) => Some((v6.source_address, v6.source_port).into()),
        v1::Addresses::Unknown => None,
    })
}

/// Reads the header that a connection begins with, and not a byte more. Whose connection it is; none: the one's that it
/// comes from.
pub(crate) async fn read(stream: &mut TcpStream) -> Result<Option<SocketAddr>, ProxyError> {
    timeout(WITHIN, whole(stream)).await.map_err(|_| ProxyError::Late)?
}

async fn whole(stream: &mut TcpStream) -> Result<Option<SocketAddr>, ProxyError> {
    let mut header = Vec::new();
    // Most are of one piece.
    let mut piece = [0; 256];
    loop {
        let take = match next(&header)? {
            Next::Whole => return Ok(source(&header)?),
            Next::Bytes(missing) => missing.min(piece.len()),
            Next::Line(most) => {
                let room = piece.get_mut(..most).unwrap_or_default();
                let seen = stream.peek(room).await.map_err(ProxyError::Cut)?;
                let seen = room.get(..seen).unwrap_or_default();
                // Without an end, all of it belongs to the line.
                seen.iter().position(|byte| *byte == b'\n').map_or(seen.len().max(1), |end| end + 1)
            }
        };
        let room = piece.get_mut(..take).unwrap_or_default();
        match stream.read(room).await {
            Ok(0) if header.is_empty() => return Err(ProxyError::Unused),
            Ok(0) => return Err(ProxyError::Cut(io::ErrorKind::UnexpectedEof.into())),
            Ok(read) => header.extend_from_slice(room.get(..read).unwrap_or_default()),
            Err(_) if header.is_empty() => return Err(ProxyError::Unused),
            Err(error) => return Err(ProxyError::Cut(error)),
        }
    }
}

#[cfg(test)]
mod tests;
