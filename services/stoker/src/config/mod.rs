//! One configuration: a YAML file, the environment over it, flags over both.

mod front;
mod telemetry;
mod tls;
mod yaml;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Deserializer};
use stoker_link::TlsFiles;

use crate::outward::Files;
pub(crate) use front::{Gateway, Portal, ProxyProtocol, SecureDoor};
pub(crate) use telemetry::STANDARD;

/// Everything that can be configured. An unknown key is an error that names it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Configuration {
    pub(crate) notifier: Notifier,
    pub(crate) gateway: Gateway,
    pub(crate) portal: Portal,
    pub(crate) admin: Admin,
    pub(crate) silence: Silence,
    pub(crate) drain: Drain,
    pub(crate) cassandra: Cassandra,
    pub(crate) bus: Bus,
    pub(crate) core: Core,
    pub(crate) attributes: Attributes,
    pub(crate) telemetry: telemetry::Telemetry,
    pub(crate) crash: telemetry::Crash,
    /// `tls.…`, among the services.
    #[serde(deserialize_with = "tls::files")]
    pub(crate) tls: Option<TlsFiles>,
}

/// `cassandra.…`
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Cassandra {
    /// Some of the nodes, `host` or `host:port`.
    pub(crate) contact_points: Vec<String>,
    pub(crate) keyspace: Option<String>,
    pub(crate) datacenter: Option<String>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    /// Replicas, when the keyspace has to be made.
    pub(crate) replication_factor: Option<u8>,
    /// Who has signed the nodes' certificates; with it, TLS is spoken.
    pub(crate) ca: Option<PathBuf>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

impl Cassandra {
    /// What TLS towards the nodes needs; none where there is to be none.
    ///
    /// # Errors
    /// There is a certificate to show, and nobody to trust.
    pub(crate) fn files(&self) -> Result<Option<Files>> {
        let Self { ca, cert, key, .. } = self.clone();
        if ca.is_none() && (cert.is_some() || key.is_some()) {
            anyhow::bail!(
                "cassandra.ca is missing: it names the authority of the nodes' certificates, and turns TLS on"
            );
        }
        Ok(ca.is_some().then_some(Files { section: "cassandra", ca, cert, key }))
    }
}

impl std::fmt::Debug for Cassandra {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cassandra")
            .field("contact_points", &self.contact_points)
            .field("keyspace", &self.keyspace)
            .finish_non_exhaustive()
    }
}

/// `bus.…`
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Bus {
    /// `amqp://user:password@host:port/vhost`
    pub(crate) url: Option<String>,
    /// What the names of all queues begin with.
    pub(crate) prefix: Option<String>,
    /// Who has signed the broker's certificate, when it is none that the system trusts.
    pub(crate) ca: Option<PathBuf>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

impl Bus {
    /// What TLS towards the broker needs.
    pub(crate) fn files(&self) -> Files {
        let Self { ca, cert, key, .. } = self.clone();
        Files { section: "bus", ca, cert, key }
    }
}

impl std::fmt::Debug for Bus {
    /// The URL may carry a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// `core.…`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Core {
    pub(crate) listen: Option<String>,
    /// Where the others reach it, when that is not where it listens.
    pub(crate) advertise: Option<String>,
    /// The name of its shard, for people.
    pub(crate) shard: Option<String>,
    /// The slots that it may own, such as `0-127`.
    pub(crate) slots: Option<String>,
}

/// `notifier.…`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Notifier {
    /// Some of the cores, `host:port`.
    pub(crate) cores: Vec<String>,
    pub(crate) email: Option<Email>,
    pub(crate) webhook: Webhook,
}

/// `notifier.email.…`
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Email {
    pub(crate) smtp_url: String,
    pub(crate) from: String,
}

impl std::fmt::Debug for Email {
    /// The URL may carry a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Email").field("from", &self.from).finish_non_exhaustive()
    }
}

/// `notifier.webhook.…`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Webhook {
    /// CIDRs that webhooks may have although they are not public.
    pub(crate) allow: Vec<String>,
}

/// `admin.…`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Admin {
    pub(crate) listen: Option<String>,
    pub(crate) token_file: Option<PathBuf>,
}

/// `silence.…`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Silence {
    #[serde(deserialize_with = "duration")]
    pub(crate) after: Option<Duration>,
    #[serde(deserialize_with = "duration")]
    pub(crate) grace: Option<Duration>,
}

