//! Sessions: granted, replaced, ended.

use super::draft::Draft;
use super::state::DeviceEntry;
use super::timers::Subject;
use super::{Dispatch, Effect, OpenSession, Reply, SessionGrant, SessionRefusal, SessionReport, SlotMachine};
use crate::model::{DeviceKey, EndReason, MemberId, Millis, Presence, SessionEpoch, SessionInfo};
use crate::ports::bus::{Activity, GatewayOrder, ToGateway};
use crate::ports::store::StateKey;
use crate::settings::Settings;

impl SlotMachine {
    pub(super) fn open_session(&mut self, open: OpenSession, draft: &mut Draft<'_>) -> Reply {
        let OpenSession { device: key, proof, session, arrival } = open;
        let Some(entry) = self.entry(&key).filter(|entry| entry.record.admits(&proof)) else {
            return Reply::Session(Err(SessionRefusal::NotAdmitted));
        };
        let same_gateway =
            entry.presence.as_ref().is_some_and(|presence| presence.session.gateway == session.gateway);
        if same_gateway && arrival > 0 && arrival < entry.arrival {
            return Reply::Session(Err(SessionRefusal::Superseded));
        }
        let previous = entry.presence.clone();
        let replaced = entry.session().cloned();
        if let Some(zombie) = previous.filter(|previous| may_live_elsewhere(previous, &session)) {
            draft.immediate(Effect::close(&zombie, self.slot, self.epoch, EndReason::TakenOver));
        }
        self.granted += 1;
        let epoch = SessionEpoch { slot: self.epoch, counter: self.granted };
        self.begin_session(&key, epoch, session, draft);
        if let Some(entry) = self.entry_mut(&key) {
            entry.arrival = arrival;
        }
        Reply::Session(Ok(SessionGrant { epoch, replaced: replaced.map(Box::new) }))
    }

    /// The device is here, as `epoch`: whatever was awaited of an earlier session is over, its will too.
    pub(super) fn begin_session(
        &mut self,
        key: &DeviceKey,
        epoch: SessionEpoch,
        session: SessionInfo,
        draft: &mut Draft<'_>,
    ) {
        let now = draft.now();
        let Some(entry) = self.entry_mut(key) else {
            return;
        };
        let presence = Presence {
            key: key.clone(),
            epoch,
            session,
            opened_at: now,
            ended: None,
            silence_due: None,
            will_due: None,
        };
        entry.presence = Some(presence.clone());
        entry.wants_commands = false;
        entry.heard = entry.heard.max(now);
        draft.touch(StateKey::Presence(key.clone()));
        draft.tell(Activity::Connection(presence));
        self.end_silence(key, draft);
    }

    pub(super) fn session_report(&mut self, report: SessionReport, draft: &mut Draft<'_>) -> Reply {
        match report {
            SessionReport::CommandsWanted { device, epoch, wanted } => {
                if self.is_unannounced(&device, epoch) {
                    return Reply::Unannounced;
                }
                self.commands_wanted(&device, epoch, wanted, draft);
            }
            SessionReport::Ended { device, epoch, reason } => {
                self.session_ended(&device, epoch, reason.into(), draft);
            }
            SessionReport::HandedOver { device, epoch, grace_ms } => {
                let end = End { reason: EndReason::ByPlatform, grace_ms: Some(grace_ms) };
                self.session_ended(&device, epoch, end, draft);
            }
        }
        Reply::Done
    }

    /// True when this owner has yet to hear of the session from the gateway that holds it.
    fn is_unannounced(&self, key: &DeviceKey, epoch: SessionEpoch) -> bool {
        let Some(entry) = self.entry(key) else { return false };
        match &entry.presence {
            None => true,
            Some(newest) => {
                epoch > newest.epoch
                    || (epoch == newest.epoch && is_presumed(newest) && entry.over != Some(epoch))
            }
        }
    }

