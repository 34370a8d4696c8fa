//! Sessions that outlive their slot's owner: the gateway that holds them tells the new one.

use super::attributes::shared_json;
use super::draft::Draft;
use super::sessions::is_presumed;
use super::timers::Subject;
use super::{Announce, Dispatch, Effect, HeldSession, Reply, SlotMachine};
use crate::model::{CommandId, CommandState, DeviceKey, EndReason, MemberId, SessionEpoch};
use crate::ports::bus::{Activity, GatewayOrder, ToGateway};
use crate::ports::store::StateKey;

impl SlotMachine {
    pub(super) fn announce(&mut self, announce: Announce, draft: &mut Draft<'_>) -> Reply {
        for held in announce.sessions {
            self.held(&announce.gateway, held, draft);
        }
        Reply::Done
    }

    fn held(&mut self, gateway: &MemberId, held: HeldSession, draft: &mut Draft<'_>) {
        let HeldSession { device: key, epoch, session, commands_wanted } = held;
        let Some(entry) = self.entry(&key) else {
            draft.immediate(self.close_held(gateway, &key, epoch, EndReason::Revoked));
            return;
        };
        match entry.presence.clone() {
            Some(newest) if epoch < newest.epoch => {
                draft.immediate(self.close_held(gateway, &key, epoch, EndReason::TakenOver));
                return;
            }
            Some(newest) if epoch == newest.epoch => match newest.ended {
                None => {}
                Some(_) if is_presumed(&newest) && entry.over != Some(epoch) => self.revive(&key, draft),
                Some((_, reason)) => {
                    draft.immediate(self.close_held(gateway, &key, epoch, reason));
                    return;
                }
            },
            // Granted by an owner that was lost before it could write it down.
            _ => self.begin_session(&key, epoch, session, draft),
        }
        // What was announced may be older than what the gateway has reported since. That a session takes none is found
        // out by the first command; one that is thought to take none would never get any.
        if commands_wanted {
            self.hand_out_again(&key, epoch, draft);
            self.commands_wanted(&key, epoch, true, draft);
        }
        self.give_owed_attributes(&key, draft);
    }

    /// The presumption was wrong: the session goes on as if nothing had been.
    fn revive(&mut self, key: &DeviceKey, draft: &mut Draft<'_>) {
        let now = draft.now();
        let Some(entry) = self.entry_mut(key) else { return };
        entry.heard = entry.heard.max(now);
        let mut written = false;
        if let Some(presence) = &mut entry.presence {
            // A presumption is not written down; what came of it is, and its silence comes before its will.
            written = presence.silence_due.is_none();
            (presence.ended, presence.silence_due, presence.will_due) = (None, None, None);
            draft.tell(Activity::Connection(presence.clone()));
        }
        if written {
            draft.touch(StateKey::Presence(key.clone()));
        } else {
            // After a take-over that is every session: no write for each.
            draft.retime(Subject::Device(key.clone()));
        }
        self.end_silence(key, draft);
    }

    /// Shared attributes that changed while it was not known where the device is.
    fn give_owed_attributes(&mut self, key: &DeviceKey, draft: &mut Draft<'_>) {
        let Some(entry) = self.entry_mut(key) else { return };
        if !std::mem::take(&mut entry.owes_attributes) {
            return;
        }
        let Some(entry) = self.entry(key) else { return };
        if let (Some(session), Some(attributes)) = (entry.session(), &entry.attributes) {
            let json = shared_json(attributes);
            draft.after(self.for_gateway(session, GatewayOrder::Attributes { json }));
        }
    }

    /// What the last owner had handed to this session it may have died before dispatching. The gateway knows what it
    /// has had already.
    fn hand_out_again(&mut self, key: &DeviceKey, epoch: SessionEpoch, draft: &mut Draft<'_>) {
        let Some(session) = self.entry(key).and_then(|entry| entry.session()) else { return };
        let again: Vec<(CommandId, Effect)> = self
            .open_commands(key)
            .filter(|command| {
                matches!(command.state, CommandState::Queued | CommandState::Sent)
                    && command.handed == Some(epoch)
            })
            .map(|command| {
                let order = GatewayOrder::Command {
                    id: command.id,
                    number: command.number,
                    method: command.method.clone(),
                    params: command.params.clone(),
                    expires_at: command.expires_at,
                };
                (command.id, self.for_gateway(session, order))
            })
            .collect();
        for (id, dispatch) in again {
            if let Some(entry) = self.commands.get_mut(&id) {
                entry.handed_once_more();
            }
            draft.after(dispatch);
        }
    }

    fn close_held(
        &self,
        gateway: &MemberId,
        key: &DeviceKey,
        epoch: SessionEpoch,
        reason: EndReason,
    ) -> Effect {
        Effect::Gateway(Dispatch {
            gateway: gateway.clone(),
            message: ToGateway {
                slot: self.slot,
                epoch: self.epoch,
                device: key.clone(),
                session: epoch,
                order: GatewayOrder::Close { reason },
            },
        })
    }
}
