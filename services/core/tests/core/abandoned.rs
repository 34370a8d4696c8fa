//! What nobody waits for any more when its turn comes is not done: whoever asked has asked anew, or has gone.

use std::collections::HashMap;
use std::sync::Arc;

use stoker_proto::core::v1::credential::Kind as Shown;
use stoker_proto::core::v1::value::Kind;
use stoker_proto::core::v1::{
    ConnectionState, Credential, Event, GetDeviceRequest, OpenSessionRequest, ReadAttributesRequest,
    ReportAttributesRequest, ReportEventRequest, Severity, Value,
};
use tonic::Code;

use super::eventually::eventually;
use super::faulty::Faulty;
use super::platform::{Disk, Platform, device_ref};

const TOKEN: &str = "token-of-boiler-1";

/// On one thread, on which core hears that a caller has gone before it answers what was asked after that.
#[tokio::test]
async fn what_was_asked_by_those_who_have_gone_is_not_done() {
    let disk = Disk::new();
    let store = Arc::new(Faulty::new(disk.store.clone()));
    let platform = Platform::start(store.clone()).await;
    platform.create("boiler-1", TOKEN).await.unwrap();
    let (mut gateway, mut portal) = (platform.gateway.clone(), platform.portal.clone());
    let waiting = |count| {
        let stats = platform.stats.clone();
        eventually("the requests wait", move || {
            let waits = stats.snapshot().waiting == count;
            async move { waits.then_some(()) }
        })
    };

    // The slot is at work.
    store.hold(true);
    let event = Event {
        id: "e-1".to_owned(),
        device: device_ref("boiler-1"),
        kind: "fault".to_owned(),
        code: "E1".to_owned(),
        severity: Severity::Critical.into(),
        ..Event::default()
    };
    let mut reporter = gateway.clone();
    let report =
        tokio::spawn(async move { reporter.report_event(ReportEventRequest { event: Some(event) }).await });
    eventually("the event is being written", || async { (store.held() > 0).then_some(()) }).await;

    let value = Value { kind: Some(Kind::Text("abandoned".to_owned())) };
    let attributes = ReportAttributesRequest {
        device: device_ref("boiler-1"),
        client: HashMap::from([("note".to_owned(), value)]),
        ..ReportAttributesRequest::default()
    };
    let open = OpenSessionRequest {
        credential: Some(Credential { kind: Some(Shown::Token(TOKEN.to_owned())) }),
        gateway: "m0123456789abcdef".to_owned(),
        address: "192.0.2.1:1".to_owned(),
        protocol: "mqtt-5".to_owned(),
        ..OpenSessionRequest::default()
    };
    let (mut first, mut second) = (gateway.clone(), gateway.clone());
    let asking = [
        tokio::spawn(async move { drop(first.report_attributes(attributes).await) }),
        tokio::spawn(async move { drop(second.open_session(open).await) }),
    ];
    waiting(2).await;
    for asking in asking {
        asking.abort();
        assert!(asking.await.unwrap_err().is_cancelled());
    }
    // On the same connection, of another slot.
    let nobody = GetDeviceRequest { key: device_ref("boiler-2") };
    assert_eq!(portal.get_device(nobody).await.unwrap_err().code(), Code::NotFound);
    store.hold(false);

    report.await.unwrap().unwrap();
    let ask = ReadAttributesRequest { device: device_ref("boiler-1"), ..ReadAttributesRequest::default() };
    assert_eq!(gateway.read_attributes(ask).await.unwrap().into_inner().client, HashMap::new());
    let device =
        portal.get_device(GetDeviceRequest { key: device_ref("boiler-1") }).await.unwrap().into_inner();
    let connection = device.device.unwrap().connection.unwrap();
    assert_eq!(connection.state(), ConnectionState::Never, "it was not let in");
    assert_eq!(platform.stats.snapshot().abandoned, 2);
}
