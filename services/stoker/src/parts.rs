//! What one process and several are made of alike.

use std::time::Duration;

use anyhow::{Context, Result};
use stoker_domain::Settings;
use stoker_domain::model::MemberId;
use stoker_notifier::{EmailConfig, Notifier, NotifierConfig};
use stoker_store::CassandraOptions;

use crate::config::{self, Configuration};

const KEYSPACE: &str = "stoker";
const DATACENTER: &str = "datacenter1";

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
    if let Some(replicas) = cassandra.replication_factor {
        options.replication_factor = replicas;
    }
    Ok(options)
}

/// What is asked for by a key that has to be there.
pub(crate) fn required<'a, T>(value: Option<&'a T>, key: &str) -> Result<&'a T> {
    let variable = format!("STOKER__{}", key.to_uppercase().replace('.', "__"));
    value.with_context(|| {
        format!("{key} is not configured: give it in the file of --config, or by {variable}")
    })
}
