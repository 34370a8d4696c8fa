//! Devices that are connected while the cores behind their gateway come and go, and while a gateway dies.

use std::sync::Arc;

use stoker_bus::InProcessBus;
use stoker_domain::ports::bus::Bus;
use stoker_domain::{MemberId, Settings};
use stoker_link::Channel;
use stoker_proto::core::v1::portal_service_client::PortalServiceClient;
use stoker_proto::core::v1::{
    Command, CommandState, ConnectionState, CreateCommandRequest, CreateDeviceRequest, GetCommandRequest,
    GetDeviceRequest, ListAlarmsRequest, ListPointsRequest, Order,
};
use stoker_protocol::codec::ReasonCode;

use crate::device::{Device, Heard, Login};
use crate::eventually::eventually;
use crate::faulty::Faulty;
use crate::platform::{Disk, device_ref};
use crate::several::{Gateway, Network, One, settle};

pub(crate) type Portal = PortalServiceClient<Channel>;

pub(crate) const TELEMETRY: &str = "v1/devices/me/telemetry";

/// Devices that are gone are missed soon: who is still there must not be.
fn impatient() -> Settings {
    Settings { silence_after_ms: 4_000, silence_grace_ms: 4_000, ..Settings::default() }
}

pub(crate) fn token(device: &str) -> String {
    format!("token-of-{device}-long-enough")
}

pub(crate) async fn make(portal: &Portal, device: &str) {
    make_expected(portal, device, None).await;
}

async fn make_expected(portal: &Portal, device: &str, expected_interval_s: Option<u32>) {
    let request = CreateDeviceRequest {
        key: device_ref(device),
        token: Some(token(device)),
        expected_interval_s,
        ..CreateDeviceRequest::default()
    };
    portal.clone().create_device(request).await.unwrap();
}

pub(crate) async fn state(portal: &Portal, device: &str) -> ConnectionState {
    let request = GetDeviceRequest { key: device_ref(device) };
    let device = portal.clone().get_device(request).await.unwrap().into_inner().device.unwrap();
    device.connection.unwrap_or_default().state()
}

async fn becomes(portal: &Portal, device: &str, wanted: ConnectionState) {
    let what = format!("{device} is {wanted:?}");
    eventually(&what, || async { (state(portal, device).await == wanted).then_some(()) }).await;
}

async fn order(portal: &Portal, device: &str, method: &str) -> Command {
    let request = CreateCommandRequest {
        device: device_ref(device),
        method: method.to_owned(),
        ..CreateCommandRequest::default()
    };
    portal.clone().create_command(request).await.unwrap().into_inner().command.unwrap()
}

async fn ended(portal: &Portal, id: &str) -> Command {
    let request =
        GetCommandRequest { organization: "default".to_owned(), id: id.to_owned(), wait_ms: 20_000 };
    portal.clone().get_command(request).await.unwrap().into_inner().command.unwrap()
}

pub(crate) async fn alarms(portal: &Portal) -> Vec<String> {
    let request =
        ListAlarmsRequest { organization: "default".to_owned(), limit: 100, ..ListAlarmsRequest::default() };
    let alarms = portal.clone().list_alarms(request).await.unwrap().into_inner().alarms;
    alarms
        .into_iter()
        .map(|alarm| format!("{} {}", alarm.code, alarm.device.unwrap_or_default().device))
        .collect()
}

/// Does what a command asks, once: the topic's number, and what was answered.
async fn obey(device: &mut Device, packet: u16) -> String {
    match device.hear().await {
        Some(Heard::Publish { topic, id: Some(id), payload }) => {
            device.acknowledge(id).await;
            let number = topic.rsplit('/').next().unwrap().to_owned();
            device.publish(&format!("v1/devices/me/rpc/response/{number}"), packet, "{\"done\":true}").await;
            payload
        }
        heard => panic!("{heard:?}"),
    }
}

async fn report(device: &mut Device, packet: u16) {
    device.publish(TELEMETRY, packet, &format!("{{\"n\":{packet}}}")).await;
    loop {
        match device.hear().await {
            Some(Heard::PubAck(id, ReasonCode::Success)) if id == packet => return,
            Some(Heard::PubAck(..)) => {}
            heard => panic!("{heard:?}"),
        }
    }
}

pub(crate) async fn points(portal: &Portal, device: &str) -> usize {
    let request = ListPointsRequest {
        device: device_ref(device),
        to: i64::MAX,
        limit: 1_000,
        order: Order::Ascending.into(),
        ..ListPointsRequest::default()
    };
    portal.clone().list_points(request).await.unwrap().into_inner().points.len()
}

struct Rig {
    disk: Disk,
    network: Network,
    bus: Arc<dyn Bus>,
}

