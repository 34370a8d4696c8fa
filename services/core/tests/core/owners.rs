//! Whoever asks several cores learns from the answers who the owner of a slot is, and asks there: no hop more.

use std::sync::Arc;

use stoker_bus::InProcessBus;
use stoker_domain::ownership::falls_to;
use stoker_domain::ports::bus::Bus;
use stoker_domain::ports::store::Store;
use stoker_domain::{MemberId, Slot};
use stoker_link::{Channel, Cores, to_owner};
use stoker_proto::core::v1::portal_service_client::PortalServiceClient;
use stoker_proto::core::v1::{CreateDeviceRequest, GetDeviceRequest, GetStatusRequest};
use stoker_protocol::codec::ReasonCode;

use crate::device::{Device, Heard, Login};
use crate::eventually::eventually;
use crate::moving::{Portal, make, token};
use crate::platform::{Disk, device_ref};
use crate::several::{Gateway, Network, One, settle};

/// Requests that a core has answered itself, that it has passed on, and that it has answered for others.
fn answered(core: &One) -> [u64; 3] {
    core.stats.snapshot().answered.map(|(_, count)| count)
}

/// A portal whose connection to any core is one to the first of these.
async fn portal(network: &Network, cores: &[&str]) -> Portal {
    let known = Cores::new(vec![cores[0].to_owned()]);
    let portal = PortalServiceClient::<Channel>::new(network.link().to_any(&known));
    portal.clone().get_status(GetStatusRequest { here_only: true }).await.unwrap();
    known.learn(&cores.iter().map(|core| (*core).to_owned()).collect::<Vec<_>>());
    portal
}

async fn create(portal: &Portal, device: &str) {
    let request = CreateDeviceRequest {
        key: device_ref(device),
        token: Some(token(device)),
        ..CreateDeviceRequest::default()
    };
    portal.clone().create_device(to_owner(request)).await.unwrap();
}

async fn find(portal: &Portal, device: &str) {
    let request = to_owner(GetDeviceRequest { key: device_ref(device) });
    let found = portal.clone().get_device(request).await.unwrap().into_inner().device.unwrap();
    assert_eq!(found.key, device_ref(device));
}

/// Waits until each slot has the owner that it keeps as long as these are the cores.
async fn at_rest(disk: &Disk, cores: &[&One]) {
    settle(cores).await;
    let mut members = Vec::new();
    for core in cores {
        let request = GetStatusRequest { here_only: true };
        let status = core.portal.clone().get_status(request).await.unwrap().into_inner();
        members.push(MemberId::new(&status.member).unwrap());
    }
    eventually("no slot has yet to move", || async {
        for slot in Slot::all() {
            let owner = disk.store.head(slot).await.unwrap().owner;
            if owner.as_ref() != falls_to(slot, members.iter()) {
                return None;
            }
        }
        Some(())
    })
    .await;
}

