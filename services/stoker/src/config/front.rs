//! `gateway.…` and `portal.…`: where devices and people come.

use std::path::PathBuf;

use serde::Deserialize;

/// `gateway.…`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Gateway {
    /// Some of the cores, `host:port`.
    pub(crate) cores: Vec<String>,
    pub(crate) mqtt: Door,
    pub(crate) mqtts: SecureDoor,
    pub(crate) ws: Door,
    pub(crate) wss: SecureDoor,
}

/// `gateway.mqtt.…`, `gateway.ws.…`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Door {
    pub(crate) listen: Option<String>,
    pub(crate) proxy_protocol: ProxyProtocol,
}

/// `gateway.mqtts.…`, `gateway.wss.…`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SecureDoor {
    pub(crate) listen: Option<String>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) client_ca: Option<PathBuf>,
    pub(crate) proxy_protocol: ProxyProtocol,
}

/// `gateway.mqtt.proxy_protocol.…`, and of the others.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ProxyProtocol {
    /// CIDRs of the balancers in front.
    pub(crate) trusted_cidrs: Vec<String>,
}

/// `portal.…`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Portal {
    /// Some of the cores, `host:port`.
    pub(crate) cores: Vec<String>,
    pub(crate) listen: Option<String>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    /// The name under which people reach it.
    pub(crate) hostname: Option<String>,
    /// Whether they do so by HTTPS, when that is not spoken here.
    pub(crate) https: Option<bool>,
    /// Where devices connect, for the console to say.
    pub(crate) mqtt_url: Option<String>,
}
