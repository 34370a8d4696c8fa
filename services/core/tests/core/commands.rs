//! Commands on their way through a gateway.

use std::collections::HashMap;

use stoker_proto::core::v1::{
    CancelCommandRequest, Command, CommandState, CreateCommandRequest, PatchAttributesRequest, Value,
    value::Kind,
};

use super::device::{Device, Heard, Login};
use super::platform::{Disk, Platform, device_ref};

async fn command(platform: &Platform, method: &str) -> Command {
    let request = CreateCommandRequest {
        device: device_ref("boiler-1"),
        method: method.to_owned(),
        ..CreateCommandRequest::default()
    };
    platform.portal.clone().create_command(request).await.unwrap().into_inner().command.unwrap()
}

/// Orders reach a connection as they were given: once the device has heard of this, all before it is done.
async fn everything_before_is_done(platform: &Platform, device: &mut Device) {
    let value = Value { kind: Some(Kind::Integer(1)) };
    let request = PatchAttributesRequest {
        device: device_ref("boiler-1"),
        shared: HashMap::from([("mark".to_owned(), value)]),
        ..PatchAttributesRequest::default()
    };
    platform.portal.clone().patch_attributes(request).await.unwrap();
    let heard = device.hear().await;
    assert!(
        matches!(&heard, Some(Heard::Publish { topic, .. }) if topic == "v1/devices/me/attributes"),
        "{heard:?}"
    );
}

/// The packet id and the method of the next command.
async fn hear_command(device: &mut Device) -> (u16, String) {
    match device.hear().await {
        Some(Heard::Publish { id: Some(id), payload, .. }) => {
            let method = payload.split('"').nth(3).unwrap().to_owned();
            (id, method)
        }
        heard => panic!("{heard:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_was_cancelled_while_it_waited_in_the_gateway_never_reaches_the_device() {
    let disk = Disk::new();
    let platform = Platform::start(disk.store.clone()).await;
    platform.create("boiler-1", "token-of-boiler-1").await.unwrap();
    let one_at_once = Login { receive_max: 1, ..Login::token("token-of-boiler-1") };
    let mut device = Device::ready(platform.mqtt, one_at_once).await;
    for method in ["first", "second", "third"] {
        command(&platform, method).await;
    }
    let fourth = command(&platform, "fourth").await;
    let (packet, method) = hear_command(&mut device).await;
    assert_eq!(method, "first");
    let request = CancelCommandRequest { organization: "default".to_owned(), id: fourth.id };
    let cancelled =
        platform.portal.clone().cancel_command(request).await.unwrap().into_inner().command.unwrap();
    assert_eq!((cancelled.state, cancelled.sent_at), (CommandState::Cancelled.into(), None));
    everything_before_is_done(&platform, &mut device).await;
    command(&platform, "fifth").await;
    let mut packet = packet;
    for expected in ["second", "third", "fifth"] {
        device.acknowledge(packet).await;
        let (next, method) = hear_command(&mut device).await;
        assert_eq!(method, expected);
        packet = next;
    }
}
