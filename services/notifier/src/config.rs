//! What can be configured.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use stoker_domain::Millis;

/// Tells the wall clock's time, which recipients compare with theirs.
pub type Clock = Arc<dyn Fn() -> Millis + Send + Sync>;

/// The system's wall clock.
#[must_use]
pub fn system_clock() -> Clock {
    Arc::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

/// How a notifier delivers.
#[derive(Debug, Clone, Default)]
pub struct NotifierConfig {
    /// The mail server. Without one, mails are to be retried, so that they go out once there is one.
    pub email: Option<EmailConfig>,
    /// `notifier.webhook.allow`: CIDRs, or single addresses, that webhooks may have although they are not public.
    pub webhook_allow: Vec<String>,
    /// Bounds and deadlines.
    pub limits: NotifierLimits,
}

/// The mail server. Its URL may carry a password, so `Debug` leaves it out.
#[derive(Clone, PartialEq, Eq)]
pub struct EmailConfig {
    /// `notifier.email.smtp_url`: `smtp://host:port` is plain, `smtp://…?tls=opportunistic` upgrades when the server
    /// offers it, `smtp://…?tls=required` insists on it, `smtps://user:password@host:port` is TLS from the first byte.
    /// User and password are percent-encoded; a path is the name to say in EHLO.
    pub smtp_url: String,
    /// `notifier.email.from`: the sender, `alarms@example.com` or `Stoker <alarms@example.com>`.
    pub from: String,
}

impl fmt::Debug for EmailConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmailConfig").field("from", &self.from).finish_non_exhaustive()
    }
}

/// How much one lane takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneLimits {
    /// Attempts under way to one host.
    pub under_way: usize,
    /// Attempts of one host, under way and waiting.
    pub per_host: usize,
    /// Attempts of all hosts.
    pub total: usize,
}

/// Bounds and deadlines of a notifier. An attempt takes at most `turn_within` plus its channel's deadline, well below
/// the 120 s after which core hands it out again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifierLimits {
    /// Attempts that are held unacknowledged. More than both lanes together, so that there is always somebody to turn
    /// away what a full lane cannot take; the rest is for those that are being reported. At about 2 KiB each the
    /// default is 4 MiB.
    pub prefetch: usize,
    /// The lane of mails, with one host: the mail server. Many servers take 10 connections of one client, no more.
    pub email: LaneLimits,
    /// The lane of webhooks. 16 under way to a host are 160 a second when it answers within 100 ms. A storm of 512
    /// alarms for one host waits here and not for a later attempt, and two hosts that hang do not fill the lane.
    pub webhook: LaneLimits,
    /// How long an attempt may wait for its turn before it is left for a later one.
    pub turn_within: Duration,
    /// A mail, from connecting to the server's last word.
    pub email_within: Duration,
    /// Finding and reaching a webhook's host.
    pub connect_within: Duration,
    /// A webhook, from connecting to its status.
    pub webhook_within: Duration,
    /// One report to core, before it is tried anew.
    pub report_within: Duration,
    /// On shutdown: what is under way, before it is given back to the bus. Below the 30 s that Kubernetes grants.
    pub drain_within: Duration,
}

impl Default for NotifierLimits {
    fn default() -> Self {
        Self {
            prefetch: 2_048,
            email: LaneLimits { under_way: 8, per_host: 512, total: 512 },
            webhook: LaneLimits { under_way: 16, per_host: 512, total: 1_280 },
            turn_within: Duration::from_secs(20),
            email_within: Duration::from_secs(30),
            connect_within: Duration::from_secs(5),
            webhook_within: Duration::from_secs(15),
            report_within: Duration::from_secs(10),
            drain_within: Duration::from_secs(25),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lanes_full_leave_room_to_turn_others_away() {
        let limits = NotifierLimits::default();
        assert!(limits.prefetch > limits.email.total + limits.webhook.total);
        assert!(
            2 * limits.webhook.per_host < limits.webhook.total,
            "two hosts that hang do not fill the lane"
        );
    }

    #[test]
    fn an_attempt_ends_before_core_hands_it_out_again() {
        let limits = NotifierLimits::default();
        let longest =
            limits.turn_within + limits.email_within.max(limits.webhook_within) + limits.report_within;
        assert!(longest.as_millis() < stoker_domain::Settings::default().attempt_timeout_ms as u128);
    }

    #[test]
    fn a_password_is_not_in_the_debug_form() {
        let config = NotifierConfig {
            email: Some(EmailConfig {
                smtp_url: "smtps://user:hunter2@mail.example.com".into(),
                from: "alarms@example.com".into(),
            }),
            ..NotifierConfig::default()
        };
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
