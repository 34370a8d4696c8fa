//! Opening the ports: before anything else, so that a taken one costs nothing.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, bail};
use stoker_domain::model::OrganizationId;
use stoker_gateway::{Listener, TlsConfig};
use tokio::net::TcpListener;

use super::Up;
use crate::config::{Configuration, SecureDoor};

/// Where devices come by WebSocket unless told otherwise.
const WS: &str = "127.0.0.1:8083";
/// In place of an address: nowhere.
const OFF: &str = "off";

/// All ports, open.
pub(super) struct Ports {
    pub(super) devices: Vec<Listener>,
    pub(super) http: TcpListener,
    pub(super) admin: TcpListener,
    pub(super) mqtt_address: SocketAddr,
    /// Where devices come, for a person.
    device_urls: Vec<String>,
    pub(super) http_address: SocketAddr,
    admin_address: SocketAddr,
}

async fn open(what: &str, flag: &str, address: &str) -> Result<(TcpListener, SocketAddr)> {
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => {
            let way_out = match error.kind() {
                ErrorKind::AddrInUse => {
                    format!("another process has the port: stop it, or give another address by {flag}")
                }
                ErrorKind::PermissionDenied => {
                    format!("ports below 1024 need a privilege: give another address by {flag}")
                }
                _ => format!("{flag} takes an address such as 127.0.0.1:1883"),
            };
            bail!("failed to listen for {what} on {address}: {error}; {way_out}");
        }
    };
    let address = listener.local_addr().with_context(|| format!("failed to read the address for {what}"))?;
    Ok((listener, address))
}

/// The port for WebSocket. One that nobody has asked for, and that something else has, is no reason not to start: it is
/// a common one, and most devices come by TCP.
async fn open_ws(asked: Option<&str>) -> Result<Option<(TcpListener, SocketAddr)>> {
    const WHAT: &str = "MQTT over WebSocket";
    match asked {
        Some(OFF) => Ok(None),
        Some(address) => open(WHAT, "--ws", address).await.map(Some),
        None => match open(WHAT, "--ws", WS).await {
            Ok(opened) => Ok(Some(opened)),
            Err(error) => {
                tracing::warn!("{error:#}, or `--ws off`; going on without");
                Ok(None)
            }
        },
    }
}

impl Ports {
    pub(super) async fn open(up: &Up, configuration: &Configuration, directory: &Path) -> Result<Self> {
        let pick = |flag: &Option<String>, configured: &Option<String>, default: &str| {
            flag.clone().or_else(|| configured.clone()).unwrap_or_else(|| default.to_owned())
        };
        let gateway = &configuration.gateway;
        let mqtt = pick(&up.mqtt, &gateway.mqtt.listen, "127.0.0.1:1883");
        let (mqtt, mqtt_address) = open("MQTT", "--mqtt", &mqtt).await?;
        let mut devices = vec![Listener::Mqtt(mqtt)];
        let mut device_urls = vec![format!("mqtt://{mqtt_address}")];
        if let Some(address) = up.mqtts.as_ref().or(gateway.mqtts.listen.as_ref()) {
            let (listener, address) = open("MQTT over TLS", "--mqtts", address).await?;
            devices.push(Listener::Mqtts(listener, tls("mqtts", &gateway.mqtts, directory)?));
            device_urls.push(format!("mqtts://{address}"));
        }
        if let Some((listener, address)) = open_ws(up.ws.as_deref().or(gateway.ws.listen.as_deref())).await? {
            devices.push(Listener::Ws(listener));
            device_urls.push(format!("ws://{address}/mqtt"));
        }
        if let Some(address) = up.wss.as_ref().or(gateway.wss.listen.as_ref()) {
            let (listener, address) = open("MQTT over WebSocket over TLS", "--wss", address).await?;
            devices.push(Listener::Wss(listener, tls("wss", &gateway.wss, directory)?));
            device_urls.push(format!("wss://{address}/mqtt"));
        }
        let http = pick(&up.http, &configuration.portal.listen, "127.0.0.1:8080");
        let (http, http_address) = open("HTTP", "--http", &http).await?;
        let admin = pick(&up.admin, &configuration.admin.listen, "127.0.0.1:9090");
        let (admin, admin_address) = open("health and metrics", "--admin", &admin).await?;
        Ok(Self { devices, http, admin, mqtt_address, device_urls, http_address, admin_address })
    }

    /// Where everything is, for a person.
    pub(super) fn shown(&self, token_file: &Path) -> String {
        format!(
            "console http://{}, devices {}, private port {}, token in {}",
            self.http_address,
            self.device_urls.join(" "),
            self.admin_address,
            token_file.display()
        )
    }
}

fn read(what: &str, path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("failed to read the {what} {}", path.display()))
}

/// The TLS of `gateway.mqtts` or `gateway.wss`.
fn tls(name: &str, door: &SecureDoor, directory: &Path) -> Result<TlsConfig> {
    let (certificate, key) = match (&door.cert, &door.key) {
        (Some(certificate), Some(key)) => (read("certificate", certificate)?, read("private key", key)?),
        (None, None) => self_signed(name, directory)?,
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
