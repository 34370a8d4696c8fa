//! What one process and several are made of alike.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use stoker_bus::{BrokerUrl, Prefix, RabbitConfig};
use stoker_domain::Settings;
use stoker_domain::model::MemberId;
use stoker_gateway::Drain;
use stoker_notifier::{EmailConfig, Notifier, NotifierConfig};
use stoker_store::CassandraOptions;

use crate::config::{self, Configuration};

const KEYSPACE: &str = "stoker";
const DATACENTER: &str = "datacenter1";
/// A gateway has let all its devices go after this time: most orchestrators wait for as long.
const DRAIN_WITHIN: Duration = Duration::from_secs(30);
/// Connections may take so long to end when the last has been told to.
const DRAIN_GOODBYE: Duration = Duration::from_secs(10);

/// A fresh name for this process.
pub(crate) fn member() -> Result<MemberId> {
    let random = getrandom::u64().map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(MemberId::new(&format!("m{random:016x}"))?)
}

/// The limits and delays that are configured.
pub(crate) fn settings(configuration: &Configuration) -> Settings {
    let mut settings = Settings::default();
    let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    if let Some(after) = configuration.silence.after {
        settings.silence_after_ms = millis(after);
    }
    if let Some(grace) = configuration.silence.grace {
        settings.silence_grace_ms = millis(grace);
    }
    if let Some(bytes) = configuration.attributes.max_bytes {
        settings.max_attribute_bytes = bytes;
    }
    settings
}

/// How a gateway lets its devices go.
pub(crate) fn drain(configuration: &Configuration) -> Drain {
    let drain = &configuration.drain;
    Drain {
        within: drain.within.unwrap_or(DRAIN_WITHIN),
        max_rate: drain.max_rate,
        handover_grace: drain.handover_grace,
        goodbye: DRAIN_GOODBYE,
    }
}

/// A notifier as it is configured, to which these ranges are open for webhooks, too.
pub(crate) fn notifier(configuration: &Configuration, allow: &[&str]) -> Result<Notifier> {
    let email = configuration.notifier.email.clone();
    let own = configuration.notifier.webhook.allow.iter().cloned();
    let allow = own.chain(allow.iter().map(|cidr| (*cidr).to_owned())).collect();
    let config = NotifierConfig {
        email: email.map(|email| EmailConfig { smtp_url: email.smtp_url, from: email.from }),
        webhook_allow: allow,
        ..NotifierConfig::default()
    };
    Notifier::new(&config).context("the notifier's configuration is wrong")
}

/// The cluster that is configured.
pub(crate) fn cassandra_options(cassandra: &config::Cassandra) -> Result<CassandraOptions> {
    required(cassandra.contact_points.first(), "cassandra.contact_points")?;
    let text = |value: &Option<String>, default: &str| value.clone().unwrap_or_else(|| default.to_owned());
    let mut options = CassandraOptions::new(
        cassandra.contact_points.clone(),
        text(&cassandra.keyspace, KEYSPACE),
        text(&cassandra.datacenter, DATACENTER),
    );
    options.username.clone_from(&cassandra.username);
    options.password.clone_from(&cassandra.password);
    options.tls = cassandra.files()?.map(|files| files.open()).transpose()?;
    if let Some(replicas) = cassandra.replication_factor {
        options.replication_factor = replicas;
    }
    Ok(options)
}

/// The broker that is configured. `name` stands in its list of connections.
pub(crate) fn rabbit_config(bus: &config::Bus, name: String) -> Result<RabbitConfig> {
    let url: BrokerUrl = required(bus.url.as_ref(), "bus.url")?.parse().context("bus.url is wrong")?;
    let (files, is_tls) = (bus.files(), url.is_tls());
    if !is_tls && files.any() {
        bail!(
            "bus.ca, bus.cert and bus.key are for amqps://…, and bus.url is amqp://…: nothing would be encrypted"
        );
    }
    let mut config = RabbitConfig::new(url, name);
    if let Some(prefix) = &bus.prefix {
        config.prefix = prefix.parse::<Prefix>().context("bus.prefix is wrong")?;
    }
    config.tls = is_tls.then(|| files.open()).transpose()?;
    Ok(config)
}

/// What is asked for by a key that has to be there.
pub(crate) fn required<'a, T>(value: Option<&'a T>, key: &str) -> Result<&'a T> {
    let variable = format!("STOKER__{}", key.to_uppercase().replace('.', "__"));
    value.with_context(|| {
        format!("{key} is not configured: give it in the file of --config, or by {variable}")
    })
}

/// The machine's name, for people.
pub(crate) fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_is_to_be_trusted_by_a_file_is_spoken_to_by_tls_alone() {
        let bus = |url: &str, ca: Option<&str>| config::Bus {
            url: Some(url.to_owned()),
            ca: ca.map(Into::into),
            ..config::Bus::default()
        };
        let refused = |url, ca| match rabbit_config(&bus(url, ca), "x".to_owned()) {
            Err(error) => format!("{error:#}"),
            Ok(_) => panic!("{url} is taken"),
        };
        assert!(refused("amqp://mq/", Some("ca.crt")).contains("nothing would be encrypted"));
        assert!(refused("amqps://mq/", Some("/nowhere/ca.crt")).contains("bus.ca /nowhere/ca.crt"));
        assert!(rabbit_config(&bus("amqp://mq/", None), "x".to_owned()).is_ok_and(|c| c.tls.is_none()));
    }

    #[test]
    fn nodes_are_spoken_to_by_tls_where_their_authority_is_named() {
        let cassandra = |ca: Option<&str>, cert: Option<&str>| config::Cassandra {
            contact_points: vec!["db".to_owned()],
            ca: ca.map(Into::into),
            cert: cert.map(Into::into),
            ..config::Cassandra::default()
        };
        let refused = |ca, cert| format!("{:#}", cassandra_options(&cassandra(ca, cert)).unwrap_err());
        assert!(refused(None, Some("a.crt")).contains("cassandra.ca is missing"));
        assert!(refused(Some("/nowhere/ca.crt"), None).contains("cassandra.ca /nowhere/ca.crt"));
        assert!(cassandra_options(&cassandra(None, None)).unwrap().tls.is_none());
    }
}