/// `drain.…`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Drain {
    #[serde(deserialize_with = "duration")]
    pub(crate) within: Option<Duration>,
    /// Sessions in a second.
    pub(crate) max_rate: Option<NonZeroU32>,
    #[serde(deserialize_with = "duration")]
    pub(crate) handover_grace: Option<Duration>,
}

/// `attributes.…`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Attributes {
    #[serde(deserialize_with = "scope_bytes")]
    pub(crate) max_bytes: Option<usize>,
}

/// All scopes of a device go in one answer among the services, of 4 MiB at most.
fn scope_bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<usize>, D::Error> {
    use serde::de::Error;
    match usize::deserialize(from)? {
        bytes @ 1_024..=1_048_576 => Ok(Some(bytes)),
        bytes => Err(D::Error::custom(format!("a scope has 1024 to 1048576 bytes, not {bytes}"))),
    }
}

/// `10` (seconds), `"10s"`, `"1m 30s"`.
fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    use serde::de::Error;
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Seconds(u64),
        Text(String),
    }
    let duration = match Form::deserialize(from)? {
        Form::Seconds(seconds) => Duration::from_secs(seconds),
        Form::Text(text) => {
            if let Ok(seconds) = text.parse() {
                return within_a_year(Duration::from_secs(seconds)).map(Some);
            }
            let wrong = |why: String| {
                D::Error::custom(format!("{text:?} is no duration such as 10s or 1m 30s: {why}"))
            };
            let signed: jiff::SignedDuration =
                text.parse().map_err(|error: jiff::Error| wrong(error.to_string()))?;
            Duration::try_from(signed).map_err(|error| wrong(error.to_string()))?
        }
    };
    within_a_year(duration).map(Some)
}

/// A longer one is a mistake, and no arithmetic on times is to overflow.
fn within_a_year<E: serde::de::Error>(duration: Duration) -> Result<Duration, E> {
    if duration > Duration::from_secs(31_536_000) {
        return Err(E::custom("a duration is at most a year"));
    }
    Ok(duration)
}

/// Lists may come from the environment with commas between.
const LISTS: [&str; 9] = [
    "notifier.webhook.allow",
    "cassandra.contact_points",
    "gateway.cores",
    "gateway.mqtt.proxy_protocol.trusted_cidrs",
    "gateway.mqtts.proxy_protocol.trusted_cidrs",
    "gateway.ws.proxy_protocol.trusted_cidrs",
    "gateway.wss.proxy_protocol.trusted_cidrs",
    "notifier.cores",
    "portal.cores",
];

/// The variables: lists, and all others. Only lists are parsed; a password that looks like a number is none, and what is to be
/// one is read as such when it is taken.
fn environment(variables: Vec<(String, String)>) -> [config::Environment; 2] {
    let is_list = |name: &str| {
        let key = name.to_lowercase().replace("__", ".");
        LISTS.iter().any(|list| key.strip_prefix("stoker.") == Some(*list))
    };
    let (lists, others): (config::Map<_, _>, config::Map<_, _>) =
        variables.into_iter().partition(|(name, _)| is_list(name));
    let source = |of| {
        config::Environment::with_prefix("STOKER").prefix_separator("__").separator("__").source(Some(of))
    };
    let mut parsed = source(lists).list_separator(",").try_parsing(true);
    for list in LISTS {
        parsed = parsed.with_list_parse_key(list);
    }
    [parsed, source(others)]
}

impl Configuration {
    /// Reads the file, if one is given, and the environment: `STOKER__SECTION__KEY`.
    ///
    /// # Errors
    /// Names the file and the key that is unknown or wrong.
    pub(crate) fn read(file: Option<&Path>) -> Result<Self> {
        let mut variables = Vec::new();
        for (name, value) in std::env::vars_os() {
            // Of others that are no text nothing is wanted.
            let Ok(name) = name.into_string() else { continue };
            if name.to_uppercase().starts_with("STOKER__") {
                let value = value.into_string();
                variables.push((name.clone(), value.map_err(|_| anyhow!("{name} is no UTF-8"))?));
            }
        }
        Self::from_sources(file, variables)
    }

