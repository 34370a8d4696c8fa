//! How people reach a portal: what is configured of it, checked before anything is opened.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, anyhow, bail};
use stoker_link::ServerTls;
use stoker_portal::{MqttAddress, PortalConfig};

use crate::config::Portal;
use crate::listen::server_tls;

/// A host's name, and a port.
const HOSTNAME_MOST: usize = 253 + 6;

/// A portal as it is configured.
pub(crate) struct Front {
    hostname: Option<String>,
    tls: Option<ServerTls>,
    https: bool,
    mqtt: Option<MqttAddress>,
}

impl Front {
    /// Reads all that is configured.
    ///
    /// # Errors
    /// Names the key or the file, and the way out.
    pub(crate) fn read(portal: &Portal) -> Result<Self> {
        let tls = match (&portal.cert, &portal.key) {
            (Some(certificate), Some(key)) => {
                Some(server_tls("portal", certificate, key, None).context("portal cannot be used")?)
            }
            (None, None) => None,
            _ => bail!("portal.cert and portal.key belong together: give both or neither"),
        };
        if let Some(hostname) = &portal.hostname
            && !is_hostname(hostname)
        {
            bail!(
                "portal.hostname is {hostname:?}, which is no name such as stoker.example.com: give that alone"
            );
        }
        let https = portal.https.unwrap_or(tls.is_some());
        let mqtt = portal.mqtt_url.as_ref().map(|url| {
            url.parse::<MqttAddress>()
                .map_err(|why: &str| anyhow!("portal.mqtt_url is {url:?}, which cannot be used: {why}"))
        });
        Ok(Self { hostname: portal.hostname.clone(), tls, https, mqtt: mqtt.transpose()? })
    }

    /// The scheme of its port, for a person.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// For whoever has this token. `mqtt` is where devices connect, unless it is configured.
    pub(crate) fn portal(self, token: String, mqtt: MqttAddress) -> PortalConfig {
        let Self { hostname, tls, https, mqtt: configured } = self;
        let mqtt = configured.unwrap_or(mqtt);
        PortalConfig { hostname, tls, https, mqtt, ..PortalConfig::new(token) }
    }
}

/// Where devices come to a port of this process: where people do, unless it listens at an address of its own.
pub(crate) fn devices(listens: SocketAddr) -> MqttAddress {
    let ip = listens.ip();
    let host = (!ip.is_unspecified() && !ip.to_canonical().is_loopback()).then(|| match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    });
    MqttAddress { host, port: listens.port(), tls: false }
}

/// `host` or `host:port`, without a scheme or a path.
fn is_hostname(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    (1..=HOSTNAME_MOST).contains(&text.len()) && text.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_come_where_people_do_or_to_an_address_of_their_own() {
        for (listens, host) in [
            ("127.0.0.1:2883", None),
            ("0.0.0.0:2883", None),
            ("[::]:2883", None),
            ("10.0.0.7:2883", Some("10.0.0.7")),
            ("[2001:db8::7]:2883", Some("[2001:db8::7]")),
        ] {
            let found = devices(listens.parse().unwrap());
            assert_eq!((found.host.as_deref(), found.port, found.tls), (host, 2883, false), "{listens}");
        }
    }

    #[test]
    fn cookies_are_kept_to_https_where_it_is_spoken_or_said_to_be() {
        let directory = tempfile::tempdir().unwrap();
        let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let path = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            Some(path)
        };
        let (cert, key) =
            (path("a.crt", &signed.cert.pem()), path("a.key", &signed.signing_key.serialize_pem()));
        let read = |portal: Portal| {
            let front = Front::read(&portal).map_err(|error| format!("{error:#}"))?;
            Ok::<_, String>((front.scheme(), front.portal("token".to_owned(), MqttAddress::default()).https))
        };
        let with = |cert, key, https| Portal { cert, key, https, ..Portal::default() };
        assert_eq!(read(Portal::default()), Ok(("http", false)));
        assert_eq!(read(with(None, None, Some(true))), Ok(("http", true)));
        assert_eq!(read(with(cert.clone(), key.clone(), None)), Ok(("https", true)));
        assert!(read(with(cert.clone(), None, None)).unwrap_err().contains("belong together"));
        let swapped = read(with(key.clone(), cert.clone(), None)).unwrap_err();
        assert!(swapped.contains("portal cannot be used"), "{swapped}");
        let nowhere = read(with(Some("/nowhere/a.crt".into()), key, None)).unwrap_err();
        assert!(nowhere.contains("failed to read portal.cert /nowhere/a.crt"), "{nowhere}");
        let named = |name: &str| read(Portal { hostname: Some(name.to_owned()), ..Portal::default() });
        for right in ["stoker.example.com", "stoker.example.com:8443", "10.0.0.7", "[2001:db8::7]:8443"] {
            assert!(named(right).is_ok(), "{right}");
        }
        let at = |url: &str| read(Portal { mqtt_url: Some(url.to_owned()), ..Portal::default() });
        assert!(at("mqtts://devices.example.com").is_ok());
        assert!(at("devices.example.com").unwrap_err().contains("portal.mqtt_url"));
        for wrong in ["", "https://stoker.example.com", "stoker.example.com/", "a b", &"a".repeat(300)] {
            assert!(named(wrong).unwrap_err().contains("portal.hostname"), "{wrong}");
        }
    }
}
