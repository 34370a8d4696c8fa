//! Opening the ports. What is configured of them is checked before anything else; `stoker up` and a portal open them then,
//! too, so that a taken one costs nothing, a gateway and a core when what they need is there.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use stoker_domain::model::OrganizationId;
use stoker_gateway::{Balancers, Listener, TlsConfig};
use stoker_link::{ServerTexts, ServerTls, ServerTlsError, read_pem};
use tokio::net::TcpListener;

use crate::config::{Gateway, ProxyProtocol, SecureDoor};

/// In place of an address: nowhere.
const OFF: &str = "off";

/// Refuses what can be no address of a port, whether or not it can be opened now.
pub(crate) fn check(what: &str, by: &str, address: &str) -> Result<()> {
    let parts = address.rsplit_once(':');
    if parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
        return Ok(());
    }
    bail!("{address:?} is no address to listen for {what} on; {by} takes an address such as 127.0.0.1:1883")
}

/// Opens a port. `by` says how another address is given.
pub(crate) async fn open(what: &str, by: &str, address: &str) -> Result<(TcpListener, SocketAddr)> {
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => {
            let way_out = match error.kind() {
                ErrorKind::AddrInUse => {
                    format!("another process has the port: stop it, or give another address by {by}")
                }
                ErrorKind::PermissionDenied => {
                    format!("ports below 1024 need a privilege: give another address by {by}")
                }
                _ => format!("{by} takes an address such as 127.0.0.1:1883"),
            };
            bail!("failed to listen for {what} on {address}: {error}; {way_out}");
        }
    };
    let address = listener.local_addr().with_context(|| format!("failed to read the address for {what}"))?;
    Ok((listener, address))
}

/// Where devices come.
pub(crate) struct Doors {
    pub(crate) listeners: Vec<Listener>,
    pub(crate) mqtt: SocketAddr,
    /// All of them, for a person.
    pub(crate) urls: Vec<String>,
}

/// What is listened to where nobody says otherwise.
pub(crate) struct Defaults<'a> {
    pub(crate) mqtt: &'a str,
    /// A port that may be taken: then it is left out.
    pub(crate) ws: Option<&'a str>,
    /// Where a certificate of our own making is kept; none: whoever wants TLS brings one.
    pub(crate) certificates: Option<&'a Path>,
}

/// Doors that are configured, with their certificates, and not open yet.
pub(crate) struct Closed {
    mqtt: Plain,
    mqtts: Option<Secure>,
    ws: Option<Plain>,
    wss: Option<Secure>,
}

struct Plain {
    address: String,
    /// Whether somebody has asked for it.
    asked: bool,
    balancers: Option<Balancers>,
}

struct Secure {
    address: String,
    tls: TlsConfig,
    balancers: Option<Balancers>,
}

const MQTT: (&str, &str) = ("MQTT", "--mqtt (gateway.mqtt.listen)");
const MQTTS: (&str, &str) = ("MQTT over TLS", "--mqtts (gateway.mqtts.listen)");
const WS: (&str, &str) = ("MQTT over WebSocket", "--ws (gateway.ws.listen)");
const WSS: (&str, &str) = ("MQTT over WebSocket over TLS", "--wss (gateway.wss.listen)");

