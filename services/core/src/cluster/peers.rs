//! Connections to other cores: one each, made when first needed.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// Makes a channel to the core at an address, `host:port`. It connects when it is first used, and again whenever it has
/// to. Its connector says [`NoConnection`] when it cannot.
pub type Connect = Arc<dyn Fn(&str) -> Result<Channel, String> + Send + Sync>;

/// Connections that are kept; more are there only after many cores came and went.
const KEPT: usize = 256;

/// What a connector says when nobody is reached: whatever was to be sent has not left this process.
#[derive(Debug)]
pub struct NoConnection(pub std::io::Error);

impl NoConnection {
    const WORDS: &str = "no connection to a core";

    /// True when a call ended by this. Of an error on the way nothing but its text comes through a channel.
    #[must_use]
    pub fn is_in(status: &Status) -> bool {
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

impl std::error::Error for NoConnection {}

/// The channels that were made so far, by address.
#[derive(Clone)]
pub(crate) struct Peers {
    connect: Connect,
    channels: Arc<Mutex<HashMap<String, Channel>>>,
}

impl Peers {
    pub(crate) fn new(connect: Connect) -> Self {
        Self { connect, channels: Arc::default() }
    }

    /// The channel to a core; none when its address cannot be used.
    pub(crate) fn at(&self, address: &str) -> Option<Channel> {
        let mut channels = self.channels.lock();
        if let Some(channel) = channels.get(address) {
            return Some(channel.clone());
        }
        match (self.connect)(address) {
            Ok(channel) => {
                if channels.len() >= KEPT {
                    channels.clear();
                }
                channels.insert(address.to_owned(), channel.clone());
                Some(channel)
            }
            Err(error) => {
                tracing::warn!(address, error, "a core's address cannot be used");
                None
            }
        }
    }
}
