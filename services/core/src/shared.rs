//! What all parts of a core share.

use std::sync::Arc;

use parking_lot::RwLock;
use stoker_domain::Settings;
use stoker_domain::model::{MemberId, Millis, Subscriptions};
use stoker_domain::ports::bus::{Activity, Bus};
use stoker_domain::ports::store::{Store, StoreError};
use stoker_link::Turns;
use stoker_telemetry::Clock;

use crate::cluster::{Closes, Deaths, LiveGateways, Roster};
use crate::seen::Seen;
use crate::slots::COMMITS;
use crate::stats::CoreStats;
use crate::waiters::CommandWaiters;

/// What all parts of a core share.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) clock: Clock,
    pub(crate) settings: Settings,
    /// This process, fresh at every start.
    pub(crate) member: MemberId,
    pub(crate) started_at: Millis,
    pub(crate) seen: Seen,
    pub(crate) waiters: CommandWaiters,
    pub(crate) roster: Roster,
    pub(crate) gateways: LiveGateways,
    pub(crate) deaths: Deaths,
    pub(crate) closes: Closes,
    /// To write changes of slots.
    pub(crate) turns: Turns,
    pub(crate) stats: Arc<CoreStats>,
    subscriptions: RwLock<Arc<Subscriptions>>,
}

impl Shared {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        bus: Arc<dyn Bus>,
        clock: Clock,
        settings: Settings,
        member: MemberId,
        stats: Arc<CoreStats>,
    ) -> Self {
        Self {
            store,
            bus,
            clock,
            settings,
            member,
            started_at: clock.now_ms(),
            seen: Seen::default(),
            waiters: CommandWaiters::default(),
            roster: Roster::default(),
            gateways: LiveGateways::default(),
            deaths: Deaths::default(),
            closes: Closes::default(),
            turns: Turns::new(COMMITS),
            stats,
            subscriptions: RwLock::new(Arc::new(Subscriptions::default())),
        }
    }

    /// The subscriptions as this process knows them now.
    pub(crate) fn subscriptions(&self) -> Arc<Subscriptions> {
        self.subscriptions.read().clone()
    }

    /// Reads the subscriptions anew. Who changed one answers only after this.
    pub(crate) async fn reload_subscriptions(&self) -> Result<(), StoreError> {
        let rows = self.store.subscriptions().await?;
        let mut subscriptions = Subscriptions::default();
        for (subscription, _) in rows {
            subscriptions.0.entry(subscription.organization.clone()).or_default().push(subscription);
        }
        *self.subscriptions.write() = Arc::new(subscriptions);
        Ok(())
    }

    /// Something is committed: whoever waits for a command and the live feed may know.
    pub(crate) fn told(&self, activity: Activity) {
        if let Activity::Command(command) = &activity {
            self.stats.command(command);
            tracing::debug!(device = %command.device, command = %command.id, state = command.state.as_str(), "command");
            if command.state.is_final() {
                self.waiters.ended(command);
            }
        }
        if let Activity::Alarm(alarm) = &activity {
            tracing::info!(
                device = %alarm.device, alarm = %alarm.id, code = alarm.code, severity = alarm.severity.as_str(),
                state = ?alarm.state, count = alarm.count, "alarm"
            );
        }
        if self.bus.feed_wanted() {
            self.bus.publish_activity(activity);
        }
    }
}
