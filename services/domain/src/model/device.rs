//! Devices and what belongs to them.

use std::collections::BTreeMap;

use super::Millis;
use super::ids::{DeviceKey, SiteId};
use super::value::Value;

/// Free labels of a device: names to texts, or a plain list of names with empty texts.
pub type Tags = Vec<String>;

/// HMAC-SHA256 of an access token under the platform's key: the token itself is nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenHash(pub [u8; 32]);

/// A controller that may connect.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// Organization and id.
    pub key: DeviceKey,
    /// What it is, in the user's words.
    pub model: Option<String>,
    /// Where it stands.
    pub site: Option<SiteId>,
    /// Free labels.
    pub tags: Tags,
    /// It should send something at least this often; silence is raised after 1.5 times that.
    pub expected_interval_s: Option<u32>,
    /// The access token that lets it in. A token row elsewhere that says otherwise is void.
    pub token_hash: Option<TokenHash>,
    /// The password that lets it in, as an argon2id PHC string.
    pub password_hash: Option<String>,
    /// When it was made.
    pub created_at: Millis,
    /// Counts changes of this record.
    pub version: u64,
}

/// What somebody has shown who wants to be let in as a device. [`Device::admits`] decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// An access token.
    Token(TokenHash),
    /// A password that is right for this argon2id PHC string.
    Password(String),
    /// A certificate in the device's name, of an authority that is trusted for its organization.
    Certificate,
}

impl Device {
    /// Whether who shows this is let in.
    #[must_use]
    pub fn admits(&self, proof: &Proof) -> bool {
        match proof {
            Proof::Token(hash) => self.token_hash == Some(*hash),
            Proof::Password(phc) => self.password_hash.as_ref() == Some(phc),
            Proof::Certificate => true,
        }
    }
}

/// How many event ids a device's counters remember, so that a repeated id counts once. A device that repeats an
/// event does so right after a lost acknowledgement: 64 events later it has long gone on.
pub const RECENT_EVENTS: usize = 64;

/// What only ever grows about a device, kept apart from its record because it changes with its traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceCounters {
    /// Whose they are.
    pub key: DeviceKey,
    /// The number of the last command made for the device; the first is 1.
    pub last_command: u64,
    /// Hashes of the ids of the last [`RECENT_EVENTS`] events that touched an alarm, oldest first.
    pub recent_events: Vec<u64>,
}

/// The attributes of a device, by scope.
#[derive(Debug, Clone, PartialEq)]
pub struct Attributes {
    /// Whose they are.
    pub key: DeviceKey,
    /// Written by the device, read by people.
    pub client: BTreeMap<String, Value>,
    /// Written by people, read by the device.
    pub shared: BTreeMap<String, Value>,
    /// Written and read by people only.
    pub server: BTreeMap<String, Value>,
}

impl Attributes {
    /// No attributes yet.
    #[must_use]
    pub fn empty(key: DeviceKey) -> Self {
        Self { key, client: BTreeMap::new(), shared: BTreeMap::new(), server: BTreeMap::new() }
    }
}
