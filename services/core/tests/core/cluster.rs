//! Several cores: any of them answers for every device, whoever comes and goes.

use std::collections::BTreeSet;
use std::sync::Arc;

use stoker_domain::Slot;
use stoker_domain::ports::store::Store;
use stoker_link::Channel;
use stoker_proto::core::v1::member_service_client::MemberServiceClient;
use stoker_proto::core::v1::portal_service_client::PortalServiceClient;
use stoker_proto::core::v1::{
    BeatRequest, CreateDeviceRequest, GetAttributesRequest, GetDeviceRequest, GetStatusRequest,
    ListDevicesRequest, PatchAttributesRequest, Value, value,
};
use stoker_proto::problem::ProblemKind;
use tonic::Status;

use crate::eventually::eventually;
use crate::platform::{Disk, device_ref};
use crate::several::{Network, One, settle};

type Portal = PortalServiceClient<Channel>;

async fn make(portal: &Portal, device: &str) -> Result<(), Status> {
    let request = CreateDeviceRequest {
        key: device_ref(device),
        token: Some(format!("token-of-{device}-long-enough")),
        ..CreateDeviceRequest::default()
    };
    portal.clone().create_device(request).await.map(drop)
}

async fn ids(portal: &Portal) -> Result<BTreeSet<String>, Status> {
    let request = ListDevicesRequest {
        organization: "default".to_owned(),
        limit: 1_000,
        ..ListDevicesRequest::default()
    };
    let devices = portal.clone().list_devices(request).await?.into_inner().devices;
    Ok(devices.into_iter().filter_map(|device| device.key).map(|key| key.device).collect())
}

async fn count_up(portal: &Portal, device: &str, to: i64) -> Result<(), Status> {
    let value = Value { kind: Some(value::Kind::Integer(to)) };
    let request = PatchAttributesRequest {
        device: device_ref(device),
        server: [("count".to_owned(), value)].into(),
        ..PatchAttributesRequest::default()
    };
    portal.clone().patch_attributes(request).await.map(drop)
}

async fn count(portal: &Portal, device: &str) -> Option<i64> {
    let request = GetAttributesRequest { device: device_ref(device) };
    let attributes = portal.clone().get_attributes(request).await.unwrap().into_inner().attributes.unwrap();
    attributes.server.get("count").and_then(|value| match value.kind {
        Some(value::Kind::Integer(count)) => Some(count),
        _ => None,
    })
}

/// The epochs of all slots, as the store has them.
async fn epochs(store: &dyn Store) -> Vec<u64> {
    let mut epochs = Vec::new();
    for slot in Slot::all() {
        epochs.push(store.head(slot).await.unwrap().epoch.0);
    }
    epochs
}

