//! Notifications: who is told what, attempt by attempt.

use xxhash_rust::xxh3::Xxh3;

use super::draft::Draft;
use super::state::NotificationEntry;
use super::test_message::TEST_GIVE_UP_MS;
use super::text::cut;
use super::{Effect, Reply, SlotMachine};
use crate::model::{
    Alarm, AlarmId, Attempt, AttemptResult, Channel, Device, Event, EventId, EventKind, Millis, MintedId,
    Notification, NotificationId, NotificationState, NotificationStep, Severity, Subscription,
    SubscriptionId, pattern_matches,
};
use crate::ports::store::{Append, OutboxEntry, StateKey};

/// Pending notifications of one device. Only a device whose alarms flap for hours while a recipient cannot be reached
/// comes near it: all alarms it may have, for sixteen recipients each.
pub const PENDING_NOTIFICATIONS_MAX: usize = 4_096;

/// Attempts kept with a notification.
const ATTEMPTS_KEPT: usize = 32;

/// Bytes kept of what the other side said.
const DETAIL_MAX: usize = 512;

/// How long to wait after the first, second, … attempt; after the last of these it is always the same.
const WAITS_MS: [Millis; 5] = [1_000, 5_000, 30_000, 120_000, 600_000];

/// True when this alarm is wanted by this subscription.
fn wants(subscription: &Subscription, device: &Device, severity: Severity) -> bool {
    let matching = &subscription.matching;
    let any = |patterns: &Option<Vec<String>>, text: Option<&str>| match patterns {
        None => true,
        Some(patterns) => text.is_some_and(|text| patterns.iter().any(|p| pattern_matches(p, text))),
    };
    let tagged = matching.tags.as_ref().is_none_or(|patterns| {
        device.tags.iter().any(|tag| patterns.iter().any(|p| pattern_matches(p, tag)))
    });
    any(&matching.devices, Some(device.key.device.as_str()))
        && any(&matching.sites, device.site.as_ref().map(|site| site.as_str()))
        && tagged
        && matching.min_severity.is_none_or(|least| severity >= least)
}

/// The one id that (alarm, step, recipient, channel) has for ever. It is computed, not counted, so that it is the same
/// however often the question comes up, also when the first answer has left for history.
pub(super) fn notification_id(alarm: AlarmId, step: &str, channel: &Channel) -> NotificationId {
    let mut hash = Xxh3::new();
    hash.update(&alarm.0.counter.to_be_bytes());
    for part in [step, channel.kind().as_str(), channel.to()] {
        hash.update(part.as_bytes());
        hash.update(&[0]);
    }
    NotificationId(MintedId { slot: alarm.0.slot, epoch: alarm.0.epoch, counter: hash.digest() })
}

/// How long to wait after attempt `tried`: the schedule, give or take a tenth, so that what failed together is not
/// tried together. Derived from id and attempt, for there is no randomness here.
fn wait_after(id: NotificationId, tried: u32) -> Millis {
    let step = usize::try_from(tried.saturating_sub(1)).unwrap_or(usize::MAX);
    let wait = WAITS_MS.get(step).or(WAITS_MS.last()).copied().unwrap_or(600_000);
    let mut hash = Xxh3::new();
    hash.update(&id.0.counter.to_be_bytes());
    hash.update(&tried.to_be_bytes());
    let permille = i64::try_from(hash.digest() % 201).unwrap_or(100) - 100;
    wait + wait * permille / 1_000
}

impl SlotMachine {
    /// Tells of a raised alarm whoever wants to know and was not told yet. Gives the subscriptions that were told now.
    pub(super) fn tell_raised(&mut self, id: AlarmId, draft: &mut Draft<'_>) -> Vec<SubscriptionId> {
        let Some(alarm) = self.alarms.get(&id) else {
            return Vec::new();
        };
        let Some(entry) = self.entry(&alarm.device) else {
            return Vec::new();
        };
        let subscriptions = draft.ctx.subscriptions.of(&alarm.device.organization);
        let fresh: Vec<&Subscription> = subscriptions
            .iter()
            .filter(|subscription| !alarm.told.contains(&subscription.id))
            .filter(|subscription| wants(subscription, &entry.record, alarm.severity))
            .collect();
        if fresh.is_empty() {
            return Vec::new();
        }
        let mut content = alarm.clone();
        content.told.extend(fresh.iter().map(|subscription| subscription.id.clone()));
        for subscription in &fresh {
            for channel in &subscription.deliver {
                self.notify(&content, NotificationStep::Raised, &subscription.id, channel, draft);
            }
        }
        fresh.into_iter().map(|subscription| subscription.id.clone()).collect()
    }

