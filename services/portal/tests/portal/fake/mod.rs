//! A core that keeps everything in memory: as much of one as the portal's shapes need.

#![allow(dead_code, reason = "each test takes what it needs")]

mod history;

pub(crate) use history::alarm;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use stoker_link::Channel;
use stoker_proto::core::v1::portal_service_client::PortalServiceClient;
use stoker_proto::core::v1::portal_service_server::{PortalService, PortalServiceServer};
use stoker_proto::core::v1::*;
use stoker_proto::problem::ProblemKind;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status};

pub(crate) const NOW: i64 = 1_700_000_000_000;

#[derive(Default)]
pub(crate) struct State {
    pub(crate) devices: BTreeMap<String, Device>,
    pub(crate) points: BTreeMap<(String, i64, String), Point>,
    pub(crate) attributes: BTreeMap<String, Attributes>,
    pub(crate) commands: BTreeMap<String, Command>,
    pub(crate) events: Vec<Event>,
    pub(crate) alarms: BTreeMap<String, Alarm>,
    pub(crate) subscriptions: BTreeMap<String, Subscription>,
    pub(crate) notifications: Vec<Notification>,
    /// The `x-request-id` of every call.
    pub(crate) request_ids: Vec<String>,
    /// Panics inside core look like this to callers.
    pub(crate) broken: bool,
}

#[derive(Clone, Default)]
pub(crate) struct Fake(pub(crate) Arc<Mutex<State>>);

type Answer<T> = Result<Response<T>, Status>;

pub(crate) fn key(device: &str) -> Option<DeviceRef> {
    Some(DeviceRef { organization: "default".to_owned(), device: device.to_owned() })
}

fn id(key: Option<DeviceRef>) -> String {
    key.map(|key| key.device).unwrap_or_default()
}

fn absent(what: &str) -> Status {
    ProblemKind::NotFound.status(format!("there is no {what} of this id"))
}

fn cut<T>(mut items: Vec<T>, limit: u32) -> (Vec<T>, bool) {
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    (items, more)
}

impl Fake {
    /// Serves this core on a loopback port of its own and connects to it.
    pub(crate) async fn serve(&self) -> PortalServiceClient<Channel> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = PortalServiceServer::new(self.clone());
        let server = Server::builder().add_service(service);
        let serving = server.serve_with_incoming(TcpListenerStream::new(listener));
        let task = tokio::spawn(serving);
        // Ends with the runtime of the test.
        std::mem::forget(task);
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        PortalServiceClient::new(endpoint.connect_lazy().into())
    }

    fn seen<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let mut state = self.0.lock();
        if let Some(id) = request.metadata().get("x-request-id") {
            state.request_ids.push(id.to_str().unwrap().to_owned());
        }
        if state.broken { Err(Status::internal("stack trace: secret")) } else { Ok(()) }
    }
}

pub(crate) fn device(id: &str) -> Device {
    Device {
        key: key(id),
        connection: Some(Connection {
            state: ConnectionState::Never.into(),
            since: NOW,
            gateway: None,
            address: None,
            protocol: None,
            reason: None,
        }),
        created_at: NOW,
        version: 1,
        ..Device::default()
    }
}

#[tonic::async_trait]
impl PortalService for Fake {
    async fn create_device(&self, request: Request<CreateDeviceRequest>) -> Answer<DeviceReply> {
        self.seen(&request)?;
        let request = request.into_inner();
        let id = id(request.key);
        if request.token.as_ref().is_some_and(|token| token.len() < 16) {
            return Err(ProblemKind::InvalidToken.status("this token cannot be used"));
        }
        let mut state = self.0.lock();
        if state.devices.contains_key(&id) {
            return Err(ProblemKind::AlreadyExists.status("there is a device of this id"));
        }
        let device = Device {
            model: request.model,
            site: request.site,
            tags: request.tags,
            expected_interval_s: request.expected_interval_s,
            ..device(&id)
        };
        state.devices.insert(id.clone(), device.clone());
        let made = request.token.is_none() && request.password.is_none();
        Ok(Response::new(DeviceReply { device: Some(device), token: made.then(|| format!("stk_{id}")) }))
    }

    async fn get_device(&self, request: Request<GetDeviceRequest>) -> Answer<DeviceReply> {
        self.seen(&request)?;
        let state = self.0.lock();
        let device = state.devices.get(&id(request.into_inner().key)).ok_or_else(|| absent("device"))?;
        Ok(Response::new(DeviceReply { device: Some(device.clone()), token: None }))
    }

