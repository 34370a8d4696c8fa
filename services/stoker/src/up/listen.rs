//! Opening the ports: before anything else, so that a taken one costs nothing.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, bail};
use stoker_domain::model::OrganizationId;
use stoker_gateway::{Listener, TlsConfig};
use tokio::net::TcpListener;

use super::Up;
use crate::config::{Configuration, Mqtts};

/// All ports, open.
pub(super) struct Ports {
    pub(super) devices: Vec<Listener>,
    pub(super) http: TcpListener,
    pub(super) admin: TcpListener,
    pub(super) mqtt_address: SocketAddr,
    mqtts_address: Option<SocketAddr>,
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

impl Ports {
    pub(super) async fn open(up: &Up, configuration: &Configuration, directory: &Path) -> Result<Self> {
        let pick = |flag: &Option<String>, configured: &Option<String>, default: &str| {
            flag.clone().or_else(|| configured.clone()).unwrap_or_else(|| default.to_owned())
        };
        let gateway = &configuration.gateway;
        let mqtt = pick(&up.mqtt, &gateway.mqtt.listen, "127.0.0.1:1883");
        let (mqtt, mqtt_address) = open("MQTT", "--mqtt", &mqtt).await?;
        let mut devices = vec![Listener::Mqtt(mqtt)];
        let mut mqtts_address = None;
        if let Some(address) = up.mqtts.as_ref().or(gateway.mqtts.listen.as_ref()) {
            let (listener, address) = open("MQTT over TLS", "--mqtts", address).await?;
            devices.push(Listener::Mqtts(listener, tls(&gateway.mqtts, directory)?));
            mqtts_address = Some(address);
        }
        let http = pick(&up.http, &configuration.portal.listen, "127.0.0.1:8080");
        let (http, http_address) = open("HTTP", "--http", &http).await?;
        let admin = pick(&up.admin, &configuration.admin.listen, "127.0.0.1:9090");
        let (admin, admin_address) = open("health and metrics", "--admin", &admin).await?;
        Ok(Self { devices, http, admin, mqtt_address, mqtts_address, http_address, admin_address })
    }

    /// Where everything is, for a person.
    pub(super) fn shown(&self, token_file: &Path) -> String {
        let mut text = format!("console http://{}, devices mqtt://{}", self.http_address, self.mqtt_address);
        if let Some(address) = self.mqtts_address {
            text.push_str(&format!(" mqtts://{address}"));
        }
        text.push_str(&format!(", private port {}, token in {}", self.admin_address, token_file.display()));
        text
    }
}

fn read(what: &str, path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("failed to read the {what} {}", path.display()))
}

fn tls(mqtts: &Mqtts, directory: &Path) -> Result<TlsConfig> {
    let (certificate, key) = match (&mqtts.cert, &mqtts.key) {
        (Some(certificate), Some(key)) => (read("certificate", certificate)?, read("private key", key)?),
        (None, None) => self_signed(directory)?,
        _ => bail!("gateway.mqtts.cert and gateway.mqtts.key belong together: give both or neither"),
    };
    let ca = mqtts.client_ca.as_deref().map(|path| read("client CA", path)).transpose()?;
    let client_ca = ca.as_deref().map(|ca| (ca, OrganizationId::default_organization()));
    Ok(TlsConfig::from_pem(&certificate, &key, client_ca)?)
}

/// A certificate of our own making, for trying out. It stays the same over starts, so that devices may pin it.
fn self_signed(directory: &Path) -> Result<(Vec<u8>, Vec<u8>)> {
    let (certificate, key) = (directory.join("mqtts.crt"), directory.join("mqtts.key"));
    if !certificate.exists() || !key.exists() {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).context("failed to make a certificate")?;
        crate::files::write_private(&key, made.signing_key.serialize_pem().as_bytes())?;
        crate::files::write_private(&certificate, made.cert.pem().as_bytes())?;
    }
    tracing::warn!(
        "no certificate is configured (gateway.mqtts.cert and .key): devices are shown a self-signed one, {}",
        certificate.display()
    );
    Ok((read("certificate", &certificate)?, read("private key", &key)?))
}
