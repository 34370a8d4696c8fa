//! Opening the ports: before anything else, so that a taken one costs nothing.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, bail};
use stoker_domain::model::OrganizationId;
use stoker_gateway::{Listener, TlsConfig};
use tokio::net::TcpListener;

use crate::config::{Gateway, SecureDoor};

/// In place of an address: nowhere.
const OFF: &str = "off";

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

impl Doors {
    /// Opens all that are configured.
    ///
    /// # Errors
    /// Names the port and the way out.
    pub(crate) async fn open(gateway: &Gateway, defaults: &Defaults<'_>) -> Result<Self> {
        let address = gateway.mqtt.listen.as_deref().unwrap_or(defaults.mqtt);
        let (listener, mqtt) = open("MQTT", "--mqtt (gateway.mqtt.listen)", address).await?;
        let mut doors =
            Self { listeners: vec![Listener::Mqtt(listener)], mqtt, urls: vec![format!("mqtt://{mqtt}")] };
        if let Some(address) = &gateway.mqtts.listen {
            let (listener, address) =
                open("MQTT over TLS", "--mqtts (gateway.mqtts.listen)", address).await?;
            let tls = tls("mqtts", &gateway.mqtts, defaults.certificates)?;
            doors.add(Listener::Mqtts(listener, tls), format!("mqtts://{address}"));
        }
        if let Some((listener, address)) = open_ws(gateway.ws.listen.as_deref(), defaults.ws).await? {
            doors.add(Listener::Ws(listener), format!("ws://{address}/mqtt"));
        }
        if let Some(address) = &gateway.wss.listen {
            let what = "MQTT over WebSocket over TLS";
            let (listener, address) = open(what, "--wss (gateway.wss.listen)", address).await?;
            let tls = tls("wss", &gateway.wss, defaults.certificates)?;
            doors.add(Listener::Wss(listener, tls), format!("wss://{address}/mqtt"));
        }
        Ok(doors)
    }

    fn add(&mut self, listener: Listener, url: String) {
        self.listeners.push(listener);
        self.urls.push(url);
    }
}

/// The port for WebSocket. One that nobody has asked for, and that something else has, is no reason not to start: it is
/// a common one, and most devices come by TCP.
async fn open_ws(asked: Option<&str>, default: Option<&str>) -> Result<Option<(TcpListener, SocketAddr)>> {
    const WHAT: &str = "MQTT over WebSocket";
    const BY: &str = "--ws (gateway.ws.listen)";
    match (asked, default) {
        (Some(OFF), _) | (None, None) => Ok(None),
        (Some(address), _) => open(WHAT, BY, address).await.map(Some),
        (None, Some(address)) => match open(WHAT, BY, address).await {
            Ok(opened) => Ok(Some(opened)),
            Err(error) => {
                tracing::warn!("{error:#}, or `--ws off`; going on without");
                Ok(None)
            }
        },
    }
}

fn read(what: &str, path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("failed to read the {what} {}", path.display()))
}

/// The TLS of `gateway.mqtts` or `gateway.wss`.
fn tls(name: &str, door: &SecureDoor, directory: Option<&Path>) -> Result<TlsConfig> {
    let (certificate, key) = match (&door.cert, &door.key, directory) {
        (Some(certificate), Some(key), _) => (read("certificate", certificate)?, read("private key", key)?),
        (None, None, Some(directory)) => self_signed(name, directory)?,
        (None, None, None) => bail!("gateway.{name}.listen needs gateway.{name}.cert and gateway.{name}.key"),
        _ => bail!("gateway.{name}.cert and gateway.{name}.key belong together: give both or neither"),
    };
    let ca = door.client_ca.as_deref().map(|path| read("client CA", path)).transpose()?;
    let client_ca = ca.as_deref().map(|ca| (ca, OrganizationId::default_organization()));
    Ok(TlsConfig::from_pem(&certificate, &key, client_ca)?)
}

/// A certificate of our own making, for trying out. It stays the same over starts, so that devices may pin it, and is
/// the same for both.
fn self_signed(name: &str, directory: &Path) -> Result<(Vec<u8>, Vec<u8>)> {
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
    Ok((read("certificate", &certificate)?, read("private key", &key)?))
}
