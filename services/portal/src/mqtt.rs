//! Where devices connect by MQTT, as whoever connects one is told.

use std::str::FromStr;

use url::Url;

/// Ports of MQTT, and of MQTT over TLS, as IANA has them.
const PORT: u16 = 1883;
const PORT_TLS: u16 = 8883;
/// A name in DNS has no more.
const HOST_MOST: usize = 253;

/// An address for devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttAddress {
    /// None: the name by which people reach the portal.
    pub host: Option<String>,
    /// The port.
    pub port: u16,
    /// MQTT over TLS is spoken there.
    pub tls: bool,
}

impl Default for MqttAddress {
    fn default() -> Self {
        Self { host: None, port: PORT, tls: false }
    }
}

impl FromStr for MqttAddress {
    type Err = &'static str;

    /// From `mqtt://host[:port]` or `mqtts://host[:port]`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str =
            "it is mqtt://HOST[:PORT] or mqtts://HOST[:PORT], such as mqtts://devices.example.com";
        let url = Url::parse(text).map_err(|_| FORM)?;
        let (tls, otherwise) = match url.scheme() {
            "mqtt" => (false, PORT),
            "mqtts" => (true, PORT_TLS),
            _ => return Err(FORM),
        };
        let more = [Some(url.username()), url.password(), url.query(), url.fragment()];
        let more = more.into_iter().flatten().any(|part| !part.is_empty());
        // It is shown as a part of a shell's command.
        let fits = |host: &&str| {
            host.len() <= HOST_MOST
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-[]:".contains(&byte))
        };
        let host = url.host_str().filter(fits).filter(|host| !host.is_empty()).ok_or(FORM)?;
        let port = url.port().unwrap_or(otherwise);
        if more || !matches!(url.path(), "" | "/") || port == 0 {
            return Err(FORM);
        }
        Ok(Self { host: Some(host.to_owned()), port, tls })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_perhaps_a_port() {
        let address = |host: &str, port, tls| Ok(MqttAddress { host: Some(host.to_owned()), port, tls });
        for (text, expected) in [
            ("mqtt://devices.example.com", address("devices.example.com", 1883, false)),
            ("mqtts://devices.example.com", address("devices.example.com", 8883, true)),
            ("mqtts://10.0.0.7:443/", address("10.0.0.7", 443, true)),
            ("mqtt://[2001:db8::7]:2883", address("[2001:db8::7]", 2883, false)),
        ] {
            assert_eq!(text.parse(), expected, "{text}");
        }
        for wrong in [
            "",
            "devices.example.com",
            "devices.example.com:1883",
            "http://devices.example.com",
            "ws://devices.example.com",
            "mqtt://",
            "mqtt://:1883",
            "mqtt://a:0",
            "mqtt://a:99999",
            "mqtt://user@a",
            "mqtt://user:secret@a",
            "mqtt://a/path",
            "mqtt://a?x=1",
            "mqtt://$(reboot)",
            &format!("mqtt://{}", "a".repeat(254)),
        ] {
            assert!(wrong.parse::<MqttAddress>().is_err(), "{wrong}");
        }
    }
}
