//! Alarms and notifications.

use std::cmp::Reverse;

use stoker_domain::machine::{AcknowledgeAlarm, Input, Reply};
use stoker_domain::model::{
    Acknowledgement, Alarm, AlarmId, AlarmState, Notification, NotificationId, OrganizationId,
};
use stoker_domain::ports::bus::Activity;
use stoker_domain::ports::store::{AlarmsQuery, Append, NotificationsQuery};
use stoker_proto::convert;
use stoker_proto::core::v1 as wire;
use stoker_proto::problem::ProblemKind;
use tonic::Status;

use super::lists::{self, Coverage};
use super::portal::{Portals, client};
use super::{slot_status, store_status, wrong_reply};

/// Characters of a note.
const NOTE_MOST: usize = 1_024;

fn no_alarm(id: &str) -> Status {
    ProblemKind::NotFound.status(format!("there is no alarm {id}"))
}

fn reply(alarm: Alarm) -> wire::AlarmReply {
    wire::AlarmReply { alarm: Some(convert::alarm_to_wire(alarm)) }
}

impl Portals {
    async fn look_up_alarm(&self, organization: &str, text: &str) -> Result<Alarm, Status> {
        let organization: OrganizationId = convert::id("organization", organization)?;
        let id: AlarmId = text.parse().map_err(|_| no_alarm(text))?;
        let active = self.slots.query(id.slot(), move |machine| machine.alarm(id).cloned());
        let alarm = match active.await.map_err(slot_status)? {
            Some(alarm) => Some(alarm),
            None => self.shared.store.ended_alarm(id).await.map_err(|error| store_status(&error))?,
        };
        alarm.filter(|alarm| alarm.device.organization == organization).ok_or_else(|| no_alarm(text))
    }

    pub(super) async fn find_alarm(
        &self,
        request: wire::GetAlarmRequest,
    ) -> Result<wire::AlarmReply, Status> {
        self.look_up_alarm(&request.organization, &request.id).await.map(reply)
    }

    pub(super) async fn alarms(
        &self,
        request: wire::ListAlarmsRequest,
    ) -> Result<wire::ListAlarmsReply, Status> {
        let here_only = request.here_only;
        let ask = wire::ListAlarmsRequest { here_only: true, ..request.clone() };
        let limit = lists::limit(request.limit)?;
        let organization: OrganizationId = convert::id("organization", &request.organization)?;
        let state = request.state.map(convert::alarm_state_from_wire).transpose()?;
        let severity = request.severity.map(convert::severity_from_wire).transpose()?;
        let device = match &request.device {
            Some(device) => {
                Some(stoker_domain::DeviceKey::new(organization.clone(), convert::id("device", device)?))
            }
            None => None,
        };
        let after = match (request.after_raised_at, &request.after_id) {
            (Some(at), Some(id)) => Some((at, convert::id::<AlarmId>("after", id)?)),
            _ => None,
        };
        let (of, only) = (organization.clone(), device.clone());
        let look = move |machine: &stoker_domain::machine::SlotMachine| {
            let mut alarms: Vec<Alarm> = machine
                .alarms(&of)
                .filter(|alarm| {
                    state.is_none_or(|state| alarm.state == state)
                        && severity.is_none_or(|severity| alarm.severity == severity)
                        && only.as_ref().is_none_or(|device| alarm.device == *device)
                        && after.is_none_or(|after| (alarm.raised_at, alarm.id) < after)
                })
                .cloned()
                .collect();
            alarms.sort_by_key(|alarm| Reverse((alarm.raised_at, alarm.id)));
            alarms.truncate(limit + 1);
            alarms
        };
        if here_only {
            let found = self.slots.query_owned(look).await.map_err(slot_status)?;
            let slots = Coverage::of(found.iter().map(|(slot, _)| *slot)).to_wire();
            let alarms = found.into_iter().flat_map(|(_, alarms)| alarms).collect();
            let (alarms, more) = lists::page(alarms, limit + 1, |alarm| Reverse((alarm.raised_at, alarm.id)));
            let alarms = alarms.into_iter().map(convert::alarm_to_wire).collect();
            return Ok(wire::ListAlarmsReply { alarms, more, slots });
        }
        let here = |request| Box::pin(self.alarms(request));
        let there = |channel, request| async move { client(channel).list_alarms(request).await };
        let parts = lists::everywhere(&self.routes, &ask, here, there, |part| &part.slots).await?;
        let mut alarms: Vec<wire::Alarm> = parts.into_iter().flat_map(|part| part.alarms).collect();
        if state != Some(AlarmState::Active) {
            let query = AlarmsQuery { organization, device, severity, kind: None, after, limit: limit + 1 };
            let ended = self.shared.store.ended_alarms(query).await.map_err(|error| store_status(&error))?;
            alarms.extend(ended.into_iter().map(convert::alarm_to_wire));
        }
        let key = |alarm: &wire::Alarm| Reverse((alarm.raised_at, alarm.id.parse::<AlarmId>().ok()));
        let (alarms, more) = lists::page(alarms, limit, key);
        Ok(wire::ListAlarmsReply { alarms, more, slots: Vec::new() })
    }

