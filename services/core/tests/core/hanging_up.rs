//! Whose doing it was that a device hangs up.

use std::sync::Arc;
use std::time::Duration;

use stoker_proto::core::v1::{Connection, ConnectionState, EndReason, GetDeviceRequest};
use stoker_protocol::codec::ReasonCode;

use super::device::{Device, Heard, Login};
use super::eventually::eventually;
use super::faulty::Faulty;
use super::moving::TELEMETRY;
use super::platform::{Disk, Platform, device_ref};

/// Longer than the three seconds after which an answer is late, and shorter than anything else that may end a session.
const LATE: Duration = Duration::from_millis(3_300);

async fn connected(platform: &Platform, name: &str) -> Device {
    let token = format!("token-of-{name}");
    platform.create(name, &token).await.unwrap();
    Device::ready(platform.mqtt, Login::token(&token)).await
}

async fn connection(platform: &Platform, name: &str) -> Connection {
    let request = GetDeviceRequest { key: device_ref(name) };
    let device = platform.portal.clone().get_device(request).await.unwrap().into_inner().device;
    device.unwrap().connection.unwrap()
}

/// Why it is offline, once it is.
async fn reason(platform: &Platform, name: &str) -> EndReason {
    let what = format!("{name} has gone");
    let gone = eventually(&what, || async {
        let connection = connection(platform, name).await;
        (connection.state() == ConnectionState::Offline).then_some(connection)
    });
    gone.await.reason()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_hangs_up_on_an_answer_that_is_late_went_by_the_platforms_hand() {
    let disk = Disk::new();
    let store = Arc::new(Faulty::new(disk.store.clone()));
    let platform = Platform::start(store.clone()).await;
    let mut waits = connected(&platform, "boiler-1").await;
    let mut answered = connected(&platform, "boiler-2").await;
    answered.publish(TELEMETRY, 1, "{\"t\":1}").await;
    assert_eq!(answered.hear().await, Some(Heard::PubAck(1, ReasonCode::Success)));
    store.hold(true);
    waits.publish(TELEMETRY, 1, "{\"t\":1}").await;
    assert_eq!(waits.ping().await, [], "it was read, and cannot be stored yet");
    // tidy: allow(sleep): the gateway's own clock says when an answer is late
    tokio::time::sleep(LATE).await;
    for name in ["boiler-1", "boiler-2"] {
        assert_eq!(connection(&platform, name).await.state(), ConnectionState::Online, "{name}");
    }
    drop((waits, answered));
    assert_eq!(reason(&platform, "boiler-1").await, EndReason::ByPlatform);
    assert_eq!(reason(&platform, "boiler-2").await, EndReason::Cut);
    assert!(store.held() > 0, "nothing was answered meanwhile");
    store.hold(false);
}
