//! Test messages: whoever has made a subscription wants to see that it reaches people before an alarm has to.
//!
//! One is a notification like any other, and goes the way that they all go; only that it hangs on no device and no alarm.

use super::draft::Draft;
use super::notifications::{fresh, notification_id};
use super::state::NotificationEntry;
use super::{SlotMachine, TestRefusal};
use crate::model::{
    Alarm, AlarmId, AlarmKind, AlarmState, Millis, Notification, NotificationId, NotificationStep,
    OrganizationId, Severity, Subscription, SubscriptionId,
};

/// A subscription is tested so often at most. A finger that slips must not send anybody a hundred mails.
pub const TEST_EVERY_MS: Millis = 10_000;

/// Test messages of one slot that are kept at once: of sixty-four subscriptions with as many recipients as one may have.
pub const TESTS_MAX: usize = 1_024;

/// After so long nobody waits for it any more; by then it was tried five times.
pub(super) const TEST_GIVE_UP_MS: Millis = 600_000;

/// The code of the alarm that is made up.
const CODE: &str = "test";

impl SlotMachine {
    /// Makes a test message for each recipient of a subscription.
    pub(super) fn test_subscription(
        &mut self,
        organization: &OrganizationId,
        id: &SubscriptionId,
        draft: &mut Draft<'_>,
    ) -> Result<Vec<NotificationId>, TestRefusal> {
        let now = draft.now();
        let known = draft.ctx.subscriptions.of(organization).iter().find(|known| known.id == *id);
        let subscription = known.ok_or(TestRefusal::NotFound)?;
        let device = Subscription::stand_in(organization, id).ok_or(TestRefusal::NotFound)?;
        self.tested.retain(|_, at| at.saturating_add(TEST_EVERY_MS) > now);
        if self.tested.contains_key(&device) {
            return Err(TestRefusal::TooSoon);
        }
        if self.tests.len().saturating_add(subscription.deliver.len()) > TESTS_MAX {
            return Err(TestRefusal::TooMany);
        }
        self.tested.insert(device.clone(), now);
        let alarm = Alarm {
            id: AlarmId(self.mint()),
            device,
            kind: AlarmKind::Rule,
            code: CODE.to_owned(),
            severity: Severity::Warning,
            text: format!("{}: this is a test, nothing has failed", subscription.name),
            state: AlarmState::Active,
            acknowledged: None,
            raised_at: now,
            cleared_at: None,
            count: 1,
            told: Vec::new(),
        };
        let mut made = Vec::new();
        for channel in &subscription.deliver {
            let key = notification_id(alarm.id, CODE, channel);
            // A recipient who is named twice is told once.
            if !self.tests.insert(key) {
                continue;
            }
            let step = NotificationStep::Raised;
            let row = fresh(key, alarm.clone(), step, id.clone(), channel.clone(), now);
            let row = Notification { test: true, ..row };
            self.notifications.insert(key, NotificationEntry { row, hand_out_again: now });
            self.hand_out(key, draft);
            made.push(key);
        }
        Ok(made)
    }

    /// One that an earlier owner has made.
    pub(super) fn place_test(&mut self, row: Notification) {
        let at = self.tested.entry(row.device.clone()).or_insert(row.created_at);
        *at = row.created_at.max(*at);
        self.tests.insert(row.id);
        let hand_out_again = row.created_at;
        self.notifications.insert(row.id, NotificationEntry { row, hand_out_again });
    }
}
