//! The state of one slot and the one function that changes it.
//!
//! [`SlotMachine::apply`] takes an input and the time, changes the state in memory and says what has to be written and
//! what may be told afterwards. Its shell is the slot's only user: it applies what waits, writes all changes in one
//! conditional commit, and only then lets anybody know. A commit that is refused or unknown ends the machine: the shell
//! drops it and loads a new one, so state in memory that was never written is never told.
//!
//! # What holds for every output
//! * `changes` names each row at most once: they are made at the end, from the state that the input led to.
//! * What is in `immediate` tells of nothing that is not written: a session's grant and the closing of the session it
//!   takes over need no commit, because an epoch that was lost is never given again.
//! * Effects may be repeated: after a crash everything that was not confirmed is asked for again by
//!   [`SlotMachine::load`]. Receivers tell repeats by id and attempt.
//!
//! # What lives in memory only
//! * Whether a session wants commands: a session that outlives its owner is announced, and that with it.
//! * When a device was last heard of: after a load its interval starts anew, with the grace on top.
//! * **The presumption that a session was lost.** A session that was under way when its owner or its gateway was lost
//!   counts as ended by [`EndReason::PlatformCrash`](crate::EndReason). That is a guess, not a fact, and a fleet's worth
//!   of guesses is not written: the row stays as it was, and the next load guesses the same, with a new grace. The
//!   device's return, its goodbye or its silence is a fact, and written.
//! * When an attempt that is under way or a command that came back is handed out again, and which sessions may have written a command besides the
//!   one in its row. Both err on the side of repeating and of saying *unknown*.
//!
//! # Where the design is silent
//! * **Events.** The output of [`Input::Event`] carries its append and its activity; the shell does neither by itself.
//!   Every counted fault is remembered by its id, also one that cleared nothing: a redelivered "cleared" must not end
//!   what was raised after it. An event that is refused because of [`Settings::max_active_alarms`] is history all the
//!   same; it is not remembered, so that its repetition can raise the alarm once there is room.
//! * **Alarms.** `raised_at` and `cleared_at` are the platform's time. A silence alarm does not count against the
//!   limit: a device that has used it up can still fall silent. Who clears an alarm by hand has taken note of it. An
//!   alarm that was cleared can be acknowledged until it has left for history.
//! * **Wills.** A will's event keeps its id and gets the time at which it is said: when it was written down nobody knew
//!   when that would be.
//! * **Silence by interval** counts from the first session on. A connect is a sign of life like a message. While a
//!   connected device is silent it is looked at every second, because messages do not pass through here; a device that
//!   is not connected ends its silence by coming back. With an expected interval taken away, a silence that only the
//!   interval explains is cleared.
//! * **A session that nobody here knows** but that is newer than the known one was granted by an owner that was lost
//!   before it could write it down. That it ended is true all the same: the device came, and went like that.
//! * **A goodbye corrects a presumption**: a report that a presumably lost session ended with DISCONNECT counts.
//! * **A command that came back**, surely not written, is handed to the same session again after a second, then two, up
//!   to 32: the gateway's queue may have been full. From the second time on only *unknown* can be said of it.
//! * **A removed device** takes everything along in one commit: alarms and notifications under way are dropped, its open
//!   commands are told as cancelled, and nothing of it is archived, because its history goes too.
//! * **Notifications.** Two subscriptions that name one recipient make one notification, for the first of them. Past
//!   [`PENDING_NOTIFICATIONS_MAX`] of one device the newest are given up at once, with an event. Who was told of a
//!   raising is told of the clearing over the channels that their subscription has by then.
//!
//! # Invariants, and where they are tested
//! Numbers are those of the architecture document. `tests/properties.rs` drives random histories, crashes included,
//! through a simulated world that checks them after every step; `tests/mutants/` holds, per invariant, changes to this
//! module that make it fail.
//!
//! | invariant | kept by | checked by, in `tests/world/checks.rs` |
//! |---|---|---|
//! | 1 acknowledged is stored | [`Output::history`] and [`Output::changes`] precede [`Output::reply`] | `a_counted_event_carries_its_append` |
//! | 2 the newest session only | `sessions.rs`, `commands.rs` | `a_report_of_an_older_session_changes_nothing`, `sessions_only_get_newer`, `orders_go_to_the_newest_session` |
//! | 3 one final state, no false *delivered* | `commands.rs`, `state.rs` | `a_command_ends_once_and_honestly` |
//! | 4 everybody is told, under one id | `notifications.rs`, `load.rs` | `a_raised_alarm_is_told`, `every_telling_has_one_id`, `everything_told_gets_out` |
//! | 5 no alarm by our hand | `sessions.rs`, `silence.rs`, `load.rs` | `silence_is_the_devices_own`, `wills_wait_for_their_time`, `every_absence_is_noticed` |
//! | 7 organizations apart | `notifications.rs`, `query.rs` | `no_organization_hears_of_another` |
//! | 8 bounds | every limit in [`Settings`], [`TICK_LIMIT`], [`PENDING_NOTIFICATIONS_MAX`], [`TESTS_MAX`] | `bounds_hold`; the constants in `tests/` here |
//! | rows are complete | `draft.rs`, `state.rs` | `rows_are_complete`, `due_times_follow_from_rows` (`tests/world/compare.rs`) |

mod alarms;
mod announce;
mod attributes;
mod commands;
mod devices;
mod draft;
mod events;
mod input;
mod load;
mod notifications;
mod output;
mod query;
mod sessions;
mod silence;
mod state;
mod test_message;
#[cfg(test)]
mod tests;
mod text;
mod timers;
mod wills;

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    Alarm, AlarmId, CommandId, DeviceId, DeviceKey, Millis, MintedId, NotificationId, OrganizationId, Slot,
    SlotEpoch, Subscriptions,
};
use crate::ports::store::{OutboxEntry, Removal};
use crate::settings::Settings;

