//! Commits that stay at a size that databases take, however much there is to hand out at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use stoker_domain::Settings;
use stoker_domain::ports::store::COMMIT_BYTES_MAX;
use stoker_proto::core::v1::gateway_service_client::GatewayServiceClient;
use stoker_proto::core::v1::{
    AnnounceSessionsRequest, AnnouncedSession, CreateCommandRequest, CreateDeviceRequest, SessionEpoch,
};

use crate::eventually::eventually;
use crate::faulty::Faulty;
use crate::platform::{Disk, device_ref, key};
use crate::refusing::Refusing;
use crate::several::{Network, One, settle};

/// Names of devices that share a slot.
fn neighbours(count: usize) -> Vec<String> {
    let slot = key("boiler-0").slot();
    (0..).map(|n| format!("boiler-{n}")).filter(|name| key(name).slot() == slot).take(count).collect()
}

const DEVICES: usize = 4;
const COMMANDS: usize = 100;
const PARAMS: usize = 32 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_stays_small_whatever_is_handed_out_and_comes_back_at_once() {
    let disk = Disk::new();
    let store = Arc::new(Faulty::new(disk.store.clone()));
    let bus = Arc::new(Refusing::held());
    let network = Network::default();
    let core = One::start_on("a", &network, store.clone(), bus.clone(), Settings::default()).await;
    settle(&[&core]).await;
    let names = neighbours(DEVICES);
    for name in &names {
        let request = CreateDeviceRequest { key: device_ref(name), ..CreateDeviceRequest::default() };
        core.portal.clone().create_device(request).await.unwrap();
        for _ in 0..COMMANDS {
            let request = CreateCommandRequest {
                device: device_ref(name),
                method: "write".to_owned(),
                params: format!("\"{}\"", "x".repeat(PARAMS - 2)),
                expires_in_s: Some(3_600),
            };
            core.portal.clone().create_command(request).await.unwrap();
        }
    }
    // Granted by an owner of whom nothing is left.
    let sessions = names.iter().map(|name| AnnouncedSession {
        device: device_ref(name),
        epoch: Some(SessionEpoch { slot_epoch: 1, counter: 1 }),
        address: "192.0.2.1:4711".to_owned(),
        protocol: "mqtt-5".to_owned(),
        will: None,
        commands_wanted: true,
    });
    let request = AnnounceSessionsRequest {
        gateway: "g1".to_owned(),
        slot: key("boiler-0").slot().0.into(),
        sessions: sessions.collect(),
    };
    GatewayServiceClient::new(network.link().to("a")).announce_sessions(request).await.unwrap();
    let handed_out = store.heaviest_commit();
    assert!(handed_out <= COMMIT_BYTES_MAX, "handed out with {handed_out} bytes");

    bus.held.send_replace(false);
    // Who is handed out a second time has been taken back.
    eventually("all commands came back", || async {
        (bus.refused.load(Ordering::SeqCst) >= 2 * DEVICES * COMMANDS).then_some(())
    })
    .await;
    let taken_back = store.heaviest_commit();
    assert!(taken_back <= COMMIT_BYTES_MAX, "taken back with {taken_back} bytes");
}
