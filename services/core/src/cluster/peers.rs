//! Connections to other cores: one each, made when first needed.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use stoker_link::Channel;
use stoker_link::Link;

/// Connections that are kept; more are there only after many cores came and went.
const KEPT: usize = 256;

/// The channels that were made so far, by address.
#[derive(Clone)]
pub(crate) struct Peers {
    link: Link,
    channels: Arc<Mutex<HashMap<String, Channel>>>,
}

impl Peers {
    pub(crate) fn new(link: Link) -> Self {
        Self { link, channels: Arc::default() }
    }

    /// The channel to the core at this address.
    pub(crate) fn at(&self, address: &str) -> Channel {
        let mut channels = self.channels.lock();
        if let Some(channel) = channels.get(address) {
            return channel.clone();
        }
        if channels.len() >= KEPT {
            channels.clear();
        }
        let channel = self.link.to(address);
        channels.insert(address.to_owned(), channel.clone());
        channel
    }
}
