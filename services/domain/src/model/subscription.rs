//! Subscriptions: who wants to know what, and how to reach them.

use std::collections::BTreeMap;

use super::Millis;
use super::alarm::Severity;
use super::ids::{DeviceId, DeviceKey, OrganizationId, SubscriptionId};
use super::notification::ChannelKind;

/// Which alarms a subscription wants. All given conditions must hold; an absent one holds always.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Match {
    /// Device ids, where `*` stands for any run of characters. Any one must match.
    pub devices: Option<Vec<String>>,
    /// Sites, compared whole or with `*`. Any one must match.
    pub sites: Option<Vec<String>>,
    /// Tags. The device must have any one of them.
    pub tags: Option<Vec<String>>,
    /// This severity or a worse one.
    pub min_severity: Option<Severity>,
}

/// Where to deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Channel {
    /// A mail to one address.
    Email {
        /// The address.
        to: String,
    },
    /// A signed HTTP POST.
    Webhook {
        /// Where to.
        url: String,
        /// The bytes of this text are the key of the signature; never shown again.
        secret: String,
    },
}

impl Channel {
    /// Which kind it is.
    #[must_use]
    pub fn kind(&self) -> ChannelKind {
        match self {
            Self::Email { .. } => ChannelKind::Email,
            Self::Webhook { .. } => ChannelKind::Webhook,
        }
    }

    /// The recipient: an address or a URL.
    #[must_use]
    pub fn to(&self) -> &str {
        match self {
            Self::Email { to } => to,
            Self::Webhook { url, .. } => url,
        }
    }
}

/// Who wants to know what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Unique within its organization.
    pub id: SubscriptionId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// For a person.
    pub name: String,
    /// Which alarms.
    pub matching: Match,
    /// Where to; never empty.
    pub deliver: Vec<Channel>,
    /// When it was made.
    pub created_at: Millis,
}

impl Subscription {
    /// What stands for the device in a test message of this subscription, though no device is meant: its slot makes and keeps the
    /// message. There always is one, as the ids of both are of the same form.
    #[must_use]
    pub fn stand_in(organization: &OrganizationId, id: &SubscriptionId) -> Option<DeviceKey> {
        Some(DeviceKey::new(organization.clone(), DeviceId::new(id.as_str()).ok()?))
    }
}

/// All subscriptions that a core knows at one moment, by organization.
#[derive(Debug, Clone, Default)]
pub struct Subscriptions(pub BTreeMap<OrganizationId, Vec<Subscription>>);

impl Subscriptions {
    /// Those of one organization.
    #[must_use]
    pub fn of(&self, organization: &OrganizationId) -> &[Subscription] {
        self.0.get(organization).map_or(&[], Vec::as_slice)
    }
}

/// True when `text` has the form `pattern`, where `*` stands for any run of characters, also an empty one.
///
/// Takes time in the order of `pattern × text` at worst: both are bounded where they enter.
#[must_use]
pub fn pattern_matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match (pattern.get(p), star) {
            (Some(b'*'), _) => {
                star = Some((p, t));
                p += 1;
            }
            (Some(byte), _) if Some(byte) == text.get(t) => {
                p += 1;
                t += 1;
            }
            (_, Some((star_p, star_t))) => {
                p = star_p + 1;
                t = star_t + 1;
                star = Some((star_p, t));
            }
            (_, None) => return false,
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|&byte| byte == b'*'))
}

#[cfg(test)]
mod tests {
    use super::pattern_matches;

    #[test]
    fn a_star_stands_for_any_run() {
        for (pattern, text, expected) in [
            ("boiler-*", "boiler-7", true),
            ("boiler-*", "boiler-", true),
            ("boiler-*", "door-7", false),
            ("*", "", true),
            ("*-7", "boiler-7", true),
            ("b*r-*7", "boiler-17", true),
            ("b*r-*7", "boiler-18", false),
            ("boiler-7", "boiler-7", true),
            ("boiler-7", "boiler-77", false),
            ("", "", true),
            ("", "a", false),
            ("**a**", "bab", true),
        ] {
            assert_eq!(pattern_matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