#[tokio::test(flavor = "multi_thread")]
async fn any_of_three_cores_answers_for_every_device() {
    let (disk, network) = (Disk::new(), Network::default());
    let mut cores = Vec::new();
    for name in ["a", "b", "c"] {
        cores.push(One::start(name, &network, disk.store.clone()).await);
    }
    settle(&cores.iter().collect::<Vec<_>>()).await;
    let names: BTreeSet<String> = (0..60).map(|n| format!("boiler-{n}")).collect();
    for (name, core) in names.iter().zip(cores.iter().cycle()) {
        make(&core.portal, name).await.unwrap();
    }
    for core in &cores {
        eventually("it is ready", || async { core.health.check_ready().ok() }).await;
        assert_eq!(ids(&core.portal).await.unwrap(), names);
        for name in &names {
            let request = GetDeviceRequest { key: device_ref(name) };
            core.portal.clone().get_device(request).await.unwrap();
        }
        let status = core.portal.clone().get_status(GetStatusRequest::default()).await.unwrap().into_inner();
        let owned: Vec<u32> = status.members.iter().map(|member| member.slots_owned).collect();
        assert_eq!((owned.len(), owned.iter().sum::<u32>(), status.devices), (3, 256, 60));
        assert!(owned.contains(&status.slots_owned), "{status:?}");
        // Whoever owns the slot of the device that has it: it is taken.
        for name in ["boiler-0", "boiler-1", "boiler-2", "boiler-3"] {
            let request = CreateDeviceRequest {
                key: device_ref("another"),
                token: Some(format!("token-of-{name}-long-enough")),
                ..CreateDeviceRequest::default()
            };
            let refused = core.portal.clone().create_device(request).await.unwrap_err();
            assert_eq!(ProblemKind::of(&refused).0, ProblemKind::InvalidToken);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_core_that_ends_hands_its_slots_on_and_no_request_fails() {
    let (disk, network) = (Disk::new(), Network::default());
    let a = One::start("a", &network, disk.store.clone()).await;
    let b = One::start("b", &network, disk.store.clone()).await;
    settle(&[&a, &b]).await;
    let names: Vec<String> = (0..40).map(|n| format!("boiler-{n}")).collect();
    for name in &names {
        make(&a.portal, name).await.unwrap();
    }
    let portal = a.portal.clone();
    let ended = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (seen, counted) = (ended.clone(), names.clone());
    let counting = tokio::spawn(async move {
        let mut last = 0;
        // Two rounds more once the other is gone.
        let mut more = 2;
        while more > 0 {
            if seen.load(std::sync::atomic::Ordering::SeqCst) {
                more -= 1;
            }
            last += 1;
            for name in &counted {
                count_up(&portal, name, last).await.unwrap();
            }
            assert_eq!(ids(&portal).await.unwrap().len(), counted.len());
        }
        last
    });
    let before = epochs(&*disk.store).await;
    b.terminate().await;
    ended.store(true, std::sync::atomic::Ordering::SeqCst);
    let last = counting.await.unwrap();
    for name in &names {
        assert_eq!(count(&a.portal, name).await, Some(last), "{name}");
    }
    settle(&[&a]).await;
    let moves: Vec<u64> =
        epochs(&*disk.store).await.iter().zip(&before).map(|(now, then)| now - then).collect();
    assert!(moves.iter().all(|&moves| moves <= 1), "no slot moved twice: {moves:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_core_that_ends_passes_requests_on_until_nobody_knows_it() {
    let (disk, network) = (Disk::new(), Network::default());
    let a = One::start("a", &network, disk.store.clone()).await;
    let mut b = One::start("b", &network, disk.store.clone()).await;
    settle(&[&a, &b]).await;
    let names: Vec<String> = (0..20).map(|n| format!("boiler-{n}")).collect();
    for name in &names {
        make(&a.portal, name).await.unwrap();
    }
    let to_b = b.portal.clone();
    b.hand_on().await;
    // Who asks it all the same is answered, by those that own the slots now.
    for name in &names {
        count_up(&to_b, name, 1).await.unwrap();
    }
    let request = BeatRequest { member: "p000000000000000a".to_owned(), ..BeatRequest::default() };
    let mut member = MemberServiceClient::new(network.link().to("a"));
    let known = member.beat(request).await.unwrap().into_inner().cores;
    assert_eq!(known.iter().map(|core| core.address.as_str()).collect::<Vec<_>>(), ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_core_that_joins_gets_its_share_and_no_request_fails() {
    let (disk, network) = (Disk::new(), Network::default());
    let a = One::start("a", &network, disk.store.clone()).await;
    settle(&[&a]).await;
    make(&a.portal, "boiler-1").await.unwrap();
    let b = One::start("b", &network, disk.store.clone()).await;
    let (mut last, mut shared) = (0, false);
    while !shared {
        last += 1;
        for portal in [&a.portal, &b.portal] {
            count_up(portal, "boiler-1", last).await.unwrap();
            assert_eq!(count(portal, "boiler-1").await, Some(last));
            assert_eq!(ids(portal).await.unwrap().len(), 1);
        }
        let (of_a, of_b) = (a.owned().await, b.owned().await);
        shared = of_a + of_b == 256 && of_a > 64 && of_b > 64;
    }
    let moves = epochs(&*disk.store).await;
    assert!(moves.iter().all(|&epoch| epoch <= 2), "no slot moved twice: {moves:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slots_of_a_core_that_died_are_taken_over_with_all_that_was_acknowledged() {
    let (disk, network) = (Disk::new(), Network::default());
    let a = One::start("a", &network, disk.store.clone()).await;
    let b = One::start("b", &network, disk.store.clone()).await;
    settle(&[&a, &b]).await;
    let names: Vec<String> = (0..40).map(|n| format!("boiler-{n}")).collect();
    for name in &names {
        make(&b.portal, name).await.unwrap();
        count_up(&b.portal, name, 7).await.unwrap();
    }
    drop(b);
    // A request waits for the new owner.
    for name in &names {
        assert_eq!(count(&a.portal, name).await, Some(7), "{name}");
    }
    assert_eq!(ids(&a.portal).await.unwrap().len(), names.len());
    assert_eq!(a.owned().await, 256);
}
