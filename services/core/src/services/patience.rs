//! How long each request waits where it is answered.

use std::time::Duration;

use stoker_proto::core::v1 as wire;

use crate::cluster::Patient;

macro_rules! patient {
    ($($request:ident)+) => { $(impl Patient for wire::$request {})+ };
}

patient! {
    CreateDeviceRequest GetDeviceRequest PatchDeviceRequest RemoveDeviceRequest ListPointsRequest GetLatestRequest
    GetAttributesRequest PatchAttributesRequest CreateCommandRequest ListCommandsRequest CancelCommandRequest
    GetAlarmRequest AcknowledgeAlarmRequest ClearAlarmRequest OpenSessionRequest ReportSessionRequest
    ReportEventRequest ReportCommandRequest ReportAttributesRequest ReadAttributesRequest AnnounceSessionsRequest
    ReportAttemptRequest HoldsTokenRequest ListDevicesRequest ListAlarmsRequest ListNotificationsRequest
    GetStatusRequest ListEventsRequest CreateSubscriptionRequest GetSubscriptionRequest ListSubscriptionsRequest
    PatchSubscriptionRequest RemoveSubscriptionRequest TestSubscriptionRequest SummarizePointsRequest
}

impl Patient for wire::GetCommandRequest {
    fn patience(&self) -> Duration {
        Duration::from_millis(u64::from(self.wait_ms))
    }

    fn waited(&mut self, waited: Duration) {
        self.wait_ms = self.wait_ms.saturating_sub(u32::try_from(waited.as_millis()).unwrap_or(u32::MAX));
    }
}
