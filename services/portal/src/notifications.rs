//! `/notifications`.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use stoker_domain::{AlarmId, Millis};
use stoker_proto::convert;
use stoker_proto::core::v1 as wire;
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::core::{missing, unreadable};
use crate::extract::{Parsed, Query};
use crate::list::{Limit, List, position};
use crate::problem::Problem;
use crate::time::Time;

/// What one recipient was told about one step of one alarm, or in a test of a subscription.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Notification {
    /// The idempotency key: a recipient who sees it twice was told twice of one thing.
    #[schema(example = "ntf-0a-12-ff")]
    pub(crate) id: String,
    /// Which alarm; null in a test.
    #[schema(required = true)]
    pub(crate) alarm: Option<String>,
    /// Whose alarm; null in a test.
    #[schema(required = true)]
    pub(crate) device: Option<String>,
    /// Which step of it.
    pub(crate) step: Step,
    /// Who wanted it.
    pub(crate) subscription: String,
    /// How: `email` or `webhook`.
    #[schema(example = "email")]
    pub(crate) channel: String,
    /// Where to: an address or a URL.
    pub(crate) to: String,
    /// Where it stands.
    pub(crate) state: NotificationState,
    /// The newest attempts, oldest first, at most 32.
    pub(crate) attempts: Vec<Attempt>,
    /// When it was made.
    pub(crate) created_at: Time,
    /// When the next attempt is due; null while one is under way and when it has ended.
    #[schema(required = true)]
    pub(crate) next_attempt_at: Option<Time>,
}

/// Which step of an alarm is told.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Step {
    /// It was raised.
    Raised,
    /// It was cleared.
    Cleared,
    /// None: somebody has asked for a test message.
    Test,
}

impl Step {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Cleared => "cleared",
            Self::Test => "test",
        }
    }
}

/// Where a notification stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NotificationState {
    /// Attempts go on.
    Pending,
    /// The next hop has taken it.
    Sent,
    /// The recipient has it.
    Delivered,
    /// Given up.
    Failed,
}

impl NotificationState {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

/// One try.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Attempt {
    /// When its result was known.
    pub(crate) at: Time,
    /// How it went.
    pub(crate) result: AttemptResult,
    /// What the other side said.
    pub(crate) detail: String,
}

/// How an attempt went.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AttemptResult {
    /// The next hop has taken it.
    Sent,
    /// The recipient has it.
    Delivered,
    /// It may work later.
    Retry,
    /// It will never work.
    Refused,
}

impl AttemptResult {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Retry => "retry",
            Self::Refused => "refused",
        }
    }
}

impl Attempt {
    fn from_wire(attempt: wire::Attempt) -> Result<Self, Problem> {
        use stoker_domain::AttemptResult as R;
        let result = match convert::attempt_result_from_wire(attempt.result).map_err(unreadable)? {
            R::Sent => AttemptResult::Sent,
            R::Delivered => AttemptResult::Delivered,
            R::Retry => AttemptResult::Retry,
            R::Refused => AttemptResult::Refused,
        };
        Ok(Self { at: Time(attempt.at), result, detail: attempt.detail })
    }
}

impl Notification {
    fn from_wire(notification: wire::Notification) -> Result<Self, Problem> {
        use stoker_domain::{NotificationState as S, NotificationStep as T};
        let attempts = notification.attempts.into_iter().map(Attempt::from_wire).collect::<Result<_, _>>()?;
        let device = notification.device.ok_or_else(|| missing("the notification's device"))?;
        let about = !notification.test;
        Ok(Self {
            id: notification.id,
            alarm: about.then_some(notification.alarm),
            device: about.then_some(device.device),
            step: match convert::step_from_wire(notification.step).map_err(unreadable)? {
                _ if !about => Step::Test,
                T::Raised => Step::Raised,
                T::Cleared => Step::Cleared,
            },
            subscription: notification.subscription,
            channel: notification.channel,
            to: notification.to,
            state: match convert::notification_state_from_wire(notification.state).map_err(unreadable)? {
                S::Pending => NotificationState::Pending,
                S::Sent => NotificationState::Sent,
                S::Delivered => NotificationState::Delivered,
                S::Failed => NotificationState::Failed,
            },
            attempts,
            created_at: Time(notification.created_at),
            next_attempt_at: notification.next_attempt_at.map(Time),
        })
    }
}

/// Which notifications.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct NotificationsQuery {
    /// Only about this alarm.
    #[param(value_type = Option<String>, pattern = "^alm-[0-9a-f]{2}-(0|[1-9a-f][0-9a-f]{0,15})-(0|[1-9a-f][0-9a-f]{0,15})$")]
    pub(crate) alarm: Option<Parsed<AlarmId>>,
    /// Only those that stand so.
    pub(crate) state: Option<NotificationState>,
    /// How many at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    pub(crate) limit: Option<Parsed<Limit>>,
    /// The `next_cursor` of the page before.
    #[param(pattern = "^[A-Za-z0-9_-]{1,1024}$")]
    pub(crate) cursor: Option<String>,
}

const KIND: &str = "notifications";

/// Notifications, newest first.
#[utoipa::path(get, path = "/notifications", operation_id = "listNotifications", tag = "notifications",
    params(NotificationsQuery),
    responses((status = 200, description = "One page of notifications", body = List<Notification>)))]
pub(crate) async fn list(
    State(app): State<App>,
    Query(query): Query<NotificationsQuery>,
) -> Result<axum::Json<List<Notification>>, Problem> {
    let after: Option<(Millis, String)> = position(query.cursor.as_deref(), KIND)?;
    let (after_created_at, after_id) = after.unzip();
    let state = query.state.map(|state| match state {
        NotificationState::Pending => wire::NotificationState::Pending.into(),
        NotificationState::Sent => wire::NotificationState::Sent.into(),
        NotificationState::Delivered => wire::NotificationState::Delivered.into(),
        NotificationState::Failed => wire::NotificationState::Failed.into(),
    });
    let request = wire::ListNotificationsRequest {
        here_only: false,
        organization: app.organization.to_string(),
        alarm: query.alarm.map(|alarm| alarm.0.to_string()),
        state,
        limit: query.limit.unwrap_or_default().0.0,
        after_created_at,
        after_id,
    };
    let reply = app.core.list_notifications(request).await?;
    let all = reply.notifications.into_iter().map(Notification::from_wire);
    let all: Vec<_> = all.collect::<Result<_, _>>()?;
    let last = all.last().map(|notification| (notification.created_at.0, notification.id.clone()));
    Ok(axum::Json(List::new(all, reply.more, KIND, last)))
}