impl Closed {
    /// Reads all that is configured.
    ///
    /// # Errors
    /// Names the address or the file, and the way out.
    pub(crate) fn read(gateway: &Gateway, defaults: &Defaults<'_>) -> Result<Self> {
        let checked = |(what, by): (&str, &str), address: &str| -> Result<String> {
            check(what, by, address)?;
            Ok(address.to_owned())
        };
        let secure = |of, name: &'static str, door: &SecureDoor| -> Result<Option<Secure>> {
            let Some(address) = &door.listen else { return Ok(None) };
            let address = checked(of, address)?;
            let balancers = balancers(name, &door.proxy_protocol)?;
            Ok(Some(Secure { address, tls: tls(name, door, defaults.certificates)?, balancers }))
        };
        let of_ws = balancers("ws", &gateway.ws.proxy_protocol)?;
        let ws = match (gateway.ws.listen.as_deref(), defaults.ws) {
            (Some(OFF), _) | (None, None) => None,
            (Some(address), _) => {
                Some(Plain { address: checked(WS, address)?, asked: true, balancers: of_ws })
            }
            (None, Some(address)) => {
                Some(Plain { address: address.to_owned(), asked: false, balancers: of_ws })
            }
        };
        Ok(Self {
            mqtt: Plain {
                address: checked(MQTT, gateway.mqtt.listen.as_deref().unwrap_or(defaults.mqtt))?,
                asked: true,
                balancers: balancers("mqtt", &gateway.mqtt.proxy_protocol)?,
            },
            mqtts: secure(MQTTS, "mqtts", &gateway.mqtts)?,
            ws,
            wss: secure(WSS, "wss", &gateway.wss)?,
        })
    }

    /// Opens all of them.
    ///
    /// # Errors
    /// Names the port and the way out.
    pub(crate) async fn open(self) -> Result<Doors> {
        let (tcp, mqtt) = open(MQTT.0, MQTT.1, &self.mqtt.address).await?;
        let listener = Listener::mqtt(tcp).behind(self.mqtt.balancers);
        let mut doors = Doors { listeners: vec![listener], mqtt, urls: vec![format!("mqtt://{mqtt}")] };
        if let Some(Secure { address, tls, balancers }) = self.mqtts {
            let (tcp, address) = open(MQTTS.0, MQTTS.1, &address).await?;
            doors.add(Listener::mqtts(tcp, tls).behind(balancers), format!("mqtts://{address}"));
        }
        if let Some(Plain { address, asked, balancers }) = self.ws
            && let Some((tcp, address)) = open_ws(&address, asked).await?
        {
            doors.add(Listener::ws(tcp).behind(balancers), format!("ws://{address}/mqtt"));
        }
        if let Some(Secure { address, tls, balancers }) = self.wss {
            let (tcp, address) = open(WSS.0, WSS.1, &address).await?;
            doors.add(Listener::wss(tcp, tls).behind(balancers), format!("wss://{address}/mqtt"));
        }
        Ok(doors)
    }
}

impl Doors {
    fn add(&mut self, listener: Listener, url: String) {
        self.listeners.push(listener);
        self.urls.push(url);
    }
}