    pub(super) async fn take_note_of_alarm(
        &self,
        request: wire::AcknowledgeAlarmRequest,
    ) -> Result<wire::AlarmReply, Status> {
        if request.note.as_ref().is_some_and(|note| note.chars().count() > NOTE_MOST) {
            return Err(
                ProblemKind::InvalidRequest.status(format!("a note has at most {NOTE_MOST} characters"))
            );
        }
        let mut alarm = self.look_up_alarm(&request.organization, &request.id).await?;
        let id = alarm.id;
        let acknowledge = AcknowledgeAlarm { id, by: request.by.clone(), note: request.note.clone() };
        let Reply::Alarm(result) =
            self.slots.apply(id.slot(), Input::AcknowledgeAlarm(acknowledge)).await.map_err(slot_status)?
        else {
            return Err(wrong_reply());
        };
        if let Ok(alarm) = result {
            return Ok(reply(*alarm));
        }
        // It was cleared and lies in history: note may be taken of it all the same. Of how it lies there, not of how it
        // was when it was active.
        alarm = self.look_up_alarm(&request.organization, &request.id).await?;
        if alarm.acknowledged.is_none() {
            let at = self.shared.clock.now_ms();
            alarm.acknowledged = Some(Acknowledgement { at, by: request.by, note: request.note });
            let append = vec![Append::Alarm(alarm.clone())];
            self.shared.store.append(append).await.map_err(|error| store_status(&error))?;
            self.shared.told(Activity::Alarm(alarm.clone()));
        }
        Ok(reply(alarm))
    }

    pub(super) async fn end_alarm(
        &self,
        request: wire::ClearAlarmRequest,
    ) -> Result<wire::AlarmReply, Status> {
        let alarm = self.look_up_alarm(&request.organization, &request.id).await?;
        if alarm.state == AlarmState::Cleared {
            return Ok(reply(alarm));
        }
        let input = Input::ClearAlarm { id: alarm.id, by: request.by };
        match self.slots.apply(alarm.id.slot(), input).await.map_err(slot_status)? {
            Reply::Alarm(Ok(alarm)) => Ok(reply(*alarm)),
            // It was cleared meanwhile.
            Reply::Alarm(Err(_)) => self.look_up_alarm(&request.organization, &request.id).await.map(reply),
            _ => Err(wrong_reply()),
        }
    }

    pub(super) async fn notifications(
        &self,
        request: wire::ListNotificationsRequest,
    ) -> Result<wire::ListNotificationsReply, Status> {
        let here_only = request.here_only;
        let ask = wire::ListNotificationsRequest { here_only: true, ..request.clone() };
        let limit = lists::limit(request.limit)?;
        let organization: OrganizationId = convert::id("organization", &request.organization)?;
        let alarm: Option<AlarmId> = request.alarm.map(|alarm| convert::id("alarm", &alarm)).transpose()?;
        let state = request.state.map(convert::notification_state_from_wire).transpose()?;
        let after = match (request.after_created_at, &request.after_id) {
            (Some(at), Some(id)) => Some((at, convert::id::<NotificationId>("after", id)?)),
            _ => None,
        };
        let of = organization.clone();
        let look = move |machine: &stoker_domain::machine::SlotMachine| {
            let mut found: Vec<_> = machine
                .notifications(&of)
                .filter(|notification| {
                    alarm.is_none_or(|alarm| notification.alarm == alarm)
                        && state.is_none_or(|state| notification.state == state)
                        && after.is_none_or(|after| (notification.created_at, notification.id) < after)
                })
                .cloned()
                .collect();
            found.sort_by_key(|notification| Reverse((notification.created_at, notification.id)));
            found.truncate(limit + 1);
            found
        };
        if here_only {
            let found = self.slots.query_owned(look).await.map_err(slot_status)?;
            let slots = Coverage::of(found.iter().map(|(slot, _)| *slot)).to_wire();
            let found = found.into_iter().flat_map(|(_, found)| found).collect();
            let (found, more) =
                lists::page(found, limit + 1, |found: &Notification| Reverse((found.created_at, found.id)));
            let notifications = found.into_iter().map(convert::notification_to_wire).collect();
            return Ok(wire::ListNotificationsReply { notifications, more, slots });
        }
        let here = |request| Box::pin(self.notifications(request));
        let there = |channel, request| async move { client(channel).list_notifications(request).await };
        let parts = lists::everywhere(&self.routes, &ask, here, there, |part| &part.slots).await?;
        let mut found: Vec<wire::Notification> =
            parts.into_iter().flat_map(|part| part.notifications).collect();
        let query = NotificationsQuery { organization, alarm, state, after, limit: limit + 1 };
        let ended = self.shared.store.ended_notifications(query).await;
        let ended = ended.map_err(|error| store_status(&error))?;
        found.extend(ended.into_iter().map(convert::notification_to_wire));
        let key =
            |found: &wire::Notification| Reverse((found.created_at, found.id.parse::<NotificationId>().ok()));
        let (notifications, more) = lists::page(found, limit, key);
        Ok(wire::ListNotificationsReply { notifications, more, slots: Vec::new() })
    }
}
