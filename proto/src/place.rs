//! Of which slot each request is, so that whoever asks and whoever answers find the same owner.

use stoker_domain::model::{
    AlarmId, CommandId, DeviceId, DeviceKey, NotificationId, OrganizationId, Slot, Subscription,
};

use crate::convert;
use crate::core::v1::credential::Kind;
use crate::core::v1::report_command_request::Report;
use crate::core::v1::{self as wire, Credential, DeviceRef};

/// Where a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// By any core: it is about what lies in history or in the registry, the core asks the others itself, or it names
    /// nothing that there is.
    Anywhere,
    /// By the owner of this slot.
    At(Slot),
}

/// A request that says where it is answered.
pub trait Placed {
    /// Where. What is not of its form is refused by whoever reads the rest of it: anywhere.
    fn place(&self) -> Place;
}

/// The device of these names, if they can be those of one.
#[must_use]
pub fn device_named(organization: &str, device: &str) -> Option<DeviceKey> {
    Some(DeviceKey::new(OrganizationId::new(organization).ok()?, DeviceId::new(device).ok()?))
}

/// The device that a user name names: `organization/device`, or one of the default organization.
#[must_use]
pub fn device_of_user(user_name: &str) -> Option<DeviceKey> {
    match user_name.split_once('/') {
        Some((organization, device)) => device_named(organization, device),
        None => device_named(OrganizationId::default_organization().as_str(), user_name),
    }
}

fn device(device: Option<&DeviceRef>) -> Place {
    convert::device_key(device).map_or(Place::Anywhere, |key| Place::At(key.slot()))
}

fn command(id: &str) -> Place {
    id.parse::<CommandId>().map_or(Place::Anywhere, |id| Place::At(id.slot()))
}

fn alarm(id: &str) -> Place {
    id.parse::<AlarmId>().map_or(Place::Anywhere, |id| Place::At(id.slot()))
}

fn notification(id: &str) -> Place {
    id.parse::<NotificationId>().map_or(Place::Anywhere, |id| Place::At(id.slot()))
}

/// Of a test message: nothing else of a subscription has an owner.
fn subscription(organization: &str, id: &str) -> Place {
    let key = || Subscription::stand_in(&organization.parse().ok()?, &id.parse().ok()?);
    key().map_or(Place::Anywhere, |key| Place::At(key.slot()))
}

fn report(report: Option<&Report>) -> Place {
    match report {
        None => Place::Anywhere,
        Some(Report::Replied(replied)) => device(replied.device.as_ref()),
        Some(Report::Sent(report)) => command(&report.id),
        Some(Report::Delivered(report)) => command(&report.id),
        Some(Report::Refused(report)) => command(&report.id),
        Some(Report::NotSent(report)) => command(&report.id),
    }
}

/// A token names no device: a core has to look whose it is.
fn credential(credential: Option<&Credential>) -> Place {
    let named = match credential.and_then(|credential| credential.kind.as_ref()) {
        None | Some(Kind::Token(_)) => None,
        Some(Kind::Password(shown)) => device_of_user(&shown.user_name),
        Some(Kind::Certificate(shown)) => device_named(&shown.organization, &shown.device),
    };
    named.map_or(Place::Anywhere, |key| Place::At(key.slot()))
}

macro_rules! placed {
    ($($request:ident: |$this:ident| $place:expr;)+) => {
        $(
            impl Placed for wire::$request {
                fn place(&self) -> Place {
                    let $this = self;
                    $place
                }
            }
        )+
    };
}

