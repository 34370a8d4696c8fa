//! What portals ask: each method stands with its kind in a module of its own.

use std::sync::Arc;

use stoker_domain::model::MemberRow;
use stoker_link::Channel;
use stoker_link::MESSAGE_MOST;
use stoker_proto::convert;
use stoker_proto::core::v1 as wire;
use stoker_proto::core::v1::portal_service_client::PortalServiceClient;
use stoker_proto::core::v1::portal_service_server::PortalService;
use tonic::{Request, Response, Status};

use super::lists::{self, Coverage};
use super::slot_status;
use crate::cluster::Routes;
use crate::credentials::Credentials;
use crate::shared::Shared;
use crate::slots::Slots;
use crate::tasks::Tasks;

/// Serves portals.
#[derive(Clone)]
pub struct Portals {
    pub(crate) shared: Arc<Shared>,
    pub(crate) slots: Slots,
    pub(crate) routes: Routes,
    pub(crate) credentials: Arc<Credentials>,
    /// One subscription changes at a time in this process, so that an answer never names an older state.
    pub(crate) changing_subscriptions: Arc<tokio::sync::Mutex<()>>,
    pub(crate) tasks: Tasks,
}

pub(super) fn client(channel: Channel) -> PortalServiceClient<Channel> {
    PortalServiceClient::new(channel).max_decoding_message_size(MESSAGE_MOST)
}

macro_rules! methods {
    ($($method:ident($request:ident) -> $reply:ident = $does:ident;)+) => {
        #[tonic::async_trait]
        impl PortalService for Portals {
            $(async fn $method(
                &self,
                request: Request<wire::$request>,
            ) -> Result<Response<wire::$reply>, Status> {
                let here = |request| {
                    // What was begun is finished, also when whoever asked has gone: between the store and what is
                    // told of it nothing is left undone.
                    let this = self.clone();
                    let work = async move { this.$does(request).await };
                    async { self.tasks.finish(work).await? }
                };
                let there = |channel, request| async move { client(channel).$method(request).await };
                self.routes.place(request, here, there).await
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
    summarize_points(SummarizePointsRequest) -> SummarizePointsReply = summary;
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
    test_subscription(TestSubscriptionRequest) -> TestSubscriptionReply = try_subscription;
    list_notifications(ListNotificationsRequest) -> ListNotificationsReply = notifications;
    get_status(GetStatusRequest) -> GetStatusReply = status;
}

impl Portals {
    async fn status_here(&self, _: wire::GetStatusRequest) -> Result<wire::GetStatusReply, Status> {
        let counts = self.slots.query_owned(|machine| machine.counts()).await.map_err(slot_status)?;
        let sum = |pick: fn(&stoker_domain::machine::Counts) -> usize| -> u64 {
            counts.iter().map(|(_, counts)| u64::try_from(pick(counts)).unwrap_or(u64::MAX)).sum()
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
            slots: Coverage::of(counts.iter().map(|(slot, _)| *slot)).to_wire(),
            members: Vec::new(),
        })
    }

    async fn status(&self, request: wire::GetStatusRequest) -> Result<wire::GetStatusReply, Status> {
        if request.here_only {
            return self.status_here(request).await;
        }
        let here = |request| self.status_here(request);
        let there = |channel, request| async move { client(channel).get_status(request).await };
        let ask = wire::GetStatusRequest { here_only: true };
        let parts = lists::everywhere(&self.routes, &ask, here, there, |part| &part.slots).await?;
        let sum = |pick: fn(&wire::GetStatusReply) -> u64| parts.iter().map(pick).sum();
        let owned =
            |member: &str| parts.iter().find(|part| part.member == member).map_or(0, |part| part.slots_owned);
        let members = self.shared.roster.rows();
        Ok(wire::GetStatusReply {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            member: self.shared.member.as_str().to_owned(),
            slots_owned: owned(self.shared.member.as_str()),
            devices: sum(|part| part.devices),
            devices_online: sum(|part| part.devices_online),
            commands_open: sum(|part| part.commands_open),
            alarms_active: sum(|part| part.alarms_active),
            notifications_pending: sum(|part| part.notifications_pending),
            started_at: self.shared.started_at,
            slots: Vec::new(),
            members: members.iter().map(|row| member(row, owned(row.id.as_str()))).collect(),
        })
    }
}

fn member(row: &MemberRow, slots_owned: u32) -> wire::Member {
    wire::Member {
        member: row.id.as_str().to_owned(),
        role: convert::member_role_to_wire(row.role).into(),
        address: row.address.clone(),
        host: row.host.clone(),
        version: row.version.clone(),
        sessions: row.sessions,
        slots_owned,
        leaving: row.leaving,
    }
}
