//! `stoker.yaml`, without anything secret.

use serde::Serialize;
use stoker_crds::SlotRange;

use super::{HTTPS, TLS, port};
use crate::certificates::CORE_NAME;
use crate::check::{self, Doors, seconds, slots};
use crate::facts::Facts;
use crate::make::pod::{ADMIN_TOKEN, door};
use crate::names::CORES;
use crate::wanted::{Resource, Spec};

/// Devices of a gateway that ends have been told to go by then.
pub(super) const DRAIN_WITHIN_S: i64 = 30;

#[derive(Default, Serialize)]
struct Config {
    admin: Admin,
    #[serde(skip_serializing_if = "Option::is_none")]
    cassandra: Option<Cassandra>,
    #[serde(skip_serializing_if = "Option::is_none")]
    core: Option<Core>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drain: Option<Drain>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<Gateway>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notifier: Option<Notifier>,
    #[serde(skip_serializing_if = "Option::is_none")]
    portal: Option<Portal>,
    tls: Tls,
}

#[derive(Serialize)]
struct Admin {
    listen: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_file: Option<&'static str>,
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: everywhere(port::PRIVATE), token_file: None }
    }
}

/// Among the services.
#[derive(Serialize)]
struct Tls {
    cert: String,
    key: String,
    ca: String,
    core_name: &'static str,
}

impl Default for Tls {
    fn default() -> Self {
        let [cert, key, ca] = ["tls.crt", "tls.key", "ca.crt"].map(|file| format!("{}/{file}", door(TLS)));
        Self { cert, key, ca, core_name: CORE_NAME }
    }
}

#[derive(Serialize)]
struct Cassandra {
    contact_points: Vec<String>,
    keyspace: String,
    datacenter: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    replication_factor: Option<i32>,
}

#[derive(Serialize)]
struct Core {
    listen: String,
    shard: String,
    slots: String,
}

#[derive(Serialize)]
struct Drain {
    within: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_rate: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    handover_grace: Option<String>,
}

#[derive(Serialize)]
struct Gateway {
    cores: [String; 1],
    mqtt: Door,
    #[serde(skip_serializing_if = "Option::is_none")]
    mqtts: Option<Door>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ws: Option<Door>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wss: Option<Door>,
}

#[derive(Default, Serialize)]
struct Door {
    listen: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy_protocol: Option<ProxyProtocol>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cert: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_ca: Option<String>,
}

#[derive(Serialize)]
struct ProxyProtocol {
    trusted_cidrs: Vec<String>,
}

#[derive(Serialize)]
struct Notifier {
    cores: [String; 1],
    webhook: Webhook,
}

#[derive(Serialize)]
struct Webhook {
    allow: Vec<String>,
}

#[derive(Serialize)]
struct Portal {
    cores: [String; 1],
    listen: String,
    hostname: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mqtt_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cert: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

fn everywhere(port: i32) -> String {
    format!("0.0.0.0:{port}")
}

fn some_cores() -> [String; 1] {
    [format!("{CORES}:{}", port::CORE)]
}

/// The door `name` of a pod. With `ca.crt` in its Secret, devices may show certificates that it has signed.
fn open(name: &str, port: i32, of: &check::Door<'_>, facts: &Facts) -> Door {
    let file = |file: &str| of.secret.map(|_| format!("{}/{file}", door(name)));
    let secret = of.secret.and_then(|secret| facts.secrets.get(secret));
    let with_ca = secret.is_some_and(|secret| secret.digests.contains_key("ca.crt"));
    let trusted_cidrs: Vec<String> = of.trusted.iter().map(|cidr| (*cidr).to_owned()).collect();
    Door {
        listen: everywhere(port),
        proxy_protocol: (!trusted_cidrs.is_empty()).then_some(ProxyProtocol { trusted_cidrs }),
        cert: file("tls.crt"),
        key: file("tls.key"),
        client_ca: file("ca.crt").filter(|_| with_ca),
    }
}

/// The whole file of the pods of `of`. `mqtt_url` is where devices connect, as a Portal is to say.
pub(super) fn text(
    of: &Resource<'_>,
    range: Option<SlotRange>,
    mqtt_url: Option<&str>,
    facts: &Facts,
) -> String {
    let mut config = Config::default();
    match of.spec {
        Spec::CoreShard(spec) => {
            let cassandra = &spec.cassandra;
            config.cassandra = Some(Cassandra {
                contact_points: cassandra.contact_points.clone(),
                keyspace: cassandra.keyspace.clone(),
                datacenter: cassandra.datacenter.clone(),
                replication_factor: cassandra.replication_factor,
            });
            config.core = Some(Core {
                listen: everywhere(port::CORE),
                shard: of.id.name.clone(),
                slots: slots::text(range.unwrap_or(spec.slots)),
            });
        }
        Spec::Gateway(spec) => {
            let doors = Doors::of(&spec.listeners);
            config.drain = Some(Drain {
                within: format!("{DRAIN_WITHIN_S}s"),
                max_rate: spec.drain.max_rate,
                handover_grace: spec
                    .drain
                    .handover_grace
                    .as_deref()
                    .and_then(seconds)
                    .map(|seconds| format!("{seconds}s")),
            });
            let open = |name, port, door: &Option<check::Door<'_>>| {
                door.as_ref().map(|door| open(name, port, door, facts))
            };
            // A gateway always has this port: where it is not asked for, nobody else reaches it.
            let hidden = || Door { listen: format!("127.0.0.1:{}", port::MQTT), ..Door::default() };
            config.gateway = Some(Gateway {
                cores: some_cores(),
                mqtt: open("mqtt", port::MQTT, &doors.mqtt).unwrap_or_else(hidden),
                mqtts: open("mqtts", port::MQTTS, &doors.mqtts),
                ws: open("ws", port::WS, &doors.ws),
                wss: open("wss", port::WSS, &doors.wss),
            });
        }
        Spec::Notifier(spec) => {
            config.notifier = Some(Notifier {
                cores: some_cores(),
                webhook: Webhook { allow: spec.webhook.allow.clone() },
            });
        }
        Spec::Portal(spec) => {
            config.admin.token_file = Some(ADMIN_TOKEN);
            let secret = spec.tls_secret_name.as_ref();
            let file = |file: &str| secret.map(|_| format!("{}/{file}", door(HTTPS)));
            config.portal = Some(Portal {
                cores: some_cores(),
                listen: everywhere(if secret.is_some() { port::HTTPS } else { port::HTTP }),
                hostname: spec.hostname.clone(),
                mqtt_url: mqtt_url.map(str::to_owned),
                cert: file("tls.crt"),
                key: file("tls.key"),
            });
        }
    }
    // These are texts and numbers: YAML has all of them.
    serde_yaml::to_string(&config).unwrap_or_else(|error| format!("# {error}\n"))
}