    async fn list_devices(&self, request: Request<ListDevicesRequest>) -> Answer<ListDevicesReply> {
        self.seen(&request)?;
        let request = request.into_inner();
        let state = self.0.lock();
        let fits = |device: &&Device| {
            let id = &device.key.as_ref().unwrap().device;
            request.after.as_ref().is_none_or(|after| id > after)
                && request.state.is_none_or(|s| device.connection.as_ref().unwrap().state == s)
                && (request.site.is_none() || device.site == request.site)
                && request.tag.as_ref().is_none_or(|tag| device.tags.contains(tag))
                && request.search.as_ref().is_none_or(|text| {
                    id.contains(text) || device.model.as_ref().is_some_and(|model| model.contains(text))
                })
        };
        let (devices, more) = cut(state.devices.values().filter(fits).cloned().collect(), request.limit);
        Ok(Response::new(ListDevicesReply { devices, more, slots: Vec::new() }))
    }

    async fn patch_device(&self, request: Request<PatchDeviceRequest>) -> Answer<DeviceReply> {
        self.seen(&request)?;
        let request = request.into_inner();
        let mut state = self.0.lock();
        let device = state.devices.get_mut(&id(request.key)).ok_or_else(|| absent("device"))?;
        if request.token.as_ref().is_some_and(|token| (1..16).contains(&token.len())) {
            return Err(ProblemKind::InvalidToken.status("this token cannot be used"));
        }
        let text = |field: &mut Option<String>, new: Option<String>| {
            if let Some(new) = new {
                *field = Some(new).filter(|text| !text.is_empty());
            }
        };
        text(&mut device.model, request.model);
        text(&mut device.site, request.site);
        if let Some(tags) = request.tags {
            device.tags = tags.items;
        }
        if let Some(seconds) = request.expected_interval_s {
            device.expected_interval_s = Some(seconds).filter(|seconds| *seconds != 0);
        }
        let token = request.renew_token.then(|| "stk_renewed".to_owned());
        Ok(Response::new(DeviceReply { device: Some(device.clone()), token }))
    }

    async fn remove_device(&self, request: Request<RemoveDeviceRequest>) -> Answer<RemoveDeviceReply> {
        self.seen(&request)?;
        let removed = self.0.lock().devices.remove(&id(request.into_inner().key));
        removed.map(|_| Response::new(RemoveDeviceReply {})).ok_or_else(|| absent("device"))
    }

    async fn list_points(&self, request: Request<ListPointsRequest>) -> Answer<ListPointsReply> {
        self.seen(&request)?;
        self.points(request.into_inner())
    }

    async fn get_latest(&self, request: Request<GetLatestRequest>) -> Answer<GetLatestReply> {
        self.seen(&request)?;
        self.latest(request.into_inner())
    }

    async fn summarize_points(
        &self,
        request: Request<SummarizePointsRequest>,
    ) -> Answer<SummarizePointsReply> {
        self.seen(&request)?;
        self.summary(request.into_inner())
    }

    async fn get_attributes(&self, request: Request<GetAttributesRequest>) -> Answer<AttributesReply> {
        self.seen(&request)?;
        let device = id(request.into_inner().device);
        let state = self.0.lock();
        state.devices.get(&device).ok_or_else(|| absent("device"))?;
        let attributes = Some(state.attributes.get(&device).cloned().unwrap_or_default());
        Ok(Response::new(AttributesReply { attributes }))
    }

    async fn patch_attributes(&self, request: Request<PatchAttributesRequest>) -> Answer<AttributesReply> {
        self.seen(&request)?;
        let request = request.into_inner();
        let device = id(request.device);
        let mut state = self.0.lock();
        state.devices.get(&device).ok_or_else(|| absent("device"))?;
        let attributes = state.attributes.entry(device).or_default();
        attributes.shared.extend(request.shared);
        attributes.server.extend(request.server);
        attributes.shared.retain(|key, _| !request.remove_shared.contains(key));
        attributes.server.retain(|key, _| !request.remove_server.contains(key));
        Ok(Response::new(AttributesReply { attributes: Some(attributes.clone()) }))
    }

    async fn create_command(&self, request: Request<CreateCommandRequest>) -> Answer<CommandReply> {
        self.seen(&request)?;
        self.order(request.into_inner())
    }

    async fn get_command(&self, request: Request<GetCommandRequest>) -> Answer<CommandReply> {
        self.seen(&request)?;
        let state = self.0.lock();
        let command = state.commands.get(&request.into_inner().id).ok_or_else(|| absent("command"))?;
        Ok(Response::new(CommandReply { command: Some(command.clone()) }))
    }

    async fn list_commands(&self, request: Request<ListCommandsRequest>) -> Answer<ListCommandsReply> {
        self.seen(&request)?;
        self.commands(request.into_inner())
    }

    async fn cancel_command(&self, request: Request<CancelCommandRequest>) -> Answer<CommandReply> {
        self.seen(&request)?;
        self.cancel(request.into_inner())
    }

    async fn list_events(&self, request: Request<ListEventsRequest>) -> Answer<ListEventsReply> {
        self.seen(&request)?;
        self.events(request.into_inner())
    }

    async fn list_alarms(&self, request: Request<ListAlarmsRequest>) -> Answer<ListAlarmsReply> {
        self.seen(&request)?;
        self.alarms(request.into_inner())
    }

