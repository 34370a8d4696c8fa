//! Attributes, written by people and by devices.

use std::collections::HashMap;

use stoker_domain::Settings;
use stoker_proto::core::v1::{ListEventsRequest, PatchAttributesRequest, Value, value::Kind};
use stoker_proto::problem::ProblemKind;
use stoker_protocol::codec::ReasonCode;
use stoker_protocol::session::Limits;

use super::device::{Device, Heard, Login};
use super::platform::{Disk, Platform, device_ref};

const ATTRIBUTES: &str = "v1/devices/me/attributes";

async fn patch(platform: &Platform, text: &str) -> Result<(), tonic::Status> {
    let value = Value { kind: Some(Kind::Text(text.to_owned())) };
    let request = PatchAttributesRequest {
        device: device_ref("boiler-1"),
        server: HashMap::from([("note".to_owned(), value)]),
        ..PatchAttributesRequest::default()
    };
    platform.portal.clone().patch_attributes(request).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attributes_over_the_limit_are_refused_by_its_name_to_people_and_devices() {
    let disk = Disk::new();
    let settings = Settings { max_attribute_bytes: 1_024, ..Settings::default() };
    let platform = Platform::start_with(disk.store.clone(), settings, Limits::default()).await;
    platform.create("boiler-1", "token-of-boiler-1").await.unwrap();

    patch(&platform, &"x".repeat(1_020)).await.unwrap();
    let refusal = patch(&platform, &"x".repeat(1_021)).await.unwrap_err();
    assert_eq!(ProblemKind::said_by_core(&refusal), Some(ProblemKind::LimitReached));
    assert!(refusal.message().contains("1024 bytes"), "{refusal}");

    let mut device = Device::ready(platform.mqtt, Login::token("token-of-boiler-1")).await;
    device.publish(ATTRIBUTES, 7, &format!("{{\"note\":\"{}\"}}", "x".repeat(1_020))).await;
    assert_eq!(device.hear().await, Some(Heard::PubAck(7, ReasonCode::Success)), "each scope for itself");
    device.publish(ATTRIBUTES, 8, &format!("{{\"note\":\"{}\"}}", "x".repeat(1_021))).await;
    assert_eq!(device.hear().await, Some(Heard::PubAck(8, ReasonCode::QuotaExceeded)));

    let request = ListEventsRequest {
        organization: "default".to_owned(),
        kind: Some("payload_rejected".to_owned()),
        to: i64::MAX,
        limit: 10,
        ..ListEventsRequest::default()
    };
    let events = platform.portal.clone().list_events(request).await.unwrap().into_inner().events;
    let texts: Vec<&str> = events.iter().map(|event| event.text.as_str()).collect();
    assert!(matches!(texts[..], [text] if text.contains("1024 bytes")), "{texts:?}");
}
