//! Calls to core: each with a deadline, and its refusals as problems.

use std::future::Future;
use std::time::Duration;

use stoker_link::{Channel, to_owner};
use stoker_proto::core::v1::portal_service_client::PortalServiceClient;
use stoker_proto::core::v1::{self as wire};
use stoker_proto::place::Placed;
use stoker_proto::problem::ProblemKind;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Response, Status};

use crate::layers::REQUEST_ID;
use crate::problem::Problem;

/// A thousand points of 8 KiB texts are 8 MiB; a thousand commands with full parameters and replies are more than
/// anybody should ask for at once, and are answered by asking for a smaller limit.
const LARGEST_ANSWER: usize = 64 * 1024 * 1024;

/// Core as the portal sees it.
#[derive(Debug, Clone)]
pub(crate) struct Core {
    client: PortalServiceClient<Channel>,
    deadline: Duration,
}

impl Core {
    pub(crate) fn new(client: PortalServiceClient<Channel>, deadline: Duration) -> Self {
        Self { client: client.max_decoding_message_size(LARGEST_ANSWER), deadline }
    }

    async fn call<Q, A, F, R>(&self, message: Q, longer: Duration, send: F) -> Result<A, Problem>
    where
        Q: Placed,
        F: FnOnce(PortalServiceClient<Channel>, Request<Q>) -> R,
        R: Future<Output = Result<Response<A>, Status>>,
    {
        let deadline = self.deadline + longer;
        let mut request = to_owner(message);
        request.set_timeout(deadline);
        if let Ok(Ok(id)) = REQUEST_ID.try_with(|id| MetadataValue::try_from(id.as_str())) {
            request.metadata_mut().insert("x-request-id", id);
        }
        // The deadline above starts once a connection stands; this one also counts the way there.
        match tokio::time::timeout(deadline, send(self.client.clone(), request)).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(refusal(&status)),
            Err(_) => Err(silent()),
        }
    }
}

fn silent() -> Problem {
    Problem::unavailable("core did not answer in time; what was asked may or may not have happened")
}

/// What a person is told of a refusal. Only what core says on purpose goes out; the rest stays in the logs.
fn refusal(status: &Status) -> Problem {
    let (kind, detail) = ProblemKind::of(status);
    let said_by_core = !status.details().is_empty();
    if !said_by_core {
        tracing::warn!(code = ?status.code(), message = status.message(), "core call failed");
    }
    match (kind, said_by_core) {
        (_, true) => Problem::of(kind, detail),
        (ProblemKind::Unavailable, _) if status.code() == Code::Unavailable => {
            Problem::unavailable("core cannot be reached; try again")
        }
        (ProblemKind::Unavailable, _) => silent(),
        (ProblemKind::Internal, _) if status.code() == Code::OutOfRange => {
            Problem::invalid("the answer is too large; ask with a smaller limit").about_parameter("limit")
        }
        (ProblemKind::Internal, _) => Problem::internal(),
        _ => Problem::of(kind, detail),
    }
}

macro_rules! methods {
    ($($name:ident($request:ident) -> $reply:ident;)*) => {
        impl Core {
            $(pub(crate) async fn $name(&self, message: wire::$request) -> Result<wire::$reply, Problem> {
                let send = |mut client: PortalServiceClient<Channel>, request| async move {
                    client.$name(request).await
                };
                self.call(message, Duration::ZERO, send).await
            })*
        }
    };
}

methods! {
    create_device(CreateDeviceRequest) -> DeviceReply;
    get_device(GetDeviceRequest) -> DeviceReply;
    list_devices(ListDevicesRequest) -> ListDevicesReply;
    patch_device(PatchDeviceRequest) -> DeviceReply;
    remove_device(RemoveDeviceRequest) -> RemoveDeviceReply;
    list_points(ListPointsRequest) -> ListPointsReply;
    get_latest(GetLatestRequest) -> GetLatestReply;
    summarize_points(SummarizePointsRequest) -> SummarizePointsReply;
    get_attributes(GetAttributesRequest) -> AttributesReply;
    patch_attributes(PatchAttributesRequest) -> AttributesReply;
    create_command(CreateCommandRequest) -> CommandReply;
    list_commands(ListCommandsRequest) -> ListCommandsReply;
    cancel_command(CancelCommandRequest) -> CommandReply;
    list_events(ListEventsRequest) -> ListEventsReply;
    list_alarms(ListAlarmsRequest) -> ListAlarmsReply;
    get_alarm(GetAlarmRequest) -> AlarmReply;
    acknowledge_alarm(AcknowledgeAlarmRequest) -> AlarmReply;
    clear_alarm(ClearAlarmRequest) -> AlarmReply;
    create_subscription(CreateSubscriptionRequest) -> SubscriptionReply;
    get_subscription(GetSubscriptionRequest) -> SubscriptionReply;
    list_subscriptions(ListSubscriptionsRequest) -> ListSubscriptionsReply;
    patch_subscription(PatchSubscriptionRequest) -> SubscriptionReply;
    remove_subscription(RemoveSubscriptionRequest) -> RemoveSubscriptionReply;
    test_subscription(TestSubscriptionRequest) -> TestSubscriptionReply;
    list_notifications(ListNotificationsRequest) -> ListNotificationsReply;
    get_status(GetStatusRequest) -> GetStatusReply;
}

impl Core {
    /// Waits up to the message's `wait_ms` longer than the others do.
    pub(crate) async fn get_command(
        &self,
        message: wire::GetCommandRequest,
    ) -> Result<wire::CommandReply, Problem> {
        let longer = Duration::from_millis(message.wait_ms.into());
        let send = |mut client: PortalServiceClient<Channel>, request| async move {
            client.get_command(request).await
        };
        self.call(message, longer, send).await
    }
}

/// What core left out of an answer although it must be there.
pub(crate) fn missing(what: &'static str) -> Problem {
    tracing::error!(what, "core left something out of its answer");
    Problem::internal()
}

/// Something in core's answer that this version cannot read.
pub(crate) fn unreadable(error: impl std::fmt::Display) -> Problem {
    tracing::error!(%error, "core answered something unreadable");
    Problem::internal()
}
