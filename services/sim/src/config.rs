//! What a simulation is to do.

use std::fmt::{self, Write};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;
pub use stoker_protocol::codec::Version;

use crate::fault::FaultPlan;

/// Why a simulation can't be run as configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The address can't be understood.
    #[error("{url:?} is no address to connect to: {reason}")]
    Url {
        /// As given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A value lies outside its range.
    #[error("{name} must be {range}")]
    Range {
        /// Which value.
        name: &'static str,
        /// What it may be.
        range: &'static str,
    },
}

/// How devices say who they are. The secret of each comes from one secret and the device's id, so whoever knows that
/// can create the very same devices beforehand.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// User name = access token, [`token_for`].
    Token {
        /// The common secret.
        secret: String,
    },
    /// User name = `device` or `organization/device`, with a password: [`token_for`] too.
    Password {
        /// Where it is not the default one.
        organization: Option<String>,
        /// The common secret.
        secret: String,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token { .. } => "Token(…)",
            Self::Password { .. } => "Password(…)",
        })
    }
}

/// What a simulation is to do.
#[derive(Debug, Clone, PartialEq)]
pub struct SimConfig {
    /// `host:port` of the MQTT listener.
    pub address: String,
    /// How many boilers, 1–1,000,000.
    pub devices: u32,
    /// The first one's number: several processes can share a fleet.
    pub first: u32,
    /// Before the number in a device's id.
    pub id_prefix: String,
    /// Who they say they are.
    pub credentials: Credentials,
    /// Makes the fleet what it is.
    pub seed: u64,
    /// Time from one reading of a device to its next.
    pub interval: Duration,
    /// Keys in a reading beside the five of the model, at most 251.
    pub extra_keys: u16,
    /// Readings carry the device's own time, strictly increasing, so that each can be found again in the store.
    pub device_time: bool,
    /// Faults that come and go.
    pub faults: FaultPlan,
    /// Which MQTT the devices speak.
    pub version: Version,
    /// Publishes of one device that may wait for their PUBACK, 1–1,000. A reading that finds no room is left out.
    pub window: u16,
    /// The keep-alive that devices ask for.
    pub keep_alive: Duration,
    /// First connects in a second, so that a fleet doesn't come as one flood.
    pub connect_rate: u32,
    /// Devices that may be connecting at the same time.
    pub connecting_max: u32,
    /// The shortest and the longest pause before a device connects again.
    pub backoff: (Duration, Duration),
    /// A connect or an acknowledgement that takes longer ends the connection.
    pub answer_timeout: Duration,
    /// How long devices wait at the end for what is not acknowledged yet.
    pub drain: Duration,
    /// Keep a [`crate::Ledger`] of what was acknowledged. It grows with every reading, up to a bound per device.
    pub ledger: bool,
}

impl SimConfig {
    /// `devices` boilers named `boiler-1` and so on, a reading every 10 s each, tokens by `secret`.
    ///
    /// # Errors
    /// [`ConfigError::Url`] when `url` is not `mqtt://host[:port]`.
    pub fn new(url: &str, devices: u32, secret: &str) -> Result<Self, ConfigError> {
        Ok(Self {
            address: address(url)?,
            devices,
            first: 1,
            id_prefix: "boiler-".to_owned(),
            credentials: Credentials::Token { secret: secret.to_owned() },
            seed: 1,
            interval: Duration::from_secs(10),
            extra_keys: 0,
            device_time: false,
            faults: FaultPlan::default(),
            version: Version::V311,
            window: 16,
            keep_alive: Duration::from_secs(60),
            connect_rate: 500,
            connecting_max: 256,
            backoff: (Duration::from_secs(1), Duration::from_secs(5)),
            answer_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(2),
            ledger: false,
        })
    }

