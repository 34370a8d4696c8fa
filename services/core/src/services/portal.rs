//! What portals ask: each method stands with its kind in a module of its own.

use std::sync::Arc;

use stoker_proto::core::v1 as wire;
use stoker_proto::core::v1::portal_service_server::PortalService;
use tonic::{Request, Response, Status};

use super::slot_status;
use crate::credentials::Credentials;
use crate::shared::Shared;
use crate::slots::Slots;
use crate::tasks::Tasks;

/// Serves portals.
#[derive(Clone)]
pub struct Portals {
    pub(crate) shared: Arc<Shared>,
    pub(crate) slots: Slots,
    pub(crate) credentials: Arc<Credentials>,
    /// One subscription changes at a time in this process, so that an answer never names an older state.
    pub(crate) changing_subscriptions: Arc<tokio::sync::Mutex<()>>,
    pub(crate) tasks: Tasks,
}

macro_rules! methods {
    ($($method:ident($request:ident) -> $reply:ident = $does:ident;)+) => {
        #[tonic::async_trait]
        impl PortalService for Portals {
            $(async fn $method(
                &self,
                request: Request<wire::$request>,
            ) -> Result<Response<wire::$reply>, Status> {
                // What was begun is finished, also when whoever asked has gone: between the store and what is told
                // of it nothing is left undone.
                let this = self.clone();
                let work = async move { this.$does(request.into_inner()).await };
                self.tasks.finish(work).await?.map(Response::new)
            })+
        }
    };
}

methods! {
    create_device(CreateDeviceRequest) -> DeviceReply = make_device;
    get_device(GetDeviceRequest) -> DeviceReply = find_device;
    list_devices(ListDevicesRequest) -> ListDevicesReply = devices;
    patch_device(PatchDeviceRequest) -> DeviceReply = change_device;
    remove_device(RemoveDeviceRequest) -> RemoveDeviceReply = drop_device;
    list_points(ListPointsRequest) -> ListPointsReply = points;
    get_latest(GetLatestRequest) -> GetLatestReply = latest;
    get_attributes(GetAttributesRequest) -> AttributesReply = attributes;
    patch_attributes(PatchAttributesRequest) -> AttributesReply = change_attributes;
    create_command(CreateCommandRequest) -> CommandReply = make_command;
    get_command(GetCommandRequest) -> CommandReply = find_command;
    list_commands(ListCommandsRequest) -> ListCommandsReply = commands;
    cancel_command(CancelCommandRequest) -> CommandReply = take_command_back;
    list_events(ListEventsRequest) -> ListEventsReply = events;
    list_alarms(ListAlarmsRequest) -> ListAlarmsReply = alarms;
    get_alarm(GetAlarmRequest) -> AlarmReply = find_alarm;
    acknowledge_alarm(AcknowledgeAlarmRequest) -> AlarmReply = take_note_of_alarm;
    clear_alarm(ClearAlarmRequest) -> AlarmReply = end_alarm;
    create_subscription(CreateSubscriptionRequest) -> SubscriptionReply = make_subscription;
    get_subscription(GetSubscriptionRequest) -> SubscriptionReply = find_subscription;
    list_subscriptions(ListSubscriptionsRequest) -> ListSubscriptionsReply = subscriptions;
    patch_subscription(PatchSubscriptionRequest) -> SubscriptionReply = change_subscription;
    remove_subscription(RemoveSubscriptionRequest) -> RemoveSubscriptionReply = drop_subscription;
    list_notifications(ListNotificationsRequest) -> ListNotificationsReply = notifications;
    get_status(GetStatusRequest) -> GetStatusReply = status;
}

impl Portals {
    async fn status(&self, _: wire::GetStatusRequest) -> Result<wire::GetStatusReply, Status> {
        let counts = self.slots.query_all(|machine| machine.counts()).await.map_err(slot_status)?;
        let sum = |pick: fn(&stoker_domain::machine::Counts) -> usize| -> u64 {
            counts.iter().map(|counts| u64::try_from(pick(counts)).unwrap_or(u64::MAX)).sum()
        };
        Ok(wire::GetStatusReply {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            member: self.shared.member.as_str().to_owned(),
            slots_owned: u32::try_from(counts.len()).unwrap_or(u32::MAX),
            devices: sum(|counts| counts.devices),
            devices_online: sum(|counts| counts.online),
            commands_open: sum(|counts| {
                counts.commands_queued + counts.commands_sent + counts.commands_delivered
            }),
            alarms_active: sum(|counts| counts.alarms_active),
            notifications_pending: sum(|counts| counts.notifications_pending),
            started_at: self.shared.started_at,
        })
    }
}
