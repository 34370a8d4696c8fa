//! Ports for the processes of a test.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Result, bail};

/// Below those that the system gives to outgoing connections (from 32768 on): while a process is down, whoever dials its
/// port could otherwise be given that very port, and reach itself.
const PORTS: (u64, u64) = (20_000, 32_000);

/// An address on loopback that nobody has. It is taken a moment later, by the process it is for.
///
/// # Errors
/// None was found.
pub(crate) fn free() -> Result<SocketAddr> {
    let random = RandomState::new();
    // A test needs few of many: that all of these are taken means that something else is wrong.
    for attempt in 0..1_000_u32 {
        let port = PORTS.0 + random.hash_one(attempt) % (PORTS.1 - PORTS.0);
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), u16::try_from(port)?);
        if let Ok(listener) = TcpListener::bind(address) {
            return Ok(listener.local_addr()?);
        }
    }
    bail!("no free port between {} and {}", PORTS.0, PORTS.1)
}
