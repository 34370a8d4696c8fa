//! Where each request is answered.

use std::time::Duration;

use stoker_domain::model::{AlarmId, CommandId, NotificationId, Slot};
use stoker_proto::convert;
use stoker_proto::core::v1::report_command_request::Report;
use stoker_proto::core::v1::{self as wire, DeviceRef};

use crate::cluster::Patient;

/// Where a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// By any core: it is about what lies in history or in the registry, it asks the others itself, or it names nothing
    /// that there is.
    Anywhere,
    /// By the owner of this slot.
    At(Slot),
}

/// A request that says where it is answered.
pub(crate) trait Placed: Patient {
    /// Where. What is not of its form is refused by whoever reads the rest of it: anywhere.
    fn place(&self) -> Place;
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

macro_rules! patient {
    ($($request:ident)+) => { $(impl Patient for wire::$request {})+ };
}

placed! {
    CreateDeviceRequest: |this| device(this.key.as_ref());
    GetDeviceRequest: |this| device(this.key.as_ref());
    PatchDeviceRequest: |this| device(this.key.as_ref());
    RemoveDeviceRequest: |this| device(this.key.as_ref());
    ListPointsRequest: |this| device(this.device.as_ref());
    GetLatestRequest: |this| device(this.device.as_ref());
    GetAttributesRequest: |this| device(this.device.as_ref());
    PatchAttributesRequest: |this| device(this.device.as_ref());
    CreateCommandRequest: |this| device(this.device.as_ref());
    GetCommandRequest: |this| command(&this.id);
    ListCommandsRequest: |this| device(this.device.as_ref());
    CancelCommandRequest: |this| command(&this.id);
    GetAlarmRequest: |this| alarm(&this.id);
    AcknowledgeAlarmRequest: |this| alarm(&this.id);
    ClearAlarmRequest: |this| alarm(&this.id);
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
}

patient! {
    CreateDeviceRequest GetDeviceRequest PatchDeviceRequest RemoveDeviceRequest ListPointsRequest GetLatestRequest
    GetAttributesRequest PatchAttributesRequest CreateCommandRequest ListCommandsRequest CancelCommandRequest
    GetAlarmRequest AcknowledgeAlarmRequest ClearAlarmRequest OpenSessionRequest ReportSessionRequest
    ReportEventRequest ReportCommandRequest ReportAttributesRequest ReadAttributesRequest AnnounceSessionsRequest
    ReportAttemptRequest HoldsTokenRequest ListDevicesRequest ListAlarmsRequest ListNotificationsRequest
    GetStatusRequest ListEventsRequest CreateSubscriptionRequest GetSubscriptionRequest ListSubscriptionsRequest
    PatchSubscriptionRequest RemoveSubscriptionRequest
}

impl Patient for wire::GetCommandRequest {
    fn patience(&self) -> Duration {
        Duration::from_millis(u64::from(self.wait_ms))
    }

    fn waited(&mut self, waited: Duration) {
        self.wait_ms = self.wait_ms.saturating_sub(u32::try_from(waited.as_millis()).unwrap_or(u32::MAX));
    }
}
