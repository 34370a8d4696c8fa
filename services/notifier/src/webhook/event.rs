//! The CloudEvent that a webhook is sent.

use serde::Serialize;
use stoker_domain::{Alarm, AlarmState, Millis, Notification, NotificationStep};

use crate::text::rfc3339;

/// CloudEvents 1.0, structured mode. JSON is UTF-8: no charset is named.
pub(super) const CONTENT_TYPE: &str = "application/cloudevents+json";

#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    subject: &'a str,
    time: String,
    datacontenttype: &'static str,
    data: Data<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Alarm(AlarmBody<'a>),
    Test(TestBody<'a>),
}

/// That the recipient can be reached.
#[derive(Serialize)]
struct TestBody<'a> {
    subscription: &'a str,
    text: &'a str,
}

/// An alarm as `GET /alarms/{id}` shows it.
#[derive(Serialize)]
struct AlarmBody<'a> {
    id: String,
    device: &'a str,
    kind: &'static str,
    code: &'a str,
    severity: &'static str,
    text: &'a str,
    state: &'static str,
    acknowledged: Option<AcknowledgementBody<'a>>,
    raised_at: String,
    cleared_at: Option<String>,
    count: u64,
}

#[derive(Serialize)]
struct AcknowledgementBody<'a> {
    at: String,
    by: &'a str,
    note: Option<&'a str>,
}

/// The body of the request: the same bytes for every attempt.
pub(super) fn body(notification: &Notification) -> Result<Vec<u8>, serde_json::Error> {
    let alarm = &notification.content;
    let (kind, subject, data) = if notification.test {
        let subscription = notification.subscription.as_str();
        let data = Data::Test(TestBody { subscription, text: &alarm.text });
        ("dev.stoker.test".to_owned(), subscription, data)
    } else {
        let kind = format!("dev.stoker.alarm.{}", notification.step.as_str());
        (kind, alarm.device.device.as_str(), Data::Alarm(alarm_body(alarm)))
    };
    serde_json::to_vec(&CloudEvent {
        specversion: "1.0",
        id: notification.id.to_string(),
        source: format!("urn:stoker:{}", alarm.device.organization),
        kind,
        subject,
        time: rfc3339(happened_at(notification)),
        datacontenttype: "application/json",
        data,
    })
}

fn happened_at(notification: &Notification) -> Millis {
    let alarm = &notification.content;
    match notification.step {
        NotificationStep::Raised => alarm.raised_at,
        NotificationStep::Cleared => alarm.cleared_at.unwrap_or(notification.created_at),
    }
}

fn alarm_body(alarm: &Alarm) -> AlarmBody<'_> {
    AlarmBody {
        id: alarm.id.to_string(),
        device: alarm.device.device.as_str(),
        kind: alarm.kind.as_str(),
        code: &alarm.code,
        severity: alarm.severity.as_str(),
        text: &alarm.text,
        state: match alarm.state {
            AlarmState::Active => "active",
            AlarmState::Cleared => "cleared",
        },
        acknowledged: alarm.acknowledged.as_ref().map(|acknowledged| AcknowledgementBody {
            at: rfc3339(acknowledged.at),
            by: &acknowledged.by,
            note: acknowledged.note.as_deref(),
        }),
        raised_at: rfc3339(alarm.raised_at),
        cleared_at: alarm.cleared_at.map(rfc3339),
        count: alarm.count,
    }
}