placed! {
    CreateDeviceRequest: |this| device(this.key.as_ref());
    GetDeviceRequest: |this| device(this.key.as_ref());
    PatchDeviceRequest: |this| device(this.key.as_ref());
    RemoveDeviceRequest: |this| device(this.key.as_ref());
    ListPointsRequest: |this| device(this.device.as_ref());
    GetLatestRequest: |this| device(this.device.as_ref());
    SummarizePointsRequest: |this| device(this.device.as_ref());
    GetAttributesRequest: |this| device(this.device.as_ref());
    PatchAttributesRequest: |this| device(this.device.as_ref());
    CreateCommandRequest: |this| device(this.device.as_ref());
    GetCommandRequest: |this| command(&this.id);
    ListCommandsRequest: |this| device(this.device.as_ref());
    CancelCommandRequest: |this| command(&this.id);
    GetAlarmRequest: |this| alarm(&this.id);
    AcknowledgeAlarmRequest: |this| alarm(&this.id);
    ClearAlarmRequest: |this| alarm(&this.id);
    OpenSessionRequest: |this| credential(this.credential.as_ref());
    ReportSessionRequest: |this| device(this.device.as_ref());
    ReportEventRequest: |this| device(this.event.as_ref().and_then(|event| event.device.as_ref()));
    ReportCommandRequest: |this| report(this.report.as_ref());
    ReportAttributesRequest: |this| device(this.device.as_ref());
    ReadAttributesRequest: |this| device(this.device.as_ref());
    AnnounceSessionsRequest: |this| u8::try_from(this.slot).map_or(Place::Anywhere, |slot| Place::At(Slot(slot)));
    ReportAttemptRequest: |this| notification(&this.notification);
    HoldsTokenRequest: |this| device(this.device.as_ref());
    ListDevicesRequest: |_this| Place::Anywhere;
    ListAlarmsRequest: |_this| Place::Anywhere;
    ListNotificationsRequest: |_this| Place::Anywhere;
    GetStatusRequest: |_this| Place::Anywhere;
    ListEventsRequest: |_this| Place::Anywhere;
    CreateSubscriptionRequest: |_this| Place::Anywhere;
    GetSubscriptionRequest: |_this| Place::Anywhere;
    ListSubscriptionsRequest: |_this| Place::Anywhere;
    PatchSubscriptionRequest: |_this| Place::Anywhere;
    RemoveSubscriptionRequest: |_this| Place::Anywhere;
    TestSubscriptionRequest: |this| subscription(&this.organization, &this.id);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(kind: Kind) -> Place {
        let credential = Some(Credential { kind: Some(kind) });
        wire::OpenSessionRequest { credential, ..wire::OpenSessionRequest::default() }.place()
    }

    #[test]
    fn a_session_is_of_the_slot_of_the_device_that_its_credential_names() {
        let default = OrganizationId::default_organization();
        let slot =
            |organization: &str, device: &str| Place::At(device_named(organization, device).unwrap().slot());
        let password = |user_name: &str| {
            let user_name = user_name.to_owned();
            opening(Kind::Password(wire::credential::Password {
                user_name,
                ..wire::credential::Password::default()
            }))
        };
        assert_eq!(password("acme/boiler-1"), slot("acme", "boiler-1"));
        assert_eq!(password("boiler-1"), slot(default.as_str(), "boiler-1"));
        assert_eq!(password("acme/"), Place::Anywhere);
        let (organization, device) = ("acme".to_owned(), "boiler-1".to_owned());
        assert_eq!(
            opening(Kind::Certificate(wire::credential::Certificate { organization, device })),
            slot("acme", "boiler-1")
        );
        assert_eq!(opening(Kind::Token("stk_1".to_owned())), Place::Anywhere);
    }

    #[test]
    fn a_test_message_is_of_the_slot_of_what_stands_for_its_device() {
        let asked =
            |id: &str| wire::TestSubscriptionRequest { organization: "acme".to_owned(), id: id.to_owned() };
        let slot = device_named("acme", "sub-1").unwrap().slot();
        assert_eq!(asked("sub-1").place(), Place::At(slot));
        assert_eq!(asked("no id").place(), Place::Anywhere);
    }

    #[test]
    fn what_names_nothing_that_there_is_may_be_answered_anywhere() {
        assert_eq!(wire::GetCommandRequest::default().place(), Place::Anywhere);
        assert_eq!(wire::ReportEventRequest::default().place(), Place::Anywhere);
        let request = wire::AnnounceSessionsRequest { slot: 256, ..wire::AnnounceSessionsRequest::default() };
        assert_eq!(request.place(), Place::Anywhere);
    }
}
