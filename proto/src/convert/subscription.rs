//! Subscriptions, checked as people write them.

use stoker_domain as domain;

use super::{WireError, severity_from_wire, severity_to_wire};
use crate::core::v1 as wire;

fn strings(list: Option<wire::Strings>) -> Option<Vec<String>> {
    list.map(|list| list.items)
}

fn to_strings(list: Option<Vec<String>>) -> Option<wire::Strings> {
    list.map(|items| wire::Strings { items })
}

/// From the wire; absent means that everything matches.
///
/// # Errors
/// When the severity is none.
pub fn match_from_wire(value: Option<wire::Match>) -> Result<domain::Match, WireError> {
    let Some(value) = value else { return Ok(domain::Match::default()) };
    Ok(domain::Match {
        devices: strings(value.devices),
        sites: strings(value.sites),
        tags: strings(value.tags),
        min_severity: value.min_severity.map(severity_from_wire).transpose()?,
    })
}

/// To the wire.
#[must_use]
pub fn match_to_wire(value: domain::Match) -> wire::Match {
    wire::Match {
        devices: to_strings(value.devices),
        sites: to_strings(value.sites),
        tags: to_strings(value.tags),
        min_severity: value.min_severity.map(severity_to_wire),
    }
}

/// From the wire.
///
/// # Errors
/// When the kind of a channel is missing.
pub fn channel_from_wire(channel: wire::Channel) -> Result<domain::Channel, WireError> {
    match channel.kind {
        None => Err(WireError::Missing("channel")),
        Some(wire::channel::Kind::Email(email)) => Ok(domain::Channel::Email { to: email.to }),
        Some(wire::channel::Kind::Webhook(webhook)) => {
            Ok(domain::Channel::Webhook { url: webhook.url, secret: webhook.secret })
        }
    }
}

/// To the wire, without the secret.
#[must_use]
pub fn channel_to_wire(channel: domain::Channel) -> wire::Channel {
    let kind = match channel {
        domain::Channel::Email { to } => wire::channel::Kind::Email(wire::channel::Email { to }),
        domain::Channel::Webhook { url, secret: _ } => {
            wire::channel::Kind::Webhook(wire::channel::Webhook { url, secret: String::new() })
        }
    };
    wire::Channel { kind: Some(kind) }
}

/// To the wire, without secrets.
#[must_use]
pub fn subscription_to_wire(subscription: domain::Subscription) -> wire::Subscription {
    wire::Subscription {
        id: subscription.id.as_str().to_owned(),
        organization: subscription.organization.as_str().to_owned(),
        name: subscription.name,
        r#match: Some(match_to_wire(subscription.matching)),
        deliver: subscription.deliver.into_iter().map(channel_to_wire).collect(),
        created_at: subscription.created_at,
    }
}