/// Makes devices until one belongs to another core than this one, which is asked.
async fn create_elsewhere(portal: &Portal, asked: &One) -> String {
    for number in 0..64 {
        let device = format!("boiler-{number}");
        let [_, passed_on, _] = answered(asked);
        create(portal, &device).await;
        if answered(asked)[1] > passed_on {
            return device;
        }
    }
    panic!("all of 64 devices belong to one core");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_request_for_a_slot_is_passed_on_and_no_other() {
    let (disk, network) = (Disk::new(), Network::default());
    let a = One::start("a", &network, disk.store.clone()).await;
    let b = One::start("b", &network, disk.store.clone()).await;
    settle(&[&a, &b]).await;
    let portal = portal(&network, &["a", "b"]).await;
    let device = create_elsewhere(&portal, &a).await;
    let ([here, passed_on, _], [at_b, _, for_another]) = (answered(&a), answered(&b));
    for _ in 0..10 {
        find(&portal, &device).await;
    }
    assert_eq!(answered(&a)[..2], [here, passed_on], "it was not asked");
    assert_eq!(answered(&b), [at_b + 10, 0, for_another]);

    // The owner goes, and there is only one left to ask.
    b.terminate().await;
    for _ in 0..10 {
        find(&portal, &device).await;
    }
    assert_eq!(answered(&a)[..2], [here + 10, passed_on]);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_owner_was_killed_any_core_is_asked() {
    let (disk, network) = (Disk::new(), Network::default());
    let a = One::start("a", &network, disk.store.clone()).await;
    let b = One::start("b", &network, disk.store.clone()).await;
    settle(&[&a, &b]).await;
    let portal = portal(&network, &["a", "b"]).await;
    let device = create_elsewhere(&portal, &a).await;
    let here = answered(&a)[0];
    drop(b);
    find(&portal, &device).await;
    assert_eq!(answered(&a)[0], here + 1, "it has taken the slot over");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_moved_is_learned_anew() {
    let (disk, network) = (Disk::new(), Network::default());
    let a = One::start("a", &network, disk.store.clone()).await;
    settle(&[&a]).await;
    let portal = portal(&network, &["a", "b"]).await;
    let devices: Vec<String> = (0..32).map(|number| format!("boiler-{number}")).collect();
    for device in &devices {
        create(&portal, device).await;
    }
    assert_eq!(answered(&a), [32, 0, 0]);
    let b = One::start("b", &network, disk.store.clone()).await;
    settle(&[&a, &b]).await;
    // A slot that has moved stays where it is.
    let moved = eventually("a device has moved", || async {
        for device in &devices {
            let [_, passed_on, _] = answered(&a);
            find(&portal, device).await;
            if answered(&a)[1] > passed_on {
                return Some(device);
            }
        }
        None
    })
    .await;
    let ([here, passed_on, _], [at_b, ..]) = (answered(&a), answered(&b));
    for _ in 0..10 {
        find(&portal, moved).await;
    }
    assert_eq!(answered(&a)[..2], [here, passed_on]);
    assert_eq!(answered(&b)[..2], [at_b + 10, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_has_heard_who_owns_what_asks_nobody_else() {
    let (disk, network) = (Disk::new(), Network::default());
    let bus: Arc<dyn Bus> = Arc::new(InProcessBus::default());
    let a = One::start("a", &network, disk.store.clone()).await;
    let b = One::start("b", &network, disk.store.clone()).await;
    at_rest(&disk, &[&a, &b]).await;
    let devices: Vec<String> = (0..8).map(|number| format!("boiler-{number}")).collect();
    for device in &devices {
        let request = CreateDeviceRequest {
            key: device_ref(device),
            password: Some("a-password".to_owned()),
            ..CreateDeviceRequest::default()
        };
        a.portal.clone().create_device(request).await.unwrap();
    }
    make(&a.portal, "boiler-with-a-token").await;
    let gateway = Gateway::start(&network, bus, &["a", "b"]).await;
    eventually("the gateway has beaten", || async {
        let status = a.portal.clone().get_status(GetStatusRequest::default()).await.unwrap().into_inner();
        status.members.iter().any(|member| member.member == gateway.member.as_str()).then_some(())
    })
    .await;
    let passed_on = || [answered(&a)[1], answered(&b)[1]];
    let before = passed_on();
    let mut connected = Vec::new();
    for device in &devices {
        let login = Login { user_name: device, password: Some("a-password"), receive_max: 8 };
        connected.push(Device::ready(gateway.mqtt, login).await);
    }
    assert_eq!(passed_on(), before, "a user name says whose slot it is");
    let token = token("boiler-with-a-token");
    connected.push(Device::ready(gateway.mqtt, Login::token(&token)).await);
    let before = passed_on();
    for device in &mut connected {
        device.publish("v1/devices/me/attributes", 7, r#"{"firmware":"1.2"}"#).await;
        while device.hear().await != Some(Heard::PubAck(7, ReasonCode::Success)) {}
    }
    assert_eq!(passed_on(), before);
}
