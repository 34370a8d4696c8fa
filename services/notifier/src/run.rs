//! The loop: take, carry out, report, acknowledge.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use stoker_domain::ports::bus::{Bus, BusError, WorkConsumer, WorkDelivery};
use stoker_domain::{Channel, Notification};
use stoker_proto::core::v1::notifier_service_client::NotifierServiceClient;
use stoker_telemetry::trace;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::config::{Clock, NotifierConfig, NotifierLimits, system_clock};
use crate::email::Mailer;
use crate::lanes::{Lane, NoSeat, Seat};
use crate::outcome::Outcome;
use crate::report::report;
use crate::stats::NotifierStats;
use crate::webhook::{WebhookClient, lane_host, system_lookup};

/// Why a notifier cannot be made, or ended.
#[derive(Debug, thiserror::Error)]
pub enum NotifierError {
    /// A value in the configuration.
    #[error("{key}: {why}")]
    Setting {
        /// Its key.
        key: &'static str,
        /// What is wrong with it; without the value where that is secret.
        why: String,
    },
    /// The HTTP client.
    #[error("failed to set up the HTTP client")]
    HttpClient(#[source] reqwest::Error),
    /// TLS.
    #[error("failed to set up TLS")]
    Tls(#[source] rustls::Error),
    /// The bus gave no work.
    #[error("failed to consume notification work")]
    Bus(#[source] BusError),
    /// The bus closed before we were told to end.
    #[error("the bus has closed")]
    BusClosed,
    /// The task of an attempt has died. Its work is back in the bus.
    #[error("the task of an attempt has died")]
    TaskDied(#[source] tokio::task::JoinError),
}

/// Delivers notifications until `shutdown`, then ends in peace; see [`Notifier::run`].
///
/// # Errors
/// See [`Notifier::new`] and [`Notifier::run`].
pub async fn run(
    config: NotifierConfig,
    bus: Arc<dyn Bus>,
    core: NotifierServiceClient<stoker_link::Channel>,
    shutdown: CancellationToken,
) -> Result<(), NotifierError> {
    Notifier::new(&config)?.run(bus, core, shutdown).await
}

/// A notifier, ready to run.
pub struct Notifier {
    limits: NotifierLimits,
    desk: Desk,
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifier").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// All that delivers.
struct Desk {
    mailer: Mailer,
    mail_lane: Arc<Lane>,
    webhooks: WebhookClient,
    webhook_lane: Arc<Lane>,
    stats: Arc<NotifierStats>,
    clock: Clock,
}

impl Notifier {
    /// Checks the configuration and sets up the channels. Connects to nothing.
    ///
    /// # Errors
    /// [`NotifierError::Setting`] names the key that is wrong.
    pub fn new(config: &NotifierConfig) -> Result<Self, NotifierError> {
        let limits = config.limits.clone();
        let desk = Desk {
            mailer: Mailer::new(config.email.as_ref(), &limits)?,
            mail_lane: Lane::new(limits.email),
            webhooks: WebhookClient::new(&config.webhook_allow, &limits, system_lookup())?,
            webhook_lane: Lane::new(limits.webhook),
            stats: Arc::default(),
            clock: system_clock(),
        };
        Ok(Self { limits, desk })
    }

    /// Tells the time by another clock than the system's.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.desk.clock = clock;
        self
    }

    /// The counters, to be kept by whoever serves metrics.
    #[must_use]
    pub fn stats(&self) -> Arc<NotifierStats> {
        Arc::clone(&self.desk.stats)
    }

    /// Takes attempts and carries them out until `shutdown`. Then it takes no more, gives back at once what has not
    /// begun, finishes what is under way within [`NotifierLimits::drain_within`], and gives back the rest.
    ///
    /// # Errors
    /// When the bus gives no (more) work, and when the task of an attempt has died: what was held is given back.
    pub async fn run(
        self,
        bus: Arc<dyn Bus>,
        core: NotifierServiceClient<stoker_link::Channel>,
        shutdown: CancellationToken,
    ) -> Result<(), NotifierError> {
        let Self { limits, desk } = self;
        let context = Arc::new(Context { stopping: shutdown.child_token(), limits, desk, core });
        let mut tasks = JoinSet::new();
        // Lives until all is done: with the consumer, everything it was given goes back.
        let mut consumer = bus.consume_work(context.limits.prefetch).await.map_err(NotifierError::Bus)?;
        let mut ended = context.take(consumer.as_mut(), &mut tasks).await;
        if !matches!(ended, Err(NotifierError::TaskDied(_))) {
            let drained = context.drain(&mut tasks).await;
            ended = ended.and(drained);
        }
        // Whoever is aborted drops its delivery, and so gives it back.
        tasks.shutdown().await;
        context.desk.mailer.close().await;
        ended
    }
}

struct Context {
    limits: NotifierLimits,
    desk: Desk,
    core: NotifierServiceClient<stoker_link::Channel>,
    /// Nothing new is begun.
    stopping: CancellationToken,
}

impl Context {
    /// Spawns a task for every attempt. They are bounded by the prefetch: each holds a delivery.
    async fn take(
        self: &Arc<Self>,
        consumer: &mut dyn WorkConsumer,
        tasks: &mut JoinSet<()>,
    ) -> Result<(), NotifierError> {
        loop {
            // Kept while tasks end: an adapter's `next` need not survive being dropped half-way.
            let mut next = consumer.next();
            let delivery = loop {
                tokio::select! {
                    biased;
                    () = self.stopping.cancelled() => return Ok(()),
                    Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                        ended.map_err(NotifierError::TaskDied)?;
                    }
                    delivery = &mut next => break delivery,
                }
            };
            // Nothing was awaited since it was handed over.
            let cause = trace::received();
            drop(next);
            let delivery = delivery.ok_or(NotifierError::BusClosed)?;
            let notification = &delivery.work().notification;
            let span = tracing::info_span!(
                "attempt", otel.kind = "consumer", notification = %notification.id,
                channel = notification.channel.kind().as_str(), device = %notification.device,
                organization = %notification.device.organization
            );
            if let Some(cause) = &cause {
                cause.is_parent_of(&span);
            }
            tasks.spawn(Box::pin(Arc::clone(self).attempt(delivery)).instrument(span));
        }
    }

    /// Lets what is under way come to its end, for a while.
    async fn drain(&self, tasks: &mut JoinSet<()>) -> Result<(), NotifierError> {
        self.stopping.cancel();
        let all = async {
            while let Some(ended) = tasks.join_next().await {
                ended.map_err(NotifierError::TaskDied)?;
            }
            Ok(())
        };
        // At the deadline the rest is given back, which is what happens to it in any case.
        timeout(self.limits.drain_within, all).await.unwrap_or(Ok(()))
    }

    async fn attempt(self: Arc<Self>, delivery: Box<dyn WorkDelivery>) {
        let held = self.desk.stats.holds();
        let notification = delivery.work().notification.clone();
        let Some(outcome) = self.carry_out(&notification).await else { return };
        let attempt = notification.tried.saturating_add(1);
        let id = notification.id.to_string();
        tracing::debug!(
            notification = id,
            attempt,
            channel = notification.channel.kind().as_str(),
            result = outcome.result.as_str(),
            detail = outcome.detail,
            "an attempt has ended"
        );
        report(&self.core, &id, attempt, &outcome, self.limits.report_within, &self.desk.stats).await;
        delivery.ack().await;
        held.acknowledged();
    }

    /// How the attempt went; `None` when it did not begin because we are stopping.
    async fn carry_out(&self, notification: &Notification) -> Option<Outcome> {
        let kind = notification.channel.kind();
        let outcome = match self.turn(notification).await {
            Turn::Granted(seat, permit) => {
                let under_way = self.desk.stats.under_way(kind);
                let outcome = self.desk.deliver(notification).await;
                drop((under_way, permit, seat));
                outcome
            }
            Turn::Refused(why) => {
                self.desk.stats.turned_away(kind);
                Outcome::retry(why)
            }
            Turn::Stopping => return None,
        };
        let after_ms = (self.desk.clock)().saturating_sub(notification.created_at);
        self.desk.stats.ended(kind, outcome.result, after_ms);
        Some(outcome)
    }

    async fn turn(&self, notification: &Notification) -> Turn {
        let entered = match &notification.channel {
            // One server takes all mails, whomever they are for.
            Channel::Email { .. } => self.desk.mail_lane.enter(""),
            Channel::Webhook { url, .. } => self.desk.webhook_lane.enter(&lane_host(url)),
        };
        let seat = match entered {
            Ok(seat) => seat,
            Err(NoSeat::HostFull) => return Turn::Refused("not tried: too many for this host are under way"),
            Err(NoSeat::LaneFull) => return Turn::Refused("not tried: too many are under way"),
        };
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => Turn::Stopping,
            turn = timeout(self.limits.turn_within, seat.turn()) => match turn {
                Ok(Some(permit)) => Turn::Granted(seat, permit),
                Ok(None) | Err(_) => Turn::Refused("not tried: those before it took too long"),
            },
        }
    }
}

enum Turn {
    Granted(Seat, OwnedSemaphorePermit),
    Refused(&'static str),
    Stopping,
}

impl Desk {
    async fn deliver(&self, notification: &Notification) -> Outcome {
        let now = (self.clock)();
        match &notification.channel {
            Channel::Email { to } => self.mailer.deliver(notification, to, now).await,
            Channel::Webhook { url, secret } => self.webhooks.deliver(notification, url, secret, now).await,
        }
    }
}