    /// Tells of a step of an alarm whoever was told of its raising and still wants to hear.
    pub(super) fn tell_step(&mut self, alarm: &Alarm, step: NotificationStep, draft: &mut Draft<'_>) {
        for subscription in draft.ctx.subscriptions.of(&alarm.device.organization) {
            if alarm.told.contains(&subscription.id) {
                for channel in &subscription.deliver {
                    self.notify(alarm, step, &subscription.id, channel, draft);
                }
            }
        }
    }

    fn notify(
        &mut self,
        alarm: &Alarm,
        step: NotificationStep,
        subscription: &SubscriptionId,
        channel: &Channel,
        draft: &mut Draft<'_>,
    ) {
        let now = draft.now();
        let id = notification_id(alarm.id, step.as_str(), channel);
        // What was told in this step is not told again, though it may have left for history by now.
        if self.notifications.contains_key(&id) || !self.reached.entry(alarm.id).or_default().insert(id) {
            return;
        }
        let Some(entry) = self.entry_mut(&alarm.device) else {
            return;
        };
        let room = entry.pending < PENDING_NOTIFICATIONS_MAX;
        entry.notifications.insert(id);
        entry.pending += 1;
        let row = fresh(id, alarm.clone(), step, subscription.clone(), channel.clone(), now);
        self.notifications.insert(id, NotificationEntry { row, hand_out_again: now });
        if room {
            self.hand_out(id, draft);
        } else {
            let reason =
                format!("{PENDING_NOTIFICATIONS_MAX} notifications of this device are pending already");
            self.end_notification(id, NotificationState::Failed, Some(&reason), draft);
        }
    }

    /// Puts the attempt that is due into the outbox.
    pub(super) fn hand_out(&mut self, id: NotificationId, draft: &mut Draft<'_>) {
        let Some(entry) = self.notifications.get_mut(&id) else {
            return;
        };
        entry.row.next_attempt_at = None;
        let item = OutboxEntry { notification: id, attempt: entry.attempt(), at: draft.now() };
        self.outbox.insert(id, item);
        draft.touch(StateKey::Notification(id));
        draft.touch(StateKey::Outbox(id));
        self.publish(item, draft);
    }

    /// Has an outbox entry published, and again should nothing be heard of it.
    pub(super) fn publish(&mut self, item: OutboxEntry, draft: &mut Draft<'_>) {
        if let Some(entry) = self.notifications.get_mut(&item.notification) {
            entry.hand_out_again = draft.now().saturating_add(draft.settings().attempt_timeout_ms);
            draft.retime(super::timers::Subject::Notification(item.notification));
            draft.after(Effect::Publish(item));
        }
    }

    pub(super) fn outbox_confirmed(
        &mut self,
        id: NotificationId,
        attempt: u32,
        draft: &mut Draft<'_>,
    ) -> Reply {
        if self.outbox.get(&id).is_some_and(|item| item.attempt == attempt) {
            self.outbox.remove(&id);
            draft.touch(StateKey::Outbox(id));
            if let Some(entry) = self.notifications.get_mut(&id) {
                entry.hand_out_again = draft.now().saturating_add(draft.settings().attempt_timeout_ms);
            }
        }
        Reply::Done
    }

    /// The next attempt is due, or nothing was heard of the one under way.
    pub(super) fn notification_due(&mut self, id: NotificationId, draft: &mut Draft<'_>) {
        let now = draft.now();
        let Some(entry) = self.notifications.get(&id).filter(|entry| entry.pending()) else {
            return;
        };
        if entry.row.next_attempt_at.unwrap_or(entry.hand_out_again) > now {
            return;
        }
        let waiting = entry.row.next_attempt_at.is_some();
        let last = last_attempt(&entry.row, draft);
        if let Some(item) = self.outbox.get(&id).copied() {
            // Not confirmed by the bus. It is never given up so: nobody has even tried.
            self.publish(item, draft);
        } else if waiting || now <= last {
            self.hand_out(id, draft);
        } else {
            self.end_notification(id, NotificationState::Failed, Some("no notifier reported"), draft);
        }
    }

