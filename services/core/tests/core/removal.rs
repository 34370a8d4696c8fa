//! Devices that are removed.

use std::sync::Arc;

use stoker_domain::ports::store::{Append, StateRow, Store};
use stoker_domain::{Point, Reading, Value};
use stoker_proto::core::v1::{
    CancelCommandRequest, CreateCommandRequest, GetDeviceRequest, RemoveDeviceRequest,
};
use stoker_proto::problem::ProblemKind;

use super::eventually::{eventually, for_a_while};
use super::faulty::{Faulty, Step};
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

/// Makes a command of the device, and ends it.
async fn end_a_command(platform: &Platform) {
    let request = CreateCommandRequest {
        device: device_ref("boiler-1"),
        method: "reset".to_owned(),
        ..CreateCommandRequest::default()
    };
    let command =
        platform.portal.clone().create_command(request).await.unwrap().into_inner().command.unwrap();
    let request = CancelCommandRequest { organization: "default".to_owned(), id: command.id };
    platform.portal.clone().cancel_command(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_is_forgotten_only_when_nothing_of_it_is_on_its_way_to_history() {
    let disk = Disk::new();
    let store = Arc::new(Faulty::new(disk.store.clone()));
    let platform = Platform::start(store.clone()).await;
    platform.create("boiler-1", "token-of-boiler-1").await.unwrap();
    store.hold(true);
    end_a_command(&platform).await;
    let mut portal = platform.portal.clone();
    let removing = tokio::spawn(async move { portal.remove_device(remove()).await });
    for_a_while().await;
    store.hold(false);
    removing.await.unwrap().unwrap();
    assert_eq!(store.steps(), [Step::Archived, Step::Forgotten]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_archived_is_not_once_its_device_is_removed() {
    let disk = Disk::new();
    let store = Arc::new(Faulty::new(disk.store.clone()));
    let platform = Platform::start(store.clone()).await;
    platform.create("boiler-1", "token-of-boiler-1").await.unwrap();
    store.refuse_archives(true);
    end_a_command(&platform).await;
    eventually("it is tried again", || async { (store.steps().len() > 1).then_some(()) }).await;
    platform.portal.clone().remove_device(remove()).await.unwrap();
    assert_eq!(store.steps().last(), Some(&Step::Forgotten));
    store.refuse_archives(false);
    for_a_while().await;
    assert_eq!(store.steps().last(), Some(&Step::Forgotten));

    platform.create("boiler-1", "token-of-boiler-1").await.unwrap();
    store.refuse_archives(true);
    end_a_command(&platform).await;
    let before = store.steps().len();
    eventually("it is tried again", || async { (store.steps().len() > before).then_some(()) }).await;
    store.refuse_archives(false);
    let archived = || async { (store.steps().last() == Some(&Step::Archived)).then_some(()) };
    eventually("what is not removed is archived in the end", archived).await;
}