    /// Says whether all values lie in their ranges.
    ///
    /// # Errors
    /// [`ConfigError::Range`] names the first that does not.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let within =
            |fits: bool, name, range| if fits { Ok(()) } else { Err(ConfigError::Range { name, range }) };
        within((1..=1_000_000).contains(&self.devices), "devices", "from 1 to 1,000,000")?;
        within(self.first.checked_add(self.devices).is_some(), "first", "less than 2^32 with all devices")?;
        let id = stoker_domain::DeviceId::new(&self.device_id(u32::MAX));
        within(id.is_ok(), "id_prefix", "up to 118 of A-Za-z0-9._:- beginning with a letter or digit")?;
        within(self.interval >= Duration::from_millis(1), "interval", "at least 1 ms")?;
        within(self.extra_keys <= 251, "extra_keys", "at most 251, so that a message has 256 keys")?;
        within((0.0..=360.0).contains(&self.faults.per_hour), "faults.per_hour", "from 0 to 360")?;
        within((0.1..=86_400.0).contains(&self.faults.mean_s), "faults.mean_s", "from 0.1 to 86,400")?;
        within((1..=1_000).contains(&self.window), "window", "from 1 to 1,000")?;
        let keep_alive = self.keep_alive.as_secs();
        within((1..=u64::from(u16::MAX)).contains(&keep_alive), "keep_alive", "from 1 to 65,535 s")?;
        within(self.connect_rate > 0, "connect_rate", "at least 1 a second")?;
        within((1..=100_000).contains(&self.connecting_max), "connecting_max", "from 1 to 100,000")?;
        within(
            self.backoff.0 > Duration::ZERO && self.backoff.0 <= self.backoff.1,
            "backoff",
            "above zero, the shortest first",
        )?;
        within(self.answer_timeout > Duration::ZERO, "answer_timeout", "above zero")
    }

    /// The id of the device with that number, for instance `boiler-7`. Numbers are not padded: they are names, and a
    /// fleet that grows keeps the ones it has.
    #[must_use]
    pub fn device_id(&self, number: u32) -> String {
        format!("{}{number}", self.id_prefix)
    }

    /// The numbers of all devices.
    #[must_use]
    pub fn numbers(&self) -> std::ops::Range<u32> {
        self.first..self.first.saturating_add(self.devices)
    }

    /// The number of the device of that id, if it is one of these.
    #[must_use]
    pub fn device_number(&self, id: &str) -> Option<u32> {
        let number = id.strip_prefix(&self.id_prefix)?.parse().ok()?;
        // `boiler-007` is another device.
        (self.numbers().contains(&number) && self.device_id(number) == id).then_some(number)
    }

    /// What a device needs to be let in, as a line for `POST /api/v1/devices:import`, without a line feed.
    #[must_use]
    pub fn import_line(&self, number: u32) -> String {
        let id = self.device_id(number);
        let (field, secret) = match &self.credentials {
            Credentials::Token { secret } => ("token", secret),
            Credentials::Password { secret, .. } => ("password", secret),
        };
        let secret = token_for(secret, &id);
        // A site has ten boilers or so.
        let site = format!("site-{}", number.div_ceil(10));
        json!({ "id": id, "model": MODEL, "site": site, "tags": ["simulated"], field: secret }).to_string()
    }

    /// User name and password of a device.
    pub(crate) fn login(&self, id: &str) -> (String, Option<String>) {
        match &self.credentials {
            Credentials::Token { secret } => (token_for(secret, id), None),
            Credentials::Password { organization: None, secret } => {
                (id.to_owned(), Some(token_for(secret, id)))
            }
            Credentials::Password { organization: Some(organization), secret } => {
                (format!("{organization}/{id}"), Some(token_for(secret, id)))
            }
        }
    }
}

/// What simulated boilers say they are.
pub const MODEL: &str = "SimTherm 24";

/// The token, or password, of a simulated device: `sim_` and 32 hexadecimal digits, the first 16 bytes of
/// HMAC-SHA256 over `stoker-sim` ‖ 0x00 ‖ device id, the key being the bytes of `secret`.
#[must_use]
pub fn token_for(secret: &str, device_id: &str) -> String {
    let mut token = String::from("sim_");
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return token };
    mac.update(b"stoker-sim\0");
    mac.update(device_id.as_bytes());
    for byte in mac.finalize().into_bytes().iter().take(16) {
        // Writing into a String can't fail.
        let _ = write!(token, "{byte:02x}");
    }
    token
}