use draft::Draft;
use state::{CommandEntry, DeviceEntry, NotificationEntry};
use timers::Timers;

pub use input::{
    AcknowledgeAlarm, Announce, CommandReport, CreateCommand, DevicePatch, HeldSession, Input, NewDevice,
    OpenSession, PatchAttributes, SessionReport,
};
pub use notifications::PENDING_NOTIFICATIONS_MAX;
pub use output::{
    CommandRefusal, DeviceRefusal, Dispatch, Effect, EventVerdict, NotFound, Output, Reply, SessionGrant,
    SessionRefusal, TestRefusal,
};
pub use query::{Counts, DeviceView};
pub use test_message::{TEST_EVERY_MS, TESTS_MAX};
pub use timers::TICK_LIMIT;

/// What the machine decides by, besides its state.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The time. Never goes back within a process.
    pub now: Millis,
    /// Limits and delays.
    pub settings: &'a Settings,
    /// Who wants to know what, as known now.
    pub subscriptions: &'a Subscriptions,
}

/// The state of one slot, as its owner has it.
#[derive(Debug)]
pub struct SlotMachine {
    slot: Slot,
    epoch: SlotEpoch,
    /// Counts the sessions granted within `epoch`.
    granted: u64,
    /// Counts the ids made within `epoch`.
    minted: u64,
    devices: BTreeMap<OrganizationId, BTreeMap<DeviceId, DeviceEntry>>,
    device_count: usize,
    commands: BTreeMap<CommandId, CommandEntry>,
    alarms: BTreeMap<AlarmId, Alarm>,
    notifications: BTreeMap<NotificationId, NotificationEntry>,
    outbox: BTreeMap<NotificationId, OutboxEntry>,
    /// Devices that were removed, while their history is not.
    removals: BTreeMap<DeviceKey, Removal>,
    /// What was told of each active alarm. After a load only what has not left for history: a further subscription that
    /// names the same recipient can then tell it once more, under the same id.
    reached: BTreeMap<AlarmId, BTreeSet<NotificationId>>,
    /// Notifications that are test messages: they hang on no device.
    tests: BTreeSet<NotificationId>,
    /// When each subscription was last tested, as far as that is known and still counts.
    tested: BTreeMap<DeviceKey, Millis>,
    /// Cleared alarms that were acknowledged while they were on their way to history: they go there once more.
    archive_again: BTreeSet<AlarmId>,
    /// Part of the platform was taken for dead: until then nobody is called silent.
    excused_until: Millis,
    timers: Timers,
}

impl SlotMachine {
    /// Carries out one input.
    pub fn apply(&mut self, input: Input, ctx: &Context<'_>) -> Output {
        let mut draft = Draft::new(ctx);
        let reply = match input {
            Input::OpenSession(open) => self.open_session(open, &mut draft),
            Input::Session(report) => self.session_report(report, &mut draft),
            Input::Announce(announce) => self.announce(announce, &mut draft),
            Input::GatewayGone(gateway) => self.gateway_gone(&gateway, &mut draft),
            Input::GatewayLeft(gateway) => self.gateway_left(&gateway, &mut draft),
            Input::Event(event) => self.device_event(event, &mut draft),
            Input::CreateCommand(create) => self.create_command(create, &mut draft),
            Input::CancelCommand(id) => self.cancel_command(id, &mut draft),
            Input::Command(report) => self.command_report(report, &mut draft),
            Input::AcknowledgeAlarm(acknowledge) => self.acknowledge_alarm(acknowledge, &mut draft),
            Input::ClearAlarm { id, by } => self.clear_by_hand(id, by, &mut draft),
            Input::TestSubscription { organization, id } => {
                Reply::Tested(self.test_subscription(&organization, &id, &mut draft))
            }
            Input::Attempt { notification, attempt, result, detail } => {
                self.attempt_ended(notification, attempt, result, &detail, &mut draft)
            }
            Input::OutboxConfirmed { notification, attempt } => {
                self.outbox_confirmed(notification, attempt, &mut draft)
            }
            Input::Archived(keys) => self.archived(keys, &mut draft),
            Input::CreateDevice(new) => self.create_device(*new, &mut draft),
            Input::PatchDevice(patch) => self.patch_device(*patch, &mut draft),
            Input::RemoveDevice(key) => self.remove_device(&key, &mut draft),
            Input::PatchAttributes(patch) => self.patch_attributes(patch, &mut draft),
            Input::Tick { last_seen } => self.tick(&last_seen, &mut draft),
        };
        self.finish(draft, reply)
    }

    /// Which slot this is.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// The epoch in which this machine owns it.
    #[must_use]
    pub fn epoch(&self) -> SlotEpoch {
        self.epoch
    }

    /// Turns a draft into an output: one change per touched row, made from the state as it is now.
    fn finish(&mut self, draft: Draft<'_>, reply: Reply) -> Output {
        let (mut out, dirty, timed) = draft.into_parts();
        out.reply = reply;
        out.changes.extend(dirty.iter().map(|key| self.change(key)));
        for subject in &timed {
            self.retime(subject);
        }
        out
    }

    /// An id that was never made before: the epoch counts take-overs, the counter the ids since.
    fn mint(&mut self) -> MintedId {
        self.minted += 1;
        MintedId { slot: self.slot, epoch: self.epoch, counter: self.minted }
    }
}