    fn from_sources(file: Option<&Path>, variables: Vec<(String, String)>) -> Result<Self> {
        let mut builder = config::Config::builder();
        if let Some(path) = file {
            builder = builder.add_source(yaml::YamlFile::open(path)?);
        }
        for source in environment(variables) {
            builder = builder.add_source(source);
        }
        let merged = builder.build().context("failed to read the configuration")?;
        let place = match file {
            Some(path) => format!("{} or the environment (STOKER__…)", path.display()),
            None => "the environment (STOKER__…)".to_owned(),
        };
        merged.try_deserialize().with_context(|| format!("the configuration is wrong: see {place}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str, environment: &[(&str, &str)]) -> Result<Configuration, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), yaml).unwrap();
        let all = environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Configuration::from_sources(Some(file.path()), all).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn what_looks_like_a_number_is_one_only_where_it_is_to_be() {
        let read = read(
            "",
            &[
                ("STOKER__CASSANDRA__USERNAME", "true"),
                ("STOKER__CASSANDRA__PASSWORD", "007"),
                ("STOKER__CASSANDRA__REPLICATION_FACTOR", "1"),
                ("STOKER__GATEWAY__CORES", "core-1:7400,core-2:7400"),
                ("STOKER__SILENCE__AFTER", "7"),
                ("STOKER__TELEMETRY__OTLP__SAMPLE_RATIO", "0.5"),
            ],
        )
        .unwrap();
        assert_eq!(read.cassandra.username.as_deref(), Some("true"));
        assert_eq!(read.cassandra.password.as_deref(), Some("007"));
        assert_eq!(read.gateway.cores, ["core-1:7400", "core-2:7400"]);
        assert_eq!(read.silence.after, Some(Duration::from_secs(7)));
    }

    #[test]
    fn the_bytes_of_attributes_have_bounds_themselves() {
        let max_bytes = |text| read(text, &[]).map(|read| read.attributes.max_bytes);
        assert_eq!(max_bytes("attributes: {max_bytes: 65536}"), Ok(Some(65_536)));
        assert_eq!(max_bytes("{}"), Ok(None));
        let refused = max_bytes("attributes: {max_bytes: 9000000}").unwrap_err();
        assert!(refused.contains("1024 to 1048576 bytes, not 9000000"), "{refused}");
    }

    #[test]
    fn a_drain_has_its_bounds_or_none() {
        let drain = |yaml, environment: &[_]| read(yaml, environment).map(|read| read.drain);
        let none = drain("{}", &[]).unwrap();
        assert_eq!((none.within, none.max_rate, none.handover_grace), (None, None, None));
        let yaml = "drain: {within: 2m, max_rate: 100, handover_grace: 90s}";
        let all = drain(yaml, &[("STOKER__DRAIN__MAX_RATE", "250")]).unwrap();
        assert_eq!(all.within, Some(Duration::from_secs(120)));
        assert_eq!(all.max_rate.map(NonZeroU32::get), Some(250));
        assert_eq!(all.handover_grace, Some(Duration::from_secs(90)));
        for wrong in ["drain: {max_rate: 0}", "drain: {max_rate: -1}", "drain: {max_rate: many}"] {
            let error = drain(wrong, &[]).unwrap_err();
            assert!(error.contains("drain.max_rate"), "{error}");
        }
    }

    #[test]
    fn a_file_and_the_environment_over_it() {
        let yaml = "notifier:\n  email: {smtp_url: 'smtp://127.0.0.1:25', from: a@example.com}\n  webhook:\n    allow: [10.0.0.0/8]\nsilence: {after: 3s, grace: 20}\n";
        let read = read(
            yaml,
            &[("STOKER__SILENCE__AFTER", "5s"), ("STOKER__NOTIFIER__WEBHOOK__ALLOW", "127.0.0.0/8,::1/128")],
        )
        .unwrap();
        assert_eq!(read.silence.after, Some(Duration::from_secs(5)));
        assert_eq!(read.silence.grace, Some(Duration::from_secs(20)));
        assert_eq!(read.notifier.webhook.allow, ["127.0.0.0/8", "::1/128"]);
        assert_eq!(read.notifier.email.map(|email| email.from).as_deref(), Some("a@example.com"));
    }

    #[test]
    fn every_door_has_its_own_keys() {
        let yaml = "gateway:\n  ws: {listen: '127.0.0.1:1', proxy_protocol: {trusted_cidrs: [10.0.0.0/8]}}\n  wss: {listen: '127.0.0.1:2', cert: a.crt, key: a.key, client_ca: ca.crt}\n";
        let trusted = ("STOKER__GATEWAY__WSS__PROXY_PROTOCOL__TRUSTED_CIDRS", "10.0.0.0/8,::1");
        let read = read(yaml, &[("STOKER__GATEWAY__WS__LISTEN", "127.0.0.1:3"), trusted]).unwrap();
        assert_eq!(read.gateway.ws.proxy_protocol.trusted_cidrs, ["10.0.0.0/8"]);
        assert_eq!(read.gateway.wss.proxy_protocol.trusted_cidrs, ["10.0.0.0/8", "::1"]);
        assert_eq!(read.gateway.ws.listen.as_deref(), Some("127.0.0.1:3"));
        let wss = read.gateway.wss;
        let files = [wss.cert, wss.key, wss.client_ca].map(|path| path.unwrap().display().to_string());
        assert_eq!(
            (wss.listen.as_deref(), files.each_ref().map(String::as_str)),
            (Some("127.0.0.1:2"), ["a.crt", "a.key", "ca.crt"])
        );
        assert!(read.gateway.mqtt.listen.is_none() && read.gateway.mqtts.cert.is_none());
    }

    #[test]
    fn a_portal_has_its_name_and_its_certificate() {
        let environment = [("STOKER__PORTAL__HTTPS", "true"), ("STOKER__PORTAL__CERT", "a.crt")];
        let portal = read("portal: {key: a.key, hostname: stoker.example.com}", &environment).unwrap().portal;
        assert_eq!((portal.https, portal.hostname.as_deref()), (Some(true), Some("stoker.example.com")));
        assert_eq!([portal.cert, portal.key], ["a.crt", "a.key"].map(|path| Some(PathBuf::from(path))));
    }

    #[test]
    fn tls_among_the_services_has_all_its_files_or_none() {
        let files = |yaml, environment: &[_]| read(yaml, environment).map(|read| read.tls);
        let path = |name: &str| PathBuf::from(name);
        let named = |core_name: Option<&str>| {
            let core_name = core_name.map(str::to_owned);
            Some(TlsFiles { cert: path("a.crt"), key: path("a.key"), ca: path("ca.crt"), core_name })
        };
        let all = named(None);
        assert_eq!(files("tls: {cert: a.crt, key: a.key, ca: ca.crt}", &[]), Ok(all.clone()));
        let environment = [("STOKER__TLS__CERT", "a.crt"), ("STOKER__TLS__KEY", "a.key")];
        assert_eq!(files("tls: {ca: ca.crt}", &environment), Ok(all));
        let one_name = "tls: {cert: a.crt, key: a.key, ca: ca.crt, core_name: cores}";
        assert_eq!(files(one_name, &[]), Ok(named(Some("cores"))));
        assert_eq!(files("{}", &[]), Ok(None));
        assert_eq!(files("tls: {}", &[]), Ok(None));
        for (yaml, missing) in [
            ("tls: {key: a.key, ca: ca.crt}", "tls.cert is missing"),
            ("tls: {cert: a.crt, ca: ca.crt}", "tls.key is missing"),
            ("tls: {cert: a.crt, key: a.key}", "tls.ca is missing"),
            ("tls: {core_name: cores}", "tls.cert is missing"),
        ] {
            let error = files(yaml, &[]).unwrap_err();
            assert!(error.contains(missing), "{error}");
        }
    }

    #[test]
    fn an_unknown_key_is_named() {
        for (yaml, environment, key) in [
            ("silense: {after: 3s}", vec![], "silense"),
            ("silence: {afterwards: 3s}", vec![], "afterwards"),
            ("{}", vec![("STOKER__GATEWAY__MQTT__LISTN", "x")], "listn"),
            ("gateway: {ws: {cert: a.crt}}", vec![], "cert"),
            ("gateway: {ws: {proxy_protocol: {trusted: []}}}", vec![], "trusted"),
            ("tls: {client_ca: a.crt}", vec![], "client_ca"),
        ] {
            let error = read(yaml, &environment).unwrap_err();
            assert!(error.contains(key), "{error}");
        }
    }

    #[test]
    fn a_wrong_value_is_named() {
        let error = read("silence: {after: soon}", &[]).unwrap_err();
        assert!(error.contains("soon") && error.contains("silence.after"), "{error}");
        let error = read("silence: [", &[]).unwrap_err();
        assert!(error.contains("YAML"), "{error}");
        let error = read("silence: {after: 99999999999}", &[]).unwrap_err();
        assert!(error.contains("at most a year"), "{error}");
    }
}