fn address(url: &str) -> Result<String, ConfigError> {
    let wrong = |reason| ConfigError::Url { url: url.to_owned(), reason };
    let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("mqtt://host[:port] expected"))?;
    match scheme {
        "mqtt" | "tcp" => {}
        "mqtts" | "ssl" | "ws" | "wss" => return Err(wrong("simulated devices connect by mqtt:// alone")),
        _ => return Err(wrong("mqtt://host[:port] expected")),
    }
    let host = rest.strip_suffix('/').unwrap_or(rest);
    if host.contains(['/', '@', '?', '#']) {
        return Err(wrong("nothing but a host and a port may stand behind mqtt://"));
    }
    // The colons of an IPv6 address stand in brackets.
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => (host, "1883"),
    };
    if name.is_empty() || (name.contains(':') && !(name.starts_with('[') && name.ends_with(']'))) {
        return Err(wrong("the host is missing, or an IPv6 address without brackets"));
    }
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(format!("{name}:{port}")),
        _ => Err(wrong("the port must be from 1 to 65,535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_wrong_ones_say_why() {
        for (url, address) in [
            ("mqtt://127.0.0.1", "127.0.0.1:1883"),
            ("mqtt://localhost:2883/", "localhost:2883"),
            ("tcp://[::1]:1884", "[::1]:1884"),
            ("mqtt://[::1]", "[::1]:1883"),
        ] {
            assert_eq!(SimConfig::new(url, 1, "s").map(|config| config.address), Ok(address.to_owned()));
        }
        for url in [
            "",
            "localhost:1883",
            "mqtts://host",
            "http://host",
            "mqtt://",
            "mqtt://:1883",
            "mqtt://h:0",
            "mqtt://h:x",
        ] {
            assert!(SimConfig::new(url, 1, "s").unwrap_err().to_string().contains("no address"), "{url}");
        }
        for url in ["mqtt://u:p@host", "mqtt://host/path", "mqtt://::1", "mqtt://h:99999"] {
            assert!(SimConfig::new(url, 1, "s").is_err(), "{url}");
        }
    }

    #[test]
    fn the_defaults_fit_and_what_does_not_is_named() {
        let config = SimConfig::new("mqtt://host", 1_000, "s").unwrap();
        assert_eq!(config.validate(), Ok(()));
        let named = |change: fn(&mut SimConfig)| {
            let mut config = config.clone();
            change(&mut config);
            match config.validate() {
                Err(ConfigError::Range { name, .. }) => name,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(named(|c| c.devices = 0), "devices");
        assert_eq!(named(|c| c.devices = 1_000_001), "devices");
        assert_eq!(named(|c| c.first = u32::MAX), "first");
        assert_eq!(named(|c| c.id_prefix = "-".into()), "id_prefix");
        assert_eq!(named(|c| c.id_prefix = "x".repeat(119)), "id_prefix");
        assert_eq!(named(|c| c.interval = Duration::ZERO), "interval");
        assert_eq!(named(|c| c.extra_keys = 252), "extra_keys");
        assert_eq!(named(|c| c.faults.per_hour = f64::NAN), "faults.per_hour");
        assert_eq!(named(|c| c.faults.mean_s = 0.0), "faults.mean_s");
        assert_eq!(named(|c| c.window = 0), "window");
        assert_eq!(named(|c| c.keep_alive = Duration::from_secs(65_536)), "keep_alive");
        assert_eq!(named(|c| c.connect_rate = 0), "connect_rate");
        assert_eq!(named(|c| c.connecting_max = 0), "connecting_max");
        assert_eq!(named(|c| c.backoff = (Duration::from_secs(2), Duration::from_secs(1))), "backoff");
        assert_eq!(named(|c| c.answer_timeout = Duration::ZERO), "answer_timeout");
    }

    #[test]
    fn a_device_has_the_same_token_wherever_it_is_derived() {
        // Devices in stores have these tokens: a change of the derivation must fail here.
        // printf 'stoker-sim\0boiler-7' | openssl dgst -sha256 -hmac secret
        assert_eq!(token_for("secret", "boiler-7"), "sim_83cd0f3dc42a19fadf43608236799a90");
        assert_ne!(token_for("secret", "boiler-7"), token_for("secret", "boiler-8"));
        assert_ne!(token_for("secret", "boiler-7"), token_for("other", "boiler-7"));
        assert_ne!(token_for("", "boiler-7").len(), 4);
    }

    #[test]
    fn a_device_of_the_fleet_is_known_by_its_id() {
        let mut config = SimConfig::new("mqtt://host", 10, "s").unwrap();
        config.first = 5;
        for number in config.numbers() {
            assert_eq!(config.device_number(&config.device_id(number)), Some(number));
        }
        for other in
            ["boiler-4", "boiler-15", "boiler-07", "boiler-+7", "boiler-", "boiler-x7", "oven-7", "7"]
        {
            assert_eq!(config.device_number(other), None, "{other}");
        }
    }

    #[test]
    fn the_import_line_lets_in_what_logs_in() {
        let mut config = SimConfig::new("mqtt://host", 2, "secret").unwrap();
        let line: serde_json::Value = serde_json::from_str(&config.import_line(7)).unwrap();
        assert_eq!(line["id"], "boiler-7");
        assert_eq!(line["site"], "site-1");
        assert_eq!(line["token"], config.login("boiler-7").0);
        config.credentials = Credentials::Password { organization: Some("acme".into()), secret: "s".into() };
        let line: serde_json::Value = serde_json::from_str(&config.import_line(7)).unwrap();
        let (user, password) = config.login("boiler-7");
        assert_eq!((user.as_str(), line["password"].as_str()), ("acme/boiler-7", password.as_deref()));
        assert!(!format!("{config:?}").contains("\"s\""), "secrets stay out of logs");
    }
}
