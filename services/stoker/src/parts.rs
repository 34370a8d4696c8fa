//! What one process and several are made of alike.

use std::time::Duration;

use anyhow::{Context, Result};
use stoker_domain::Settings;
use stoker_domain::model::MemberId;
use stoker_notifier::{EmailConfig, Notifier, NotifierConfig};

use crate::config::Configuration;

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
