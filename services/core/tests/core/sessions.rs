//! Which of several connections of one device is its session.

use stoker_proto::core::v1::CreateDeviceRequest;
use stoker_protocol::codec::ReasonCode;

use super::device::{Device, Heard, Login};
use super::platform::{Disk, Platform, device_ref};

/// A password takes core much longer to check than a token, so the later CONNECT is the first to reach the slot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_connections_at_once_the_newer_stays_whichever_is_checked_first() {
    let disk = Disk::new();
    let platform = Platform::start(disk.store.clone()).await;
    platform.create("pump", "token-of-the-pump").await.unwrap();
    for n in 0..5 {
        let (name, token) = (format!("boiler-{n}"), format!("token-of-boiler-{n}"));
        let request = CreateDeviceRequest {
            key: device_ref(&name),
            token: Some(token.clone()),
            password: Some("secret".to_owned()),
            ..CreateDeviceRequest::default()
        };
        platform.portal.clone().create_device(request).await.unwrap();
        let slow = Login { user_name: &name, password: Some("secret"), receive_max: u16::MAX };
        let mut older = Device::dial(platform.mqtt, slow).await;
        // When a connection made after it is served, the gateway has long read its CONNECT.
        Device::ready(platform.mqtt, Login::token("token-of-the-pump")).await;
        let mut newer = Device::dial(platform.mqtt, Login::token(&token)).await;
        assert_eq!(newer.hear().await, Some(Heard::ConnAck(ReasonCode::Success)));
        tokio::select! {
            _ = older.closed() => {}
            heard = newer.closed() => panic!("the newer connection was closed: {heard:?}"),
        }
        assert_eq!(newer.ping().await, []);
    }
}
