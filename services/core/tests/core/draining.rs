//! Devices of a gateway that is told to end.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use stoker_bus::InProcessBus;
use stoker_domain::Settings;
use stoker_domain::ports::bus::Bus;
use stoker_gateway::Drain;
use stoker_proto::core::v1::ConnectionState;
use stoker_protocol::codec::ReasonCode;
use tokio::net::TcpStream;

use crate::device::{Device, Heard, Login};
use crate::eventually::{eventually, for_a_while};
use crate::faulty::Faulty;
use crate::moving::{TELEMETRY, alarms, make, points, state, token};
use crate::platform::Disk;
use crate::several::{Gateway, Network, One, settle};

const DEVICES: usize = 300;
const OTHERS: usize = 10;

fn paced() -> Drain {
    Drain {
        within: Duration::from_secs(20),
        max_rate: None,
        handover_grace: None,
        goodbye: Duration::from_secs(10),
    }
}

async fn connected(
    gateway: &Gateway,
    core: &One,
    names: impl Iterator<Item = String>,
) -> Vec<(String, Device)> {
    let mut devices = Vec::new();
    for name in names {
        make(&core.portal, &name).await;
        let device = Device::ready(gateway.mqtt, Login::token(&token(&name))).await;
        devices.push((name, device));
    }
    devices
}

/// What the device hears until it is told to go, in order; then it goes to another gateway.
async fn move_on(name: String, mut device: Device, to: &Gateway) -> (String, Vec<Heard>, Device) {
    let heard = device.closed().await;
    let moved = Device::ready(to.mqtt, Login::token(&token(&name))).await;
    (name, heard, moved)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_device_of_a_gateway_that_ends_is_moved_once_and_not_before_what_it_said_is_acknowledged() {
    let (disk, network) = (Disk::new(), Network::default());
    let store = Arc::new(Faulty::new(disk.store.clone()));
    let bus: Arc<dyn Bus> = Arc::new(InProcessBus::default());
    let core = One::start_on("a", &network, store.clone(), bus.clone(), Settings::default()).await;
    settle(&[&core]).await;
    let ends = Gateway::start_with(&network, bus.clone(), &["a"], paced()).await;
    let stays = Gateway::start_with(&network, bus.clone(), &["a"], paced()).await;
    let mut moving = connected(&ends, &core, (0..DEVICES).map(|n| format!("boiler-{n}"))).await;
    let others = connected(&stays, &core, (0..OTHERS).map(|n| format!("pump-{n}"))).await;
    store.hold(true);
    for (name, device) in &mut moving {
        device.publish(TELEMETRY, 7, "{\"t\":1}").await;
        assert_eq!(device.ping().await, [], "{name}: it was read, and cannot be stored yet");
    }
    ends.end();
    eventually("it takes nobody in any more", || async {
        TcpStream::connect(ends.mqtt).await.is_err().then_some(())
    })
    .await;
    // Some have been told to go by now, and wait.
    for_a_while().await;
    store.hold(false);
    let moved = join_all(moving.into_iter().map(|(name, device)| move_on(name, device, &stays))).await;
    ends.ended().await;
    let (acknowledged, told) =
        (Heard::PubAck(7, ReasonCode::Success), Heard::Disconnect(ReasonCode::ServerShuttingDown));
    let mut devices = others;
    for (name, heard, device) in moved {
        assert_eq!(heard, [acknowledged.clone(), told.clone()], "{name}");
        assert_eq!(points(&core.portal, &name).await, 1, "{name}");
        devices.push((name, device));
    }
    for (name, device) in &mut devices {
        assert_eq!(device.ping().await, [], "{name}: it stays where it is");
        assert_eq!(state(&core.portal, name).await, ConnectionState::Online, "{name}");
    }
    assert_eq!(alarms(&core.portal).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_handed_over_and_does_not_come_is_missed_after_the_time_that_the_gateway_gave() {
    let (disk, network) = (Disk::new(), Network::default());
    let bus: Arc<dyn Bus> = Arc::new(InProcessBus::default());
    // Much longer than this test may take.
    let settings = Settings { silence_grace_ms: 3_600_000, ..Settings::default() };
    let core = One::start_on("a", &network, disk.store.clone(), bus.clone(), settings).await;
    settle(&[&core]).await;
    let drain = Drain { handover_grace: Some(Duration::from_secs(2)), ..paced() };
    let ends = Gateway::start_with(&network, bus.clone(), &["a"], drain).await;
    let stays = Gateway::start_with(&network, bus.clone(), &["a"], paced()).await;
    let moving = connected(&ends, &core, ["boiler-1", "boiler-2"].map(str::to_owned).into_iter()).await;
    ends.end();
    let mut moving = moving.into_iter();
    let (name, device) = moving.next().unwrap();
    let (_, _, _moved) = move_on(name, device, &stays).await;
    let missed = eventually("who does not come is missed", || async {
        let alarms = alarms(&core.portal).await;
        (!alarms.is_empty()).then_some(alarms)
    });
    assert_eq!(missed.await, ["silence boiler-2"]);
    ends.ended().await;
}