    async fn get_alarm(&self, request: Request<GetAlarmRequest>) -> Answer<AlarmReply> {
        self.seen(&request)?;
        let state = self.0.lock();
        let alarm = state.alarms.get(&request.into_inner().id).ok_or_else(|| absent("alarm"))?;
        Ok(Response::new(AlarmReply { alarm: Some(alarm.clone()) }))
    }

    async fn acknowledge_alarm(&self, request: Request<AcknowledgeAlarmRequest>) -> Answer<AlarmReply> {
        self.seen(&request)?;
        let request = request.into_inner();
        let mut state = self.0.lock();
        let alarm = state.alarms.get_mut(&request.id).ok_or_else(|| absent("alarm"))?;
        let acknowledgement = Acknowledgement { at: NOW, by: request.by, note: request.note };
        alarm.acknowledged.get_or_insert(acknowledgement);
        Ok(Response::new(AlarmReply { alarm: Some(alarm.clone()) }))
    }

    async fn clear_alarm(&self, request: Request<ClearAlarmRequest>) -> Answer<AlarmReply> {
        self.seen(&request)?;
        let mut state = self.0.lock();
        let alarm = state.alarms.get_mut(&request.into_inner().id).ok_or_else(|| absent("alarm"))?;
        alarm.state = AlarmState::Cleared.into();
        alarm.cleared_at.get_or_insert(NOW);
        Ok(Response::new(AlarmReply { alarm: Some(alarm.clone()) }))
    }

    async fn create_subscription(
        &self,
        request: Request<CreateSubscriptionRequest>,
    ) -> Answer<SubscriptionReply> {
        self.seen(&request)?;
        self.subscribe(request.into_inner())
    }

    async fn get_subscription(&self, request: Request<GetSubscriptionRequest>) -> Answer<SubscriptionReply> {
        self.seen(&request)?;
        let state = self.0.lock();
        let found =
            state.subscriptions.get(&request.into_inner().id).ok_or_else(|| absent("subscription"))?;
        Ok(Response::new(SubscriptionReply { subscription: Some(found.clone()) }))
    }

    async fn list_subscriptions(
        &self,
        request: Request<ListSubscriptionsRequest>,
    ) -> Answer<ListSubscriptionsReply> {
        self.seen(&request)?;
        let request = request.into_inner();
        let state = self.0.lock();
        let fits = |id: &&String| request.after.as_ref().is_none_or(|after| *id > after);
        let all = state.subscriptions.iter().filter(|(id, _)| fits(id)).map(|(_, s)| s.clone()).collect();
        let (subscriptions, more) = cut(all, request.limit);
        Ok(Response::new(ListSubscriptionsReply { subscriptions, more }))
    }

    async fn patch_subscription(
        &self,
        request: Request<PatchSubscriptionRequest>,
    ) -> Answer<SubscriptionReply> {
        self.seen(&request)?;
        let request = request.into_inner();
        let mut state = self.0.lock();
        let found = state.subscriptions.get_mut(&request.id).ok_or_else(|| absent("subscription"))?;
        if let Some(name) = request.name {
            found.name = name;
        }
        if request.r#match.is_some() {
            found.r#match = request.r#match;
        }
        if let Some(deliver) = request.deliver {
            found.deliver = deliver.items;
        }
        Ok(Response::new(SubscriptionReply { subscription: Some(found.clone()) }))
    }

    async fn remove_subscription(
        &self,
        request: Request<RemoveSubscriptionRequest>,
    ) -> Answer<RemoveSubscriptionReply> {
        self.seen(&request)?;
        let removed = self.0.lock().subscriptions.remove(&request.into_inner().id);
        removed.map(|_| Response::new(RemoveSubscriptionReply {})).ok_or_else(|| absent("subscription"))
    }

    async fn test_subscription(
        &self,
        request: Request<TestSubscriptionRequest>,
    ) -> Answer<TestSubscriptionReply> {
        self.seen(&request)?;
        self.test(request.into_inner())
    }

    async fn list_notifications(
        &self,
        request: Request<ListNotificationsRequest>,
    ) -> Answer<ListNotificationsReply> {
        self.seen(&request)?;
        let request = request.into_inner();
        let state = self.0.lock();
        let fits = |n: &&Notification| {
            request.alarm.as_ref().is_none_or(|alarm| n.alarm == *alarm)
                && request.state.is_none_or(|state| n.state == state)
        };
        let (notifications, more) =
            cut(state.notifications.iter().filter(fits).cloned().collect(), request.limit);
        Ok(Response::new(ListNotificationsReply { notifications, more, slots: Vec::new() }))
    }

    async fn get_status(&self, request: Request<GetStatusRequest>) -> Answer<GetStatusReply> {
        self.seen(&request)?;
        let state = self.0.lock();
        Ok(Response::new(GetStatusReply {
            version: "0.1.0".to_owned(),
            member: "m1".to_owned(),
            slots_owned: 256,
            devices: state.devices.len() as u64,
            started_at: NOW,
            ..GetStatusReply::default()
        }))
    }
}