    fn session_ended(&mut self, key: &DeviceKey, epoch: SessionEpoch, end: End, draft: &mut Draft<'_>) {
        let Some(presence) = self.entry(key).and_then(|entry| entry.presence.as_ref()) else {
            return;
        };
        if epoch < presence.epoch {
            return;
        }
        if epoch > presence.epoch {
            // Granted by an owner that was lost before it could write it down. What it knew of the connection is gone;
            // that the device was there is not.
            let session = SessionInfo { will: None, ..presence.session.clone() };
            self.begin_session(key, epoch, session, draft);
            self.end_session(key, end, draft);
        } else if presence.ended.is_none() || corrects(presence, end.reason) {
            self.end_session(key, end, draft);
        } else if is_presumed(presence)
            && let Some(entry) = self.entry_mut(key)
        {
            // It is no guess any more: no announcement that is still on its way brings it back.
            entry.over = Some(epoch);
        }
    }

    /// The newest session of a device is over.
    pub(super) fn end_session(&mut self, key: &DeviceKey, end: impl Into<End>, draft: &mut Draft<'_>) {
        let end = end.into();
        let (now, settings, excused_until) = (draft.now(), draft.settings(), self.excused_until);
        let Some(entry) = self.entry_mut(key) else {
            return;
        };
        conclude(entry, end, now, settings);
        excuse(entry, excused_until);
        let Some(presence) = entry.presence.clone() else {
            return;
        };
        let say_will_now = presence.will_due.is_some_and(|due| due <= now);
        draft.tell(Activity::Connection(presence));
        if end.reason == EndReason::PlatformCrash {
            // A presumption: the row stays, see the module's documentation.
            draft.retime(Subject::Device(key.clone()));
        } else {
            draft.touch(StateKey::Presence(key.clone()));
        }
        if say_will_now {
            self.will_due(key, draft);
        }
    }

    pub(super) fn gateway_left(&mut self, gateway: &MemberId, draft: &mut Draft<'_>) -> Reply {
        let lost: Vec<DeviceKey> = self
            .entries()
            .filter_map(|entry| entry.session())
            .filter(|presence| presence.session.gateway == *gateway)
            .map(|presence| presence.key.clone())
            .collect();
        for key in lost {
            self.end_session(&key, EndReason::PlatformCrash, draft);
        }
        Reply::Done
    }

    pub(super) fn gateway_gone(&mut self, gateway: &MemberId, draft: &mut Draft<'_>) -> Reply {
        self.gateway_left(gateway, draft);
        // Part of the platform did not answer for a while. Devices that are away may have dialled it and wait there, and those that
        // leave soon after wait behind all that come back.
        let until = draft.now().saturating_add(draft.settings().silence_grace_ms);
        self.excused_until = until;
        for entry in self.entries_mut() {
            if excuse(entry, until) {
                let key = entry.record.key.clone();
                // A presumption is not written down.
                if entry.presence.as_ref().is_some_and(is_presumed) {
                    draft.retime(Subject::Device(key));
                } else {
                    draft.touch(StateKey::Presence(key));
                }
            }
        }
        Reply::Done
    }

    /// Ends a session because the device's record says so, and has it closed once that record is in force.
    pub(super) fn revoke_session(&mut self, key: &DeviceKey, draft: &mut Draft<'_>) {
        let Some(presence) = self.entry(key).and_then(|entry| entry.presence.clone()) else {
            return;
        };
        if presence.ended.is_none() || is_presumed(&presence) {
            self.end_session(key, EndReason::Revoked, draft);
            draft.after(Effect::close(&presence, self.slot, self.epoch, EndReason::Revoked));
        }
    }

    /// Something for the gateway of this session.
    pub(super) fn for_gateway(&self, presence: &Presence, order: GatewayOrder) -> Effect {
        Effect::Gateway(Dispatch {
            gateway: presence.session.gateway.clone(),
            message: ToGateway {
                slot: self.slot,
                epoch: self.epoch,
                device: presence.key.clone(),
                session: presence.epoch,
                order,
            },
        })
    }
}