impl Rig {
    fn new() -> Self {
        Self { disk: Disk::new(), network: Network::default(), bus: Arc::new(InProcessBus::default()) }
    }

    async fn core(&self, name: &str) -> One {
        One::start_on(name, &self.network, self.disk.store.clone(), self.bus.clone(), impatient()).await
    }

    async fn gateway(&self) -> Gateway {
        Gateway::start(&self.network, self.bus.clone(), &["a", "b"]).await
    }
}

const DEVICES: usize = 12;

async fn connected(gateway: &Gateway, portal: &Portal) -> Vec<(String, Device)> {
    let mut devices = Vec::new();
    for n in 0..DEVICES {
        let name = format!("boiler-{n}");
        make(portal, &name).await;
        let token = token(&name);
        devices.push((name, Device::ready(gateway.mqtt, Login::token(&token)).await));
    }
    devices
}

/// Whatever happened to the cores: each device is there, obeys once, and what it reported is stored.
async fn all_is_well(portal: &Portal, devices: &mut [(String, Device)], reported: u16) {
    for (name, device) in devices.iter_mut() {
        becomes(portal, name, ConnectionState::Online).await;
        let command = order(portal, name, "reset").await;
        assert_eq!(obey(device, 1_000).await, "{\"method\":\"reset\",\"params\":{}}");
        let command = ended(portal, &command.id).await;
        assert_eq!(command.state(), CommandState::Succeeded, "{name}");
        assert_eq!(points(portal, name).await, usize::from(reported), "{name}");
        // The answer to the reply, and no command a second time.
        let heard = device.ping().await;
        assert!(heard.iter().all(|heard| matches!(heard, Heard::PubAck(1_000, _))), "{name}: {heard:?}");
    }
    assert_eq!(alarms(portal).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_notice_nothing_of_a_core_that_dies() {
    let rig = Rig::new();
    let (a, b) = (rig.core("a").await, rig.core("b").await);
    settle(&[&a, &b]).await;
    let gateway = rig.gateway().await;
    let mut devices = connected(&gateway, &a.portal).await;
    for (_, device) in &mut devices {
        report(device, 1).await;
    }
    drop(b);
    for (_, device) in &mut devices {
        report(device, 2).await;
    }
    all_is_well(&a.portal, &mut devices, 2).await;
    // Whoever was thought to have gone with the core would be missed before this one is.
    let (name, gone) = devices.swap_remove(0);
    drop(gone);
    let missed = eventually("the one that has gone is missed", || async {
        let alarms = alarms(&a.portal).await;
        (!alarms.is_empty()).then_some(alarms)
    });
    assert_eq!(missed.await, [format!("silence {name}")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_under_way_outlives_the_owner_that_gave_it_and_comes_once() {
    let rig = Rig::new();
    let (a, b) = (rig.core("a").await, rig.core("b").await);
    settle(&[&a, &b]).await;
    let gateway = rig.gateway().await;
    let mut devices = connected(&gateway, &a.portal).await;
    let mut commands = Vec::new();
    for (name, device) in &mut devices {
        commands.push(order(&a.portal, name, "slow").await.id);
        // It has it, and does not say so yet.
        let heard = device.ping().await;
        assert!(heard.len() <= 1, "{heard:?}");
        if let Some(Heard::Publish { topic, id: Some(id), .. }) = heard.into_iter().next() {
            commands.push(format!("{topic} {id}"));
        } else {
            commands.push(String::new());
        }
    }
    b.terminate().await;
    settle(&[&a]).await;
    for ((name, device), had) in devices.iter_mut().zip(commands.chunks(2)) {
        let (topic, id) = match had[1].split_once(' ') {
            Some((topic, id)) => (topic.to_owned(), id.parse().unwrap()),
            None => match device.hear().await {
                Some(Heard::Publish { topic, id: Some(id), .. }) => (topic, id),
                heard => panic!("{heard:?}"),
            },
        };
        device.acknowledge(id).await;
        let number = topic.rsplit('/').next().unwrap();
        device.publish(&format!("v1/devices/me/rpc/response/{number}"), 7, "{}").await;
        assert_eq!(ended(&a.portal, &had[0]).await.state(), CommandState::Succeeded, "{name}");
    }
    for (name, device) in &mut devices {
        becomes(&a.portal, name, ConnectionState::Online).await;
        let heard = device.ping().await;
        assert!(heard.iter().all(|heard| matches!(heard, Heard::PubAck(7, _))), "{name}: {heard:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_of_a_gateway_that_died_have_their_grace_and_then_are_missed() {
    let rig = Rig::new();
    let a = rig.core("a").await;
    settle(&[&a]).await;
    let (stays, dies) = (rig.gateway().await, rig.gateway().await);
    for name in ["here", "back", "gone"] {
        make(&a.portal, name).await;
    }
    let member: MemberId = dies.member.clone();
    let _here = Device::ready(stays.mqtt, Login::token(&token("here"))).await;
    let gone = [
        Device::ready(dies.mqtt, Login::token(&token("back"))).await,
        Device::ready(dies.mqtt, Login::token(&token("gone"))).await,
    ];
    drop((dies, gone));
    becomes(&a.portal, "gone", ConnectionState::Offline).await;
    assert_eq!(alarms(&a.portal).await, [""; 0], "{member} ended by our hand");
    let _back = Device::ready(stays.mqtt, Login::token(&token("back"))).await;
    let missed = eventually("who does not come back is missed", || async {
        let alarms = alarms(&a.portal).await;
        (!alarms.is_empty()).then_some(alarms)
    });
    assert_eq!(missed.await, ["silence gone"]);
    for name in ["here", "back"] {
        assert_eq!(state(&a.portal, name).await, ConnectionState::Online, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_slot_is_handed_on_after_a_gateway_died_has_the_grace_all_the_same() {
    let rig = Rig::new();
    // The one much shorter, the other much longer than this test may take.
    let settings = Settings { silence_after_ms: 500, silence_grace_ms: 3_600_000, ..Settings::default() };
    let start =
        |name| One::start_on(name, &rig.network, rig.disk.store.clone(), rig.bus.clone(), settings.clone());
    let (a, b) = (start("a").await, start("b").await);
    settle(&[&a, &b]).await;
    let (stays, dies) = (rig.gateway().await, rig.gateway().await);
    let lost = connected(&dies, &b.portal).await;
    drop(dies);
    // Both own some of them.
    for (name, _) in &lost {
        becomes(&b.portal, name, ConnectionState::Offline).await;
    }
    let mut back = Vec::new();
    for (name, _) in lost {
        let device = Device::ready(stays.mqtt, Login::token(&token(&name))).await;
        back.push((name, device));
    }
    a.terminate().await;
    settle(&[&b]).await;
    for (name, device) in back {
        becomes(&b.portal, &name, ConnectionState::Online).await;
        drop(device);
        becomes(&b.portal, &name, ConnectionState::Offline).await;
    }
    // By the time that this one is missed all others would have been.
    make_expected(&b.portal, "mute", Some(1)).await;
    let _mute = Device::ready(stays.mqtt, Login::token(&token("mute"))).await;
    let missed = eventually("the one that says nothing is missed", || async {
        let alarms = alarms(&b.portal).await;
        (!alarms.is_empty()).then_some(alarms)
    });
    assert_eq!(missed.await, ["silence mute"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reports_to_any_core_is_not_missed_by_the_owner() {
    let rig = Rig::new();
    let (a, b) = (rig.core("a").await, rig.core("b").await);
    settle(&[&a, &b]).await;
    let gateway = rig.gateway().await;
    let mut devices = Vec::new();
    for n in 0..=DEVICES {
        let name = format!("boiler-{n}");
        make_expected(&a.portal, &name, Some(2)).await;
        let token = token(&name);
        devices.push((name, Device::ready(gateway.mqtt, Login::token(&token)).await));
    }
    let (mute, _connection) = devices.pop().unwrap();
    let mut packet = 0;
    let missed = loop {
        packet += 1;
        for (_, device) in &mut devices {
            report(device, packet).await;
        }
        let alarms = alarms(&b.portal).await;
        if !alarms.is_empty() {
            break alarms;
        }
    };
    assert_eq!(missed, [format!("silence {mute}")]);
    // Twice as long as it took to miss that one.
    for again in 1..=packet {
        for (_, device) in &mut devices {
            report(device, packet + again).await;
        }
    }
    assert_eq!(alarms(&b.portal).await, [format!("silence {mute}")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_core_that_is_cut_from_the_store_is_left_and_no_device_is() {
    let rig = Rig::new();
    let store = Arc::new(Faulty::new(rig.disk.store.clone()));
    let b = One::start_on("b", &rig.network, store.clone(), rig.bus.clone(), impatient()).await;
    // It knows of no other core yet: its connections are to this one.
    let gateway = Gateway::start(&rig.network, rig.bus.clone(), &["b"]).await;
    let a = rig.core("a").await;
    settle(&[&a, &b]).await;
    let mut devices = connected(&gateway, &a.portal).await;
    for (_, device) in &mut devices {
        report(device, 1).await;
    }
    store.cut();
    for (_, device) in &mut devices {
        report(device, 2).await;
    }
    settle(&[&a]).await;
    all_is_well(&a.portal, &mut devices, 2).await;
    // Of a store that is away all cores say so at once: none of them would be left, if they were not ready.
    assert_eq!(b.health.check_ready(), Ok(()));
    assert_eq!(b.health.degradations(), "degraded: store: the members' rows cannot be read\n");
}