/// The port for WebSocket. One that nobody has asked for, and that something else has, is no reason not to start: it is
/// a common one, and most devices come by TCP.
async fn open_ws(address: &str, asked: bool) -> Result<Option<(TcpListener, SocketAddr)>> {
    match open(WS.0, WS.1, address).await {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if !asked => {
            tracing::warn!("{error:#}, or `--ws off`; going on without");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The balancers in front of `gateway.mqtt` and the others.
fn balancers(name: &str, of: &ProxyProtocol) -> Result<Option<Balancers>> {
    let key = || format!("gateway.{name}.proxy_protocol.trusted_cidrs is wrong");
    Balancers::of(&of.trusted_cidrs).with_context(key)
}

/// The TLS of `gateway.mqtts` or `gateway.wss`.
fn tls(name: &'static str, door: &SecureDoor, directory: Option<&Path>) -> Result<TlsConfig> {
    let (certificate, key) = match (&door.cert, &door.key, directory) {
        (Some(certificate), Some(key), _) => (certificate.clone(), key.clone()),
        (None, None, Some(directory)) => self_signed(name, directory)?,
        (None, None, None) => bail!("gateway.{name}.listen needs gateway.{name}.cert and gateway.{name}.key"),
        _ => bail!("gateway.{name}.cert and gateway.{name}.key belong together: give both or neither"),
    };
    let section = format!("gateway.{name}");
    let tls = server_tls(&section, &certificate, &key, door.client_ca.as_deref())
        .with_context(|| format!("{section} cannot be used"))?;
    Ok(TlsConfig::new(tls, OrganizationId::default_organization()))
}

/// What is shown to those who come from without: the files of `section` of the configuration.
pub(crate) fn server_tls(
    section: &str,
    certificate: &Path,
    key: &Path,
    client_ca: Option<&Path>,
) -> Result<ServerTls, ServerTlsError> {
    let (name, certificate, key) = (section.to_owned(), certificate.to_owned(), key.to_owned());
    let client_ca = client_ca.map(Path::to_owned);
    let read = move || {
        let read = |key: &str, path: &Path| {
            read_pem(&format!("{name}.{key}"), path).map_err(|error| error.to_string())
        };
        Ok(ServerTexts {
            certificates: read("cert", &certificate)?,
            key: read("key", &key)?,
            client_ca: client_ca.as_deref().map(|path| read("client_ca", path)).transpose()?,
        })
    };
    ServerTls::reading(section, read)
}

/// A certificate of our own making, for trying out. It stays the same over starts, so that devices may pin it, and is
/// the same for both.
fn self_signed(name: &str, directory: &Path) -> Result<(PathBuf, PathBuf)> {
    let (certificate, key) = (directory.join("mqtts.crt"), directory.join("mqtts.key"));
    if !certificate.exists() || !key.exists() {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).context("failed to make a certificate")?;
        crate::files::write_private(&key, made.signing_key.serialize_pem().as_bytes())?;
        crate::files::write_private(&certificate, made.cert.pem().as_bytes())?;
    }
    tracing::warn!(
        "no certificate is configured (gateway.{name}.cert and .key): devices are shown a self-signed one, {}",
        certificate.display()
    );
    Ok((certificate, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_configured_wrongly_is_found_before_anything_is_opened() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (cert, key) =
            (path("a.crt", &signed.cert.pem()), path("a.key", &signed.signing_key.serialize_pem()));
        let text = path("text", "no PEM");
        let defaults = Defaults { mqtt: "0.0.0.0:1883", ws: None, certificates: None };
        let read = |change: &dyn Fn(&mut Gateway)| {
            let mut gateway = Gateway::default();
            gateway.mqtts.listen = Some("127.0.0.1:8883".to_owned());
            (gateway.mqtts.cert, gateway.mqtts.key) = (Some(cert.clone()), Some(key.clone()));
            change(&mut gateway);
            Closed::read(&gateway, &defaults).map(drop).map_err(|error| format!("{error:#}"))
        };
        assert_eq!(read(&|_| {}), Ok(()));
        for (change, says) in [
            (
                &(|gateway: &mut Gateway| gateway.mqtts.cert = None) as &dyn Fn(&mut Gateway),
                "belong together",
            ),
            (&|gateway| gateway.mqtts.cert = Some("/nowhere".into()), "failed to read gateway.mqtts.cert"),
            (&|gateway| gateway.mqtts.key = Some(text.clone()), "private key"),
            (&|gateway| gateway.mqtts.client_ca = Some(text.clone()), "client CA"),
            (&|gateway| gateway.mqtts.listen = Some("8883".to_owned()), "gateway.mqtts.listen"),
            (&|gateway| gateway.mqtt.listen = Some("127.0.0.1:mqtt".to_owned()), "gateway.mqtt.listen"),
            (&|gateway| gateway.ws.listen = Some(":8083".to_owned()), "gateway.ws.listen"),
            (&|gateway| gateway.wss.listen = Some("a:1".to_owned()), "gateway.wss.cert"),
            (
                &|gateway| gateway.mqtts.proxy_protocol.trusted_cidrs = vec!["10.0.0.0/40".to_owned()],
                "gateway.mqtts.proxy_protocol.trusted_cidrs is wrong: \"10.0.0.0/40\" is neither",
            ),
        ] {
            let said = read(change).unwrap_err();
            assert!(said.contains(says), "{says}: {said}");
        }
    }
}