    pub(super) fn attempt_ended(
        &mut self,
        id: NotificationId,
        attempt: u32,
        result: AttemptResult,
        detail: &str,
        draft: &mut Draft<'_>,
    ) -> Reply {
        let now = draft.now();
        let Some(entry) = self.notifications.get_mut(&id).filter(|entry| entry.pending()) else {
            return Reply::Done;
        };
        if entry.row.next_attempt_at.is_some() || attempt != entry.attempt() {
            return Reply::Done;
        }
        let row = &mut entry.row;
        row.tried = attempt;
        let detail = cut(detail, DETAIL_MAX).to_owned();
        row.attempts.push(Attempt { at: now, result, detail: detail.clone() });
        let surplus = row.attempts.len().saturating_sub(ATTEMPTS_KEPT);
        row.attempts.drain(..surplus);
        if self.outbox.remove(&id).is_some() {
            draft.touch(StateKey::Outbox(id));
        }
        match result {
            AttemptResult::Sent => self.end_notification(id, NotificationState::Sent, None, draft),
            AttemptResult::Delivered => self.end_notification(id, NotificationState::Delivered, None, draft),
            AttemptResult::Refused => {
                self.end_notification(id, NotificationState::Failed, Some(&detail), draft);
            }
            AttemptResult::Retry => {
                let next = now.saturating_add(wait_after(id, attempt));
                let last = last_attempt(row, draft);
                if next > last {
                    self.end_notification(id, NotificationState::Failed, Some(&detail), draft);
                } else {
                    row.next_attempt_at = Some(next);
                    draft.touch(StateKey::Notification(id));
                }
            }
        }
        Reply::Done
    }

    /// A notification has ended; `failure` says why it is given up, and becomes an event.
    fn end_notification(
        &mut self,
        id: NotificationId,
        state: NotificationState,
        failure: Option<&str>,
        draft: &mut Draft<'_>,
    ) {
        let Some(entry) = self.notifications.get_mut(&id) else {
            return;
        };
        entry.row.state = state;
        entry.row.next_attempt_at = None;
        let row = entry.row.clone();
        draft.touch(StateKey::Notification(id));
        // Of a test there is no device whose history could tell.
        if !row.test {
            if let Some(device) = self.entry_mut(&row.device) {
                device.pending = device.pending.saturating_sub(1);
            }
            if let Some(event) = failure.and_then(|reason| failed_event(&row, reason, draft.now())) {
                draft.append_event(event);
            }
        }
        draft.archive(StateKey::Notification(id), Append::Notification(row));
    }

    /// An ended notification is in history.
    pub(super) fn notification_archived(&mut self, id: NotificationId, draft: &mut Draft<'_>) {
        if self.notifications.get(&id).is_some_and(|entry| !entry.pending())
            && let Some(entry) = self.notifications.remove(&id)
        {
            if entry.row.test {
                self.tests.remove(&id);
            } else if let Some(device) = self.entry_mut(&entry.row.device) {
                device.notifications.remove(&id);
            }
            draft.touch(StateKey::Notification(id));
        }
    }
}

/// One of which nothing was tried yet.
pub(super) fn fresh(
    id: NotificationId,
    content: Alarm,
    step: NotificationStep,
    subscription: SubscriptionId,
    channel: Channel,
    now: Millis,
) -> Notification {
    Notification {
        id,
        device: content.device.clone(),
        alarm: content.id,
        step,
        test: false,
        content,
        subscription,
        channel,
        state: NotificationState::Pending,
        created_at: now,
        tried: 0,
        attempts: Vec::new(),
        next_attempt_at: None,
    }
}

/// After that time it is not tried any more.
fn last_attempt(row: &Notification, draft: &Draft<'_>) -> Millis {
    let give_up = if row.test { TEST_GIVE_UP_MS } else { draft.settings().notification_give_up_ms };
    row.created_at.saturating_add(give_up)
}

/// Says in the device's history that somebody could not be told.
fn failed_event(row: &Notification, reason: &str, now: Millis) -> Option<Event> {
    let text = format!(
        "{} was not told by {} that {} is {}: {reason}",
        row.channel.to(),
        row.channel.kind().as_str(),
        row.content.code,
        row.step.as_str()
    );
    let data =
        format!("{{\"notification\":\"{}\",\"alarm\":\"{}\",\"attempts\":{}}}", row.id, row.alarm, row.tried);
    Some(Event {
        // One per notification, however often it is said.
        id: EventId::new(&format!("{}-failed", row.id)).ok()?,
        device: row.device.clone(),
        ts: now,
        kind: EventKind(EventKind::NOTIFICATION_FAILED.to_owned()),
        code: EventKind::NOTIFICATION_FAILED.to_owned(),
        severity: Severity::Warning,
        text,
        cleared: false,
        data: Some(data),
    })
}