/// How a session ends, and how long its device has to come back when that is not as always.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    reason: EndReason,
    grace_ms: Option<Millis>,
}

impl From<EndReason> for End {
    fn from(reason: EndReason) -> Self {
        Self { reason, grace_ms: None }
    }
}

/// Writes down how a session ended, and what is awaited from now on.
pub(super) fn conclude(entry: &mut DeviceEntry, end: End, now: Millis, settings: &Settings) {
    let End { reason, grace_ms } = end;
    let Some(presence) = &mut entry.presence else {
        return;
    };
    let absence = Absence::after(reason);
    let grace = now.saturating_add(grace_ms.unwrap_or(settings.silence_grace_ms));
    presence.ended = Some((now, reason));
    presence.silence_due = match absence {
        Absence::Unexplained => Some(now.saturating_add(settings.silence_after_ms)),
        Absence::OurDoing => Some(grace),
        Absence::Wanted => None,
    };
    if matches!(reason, EndReason::Disconnect | EndReason::Revoked) {
        presence.session.will = None;
    }
    let will_at = presence.session.will.as_ref().map(|will| now.saturating_add(i64::from(will.delay_ms)));
    presence.will_due = if absence == Absence::OurDoing { will_at.map(|at| at.max(grace)) } else { will_at };
    if absence == Absence::OurDoing {
        entry.heard = entry.heard.max(grace);
    }
    entry.wants_commands = false;
}

/// Gives a device that is awaited until then to come back, and its will as well if it was we who lost it. False: it had
/// that anyhow.
fn excuse(entry: &mut DeviceEntry, until: Millis) -> bool {
    let Some(presence) = entry.presence.as_mut() else { return false };
    let (Some((_, reason)), Some(silence_due)) = (presence.ended, presence.silence_due.as_mut()) else {
        return false;
    };
    if *silence_due >= until {
        return false;
    }
    *silence_due = until;
    if Absence::after(reason) == Absence::OurDoing {
        presence.will_due = presence.will_due.map(|due| due.max(until));
    }
    entry.heard = entry.heard.max(until);
    true
}

/// What it means that a device is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Absence {
    /// It left without a goodbye.
    Unexplained,
    /// We ended it, so it has the grace to come back. A session that was taken over ends so too, should that be heard
    /// before the one that takes it over.
    OurDoing,
    /// It said goodbye, or is not let in any more.
    Wanted,
}

impl Absence {
    fn after(reason: EndReason) -> Self {
        match reason {
            EndReason::Cut | EndReason::KeepAlive | EndReason::ProtocolError | EndReason::SlowReader => {
                Self::Unexplained
            }
            EndReason::ByPlatform | EndReason::PlatformCrash | EndReason::TakenOver => Self::OurDoing,
            EndReason::Disconnect | EndReason::DisconnectWithWill | EndReason::Revoked => Self::Wanted,
        }
    }
}

/// True when the end of this session is a guess of ours.
pub(super) fn is_presumed(presence: &Presence) -> bool {
    presence.ended.is_some_and(|(_, reason)| reason == EndReason::PlatformCrash)
}

/// A goodbye tells better than our guess how a session ended. Other ends do not: they would only shorten the grace.
fn corrects(presence: &Presence, reason: EndReason) -> bool {
    is_presumed(presence) && matches!(reason, EndReason::Disconnect | EndReason::DisconnectWithWill)
}

/// True when a gateway may still hold `previous` though the device opens `next`. A session that was only presumed lost
/// is not closed at the gateway that opens the new one: there it is the same connection, asking to be known again.
fn may_live_elsewhere(previous: &Presence, next: &SessionInfo) -> bool {
    match previous.ended {
        None => true,
        Some(_) => is_presumed(previous) && previous.session.gateway != next.gateway,
    }
}
