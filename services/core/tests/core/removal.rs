//! Devices that are removed.

use std::sync::Arc;

use stoker_domain::ports::store::{Append, StateRow, Store};
use stoker_domain::{Point, Reading, Value};
use stoker_proto::core::v1::{GetDeviceRequest, RemoveDeviceRequest};
use stoker_proto::problem::ProblemKind;

use super::eventually::eventually;
use super::faulty::Faulty;
use super::platform::{Disk, Platform, device_ref, key};

async fn report(store: &dyn Store) {
    let point = Point { key: "t".into(), ts: 1, value: Value::Integer(5) };
    let reading = Reading { device: key("boiler-1"), points: vec![point] };
    store.append(vec![Append::Reading(reading)]).await.unwrap();
}

async fn is_forgotten(store: &dyn Store) -> bool {
    let rows = store.load(key("boiler-1").slot()).await.unwrap();
    let is_row =
        rows.iter().any(|row| matches!(row, StateRow::Removal(row) if row.device == key("boiler-1")));
    !is_row && store.latest(&key("boiler-1"), None).await.unwrap().is_empty()
}

fn remove() -> RemoveDeviceRequest {
    RemoveDeviceRequest { key: device_ref("boiler-1") }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_was_removed_leaves_nothing_to_the_next_of_its_id() {
    let disk = Disk::new();
    let platform = Platform::start(disk.store.clone()).await;
    platform.create("boiler-1", "token-of-boiler-1").await.unwrap();
    report(&*disk.store).await;
    platform.portal.clone().remove_device(remove()).await.unwrap();
    assert!(is_forgotten(&*disk.store).await);
    platform.create("boiler-1", "token-of-boiler-1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_did_not_forget_is_forgotten_before_a_device_of_that_id_is_made() {
    let disk = Disk::new();
    let platform = Platform::start(Arc::new(Faulty::new(disk.store.clone()).forgetting_nothing())).await;
    platform.create("boiler-1", "token-of-boiler-1").await.unwrap();
    report(&*disk.store).await;
    let mut portal = platform.portal.clone();
    let removing = tokio::spawn(async move { portal.remove_device(remove()).await });
    let look = GetDeviceRequest { key: device_ref("boiler-1") };
    eventually("the device is removed", || async {
        platform.portal.clone().get_device(look.clone()).await.err().map(drop)
    })
    .await;
    let refusal = platform.create("boiler-1", "token-of-boiler-1").await.unwrap_err();
    assert_eq!(ProblemKind::said_by_core(&refusal), Some(ProblemKind::AlreadyExists));
    assert!(refusal.message().contains("still is being removed"), "{refusal}");
    assert!(!is_forgotten(&*disk.store).await);
    removing.abort();
    drop(platform);

    let platform = Platform::start(disk.store.clone()).await;
    eventually("the device is made again", || async {
        platform.create("boiler-1", "token-of-boiler-1").await.ok()
    })
    .await;
    assert!(is_forgotten(&*disk.store).await);
}
