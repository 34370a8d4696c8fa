//! The lane of readings.

use std::sync::Arc;

use stoker_domain::Value::Number;
use stoker_domain::ports::store::Store;
use stoker_proto::core::v1::{BatchAnswer, Point, Reading, ReadingBatch, Value, value::Kind};
use stoker_protocol::codec::ReasonCode;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::device::{Device, Heard, Login};
use super::faulty::Faulty;
use super::platform::{Disk, Platform, device_ref, key};

const TELEMETRY: &str = "v1/devices/me/telemetry";

/// A reading of one point.
fn reading(device: &str, ts: i64, value: f64) -> Reading {
    let value = Some(Value { kind: Some(Kind::Number(value)) });
    Reading { device: device_ref(device), points: vec![Point { key: "t".to_owned(), ts, value }] }
}

async fn stored(store: &dyn Store, device: &str) -> Option<stoker_domain::Value> {
    store.latest(&key(device), None).await.unwrap().remove("t").map(|latest| latest.value)
}

async fn stream(platform: &Platform) -> (mpsc::Sender<ReadingBatch>, Streaming<BatchAnswer>) {
    let (batches, outgoing) = mpsc::channel(8);
    let answers = platform.gateway.clone().readings(ReceiverStream::new(outgoing)).await.unwrap();
    (batches, answers.into_inner())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reading_that_cannot_be_read_is_refused_alone() {
    let disk = Disk::new();
    let platform = Platform::start(disk.store.clone()).await;
    let (batches, mut answers) = stream(&platform).await;
    let nobody = Reading { device: None, ..reading("nobody", 1, 1.0) };
    let readings = vec![
        reading("boiler-0", 1, 0.5),
        reading("boiler-1", 1, f64::NAN),
        reading("boiler-2", 1, 2.5),
        nobody,
    ];
    batches.send(ReadingBatch { batch: 7, readings, ..ReadingBatch::default() }).await.unwrap();
    let answer = answers.message().await.unwrap().unwrap();
    assert_eq!((answer.batch, answer.stored, answer.refused), (7, true, vec![1, 3]));
    assert!(answer.detail.contains("value"), "the first reason is told: {}", answer.detail);
    assert_eq!(stored(&*disk.store, "boiler-0").await, Some(Number(0.5)));
    assert_eq!(stored(&*disk.store, "boiler-1").await, None);
    assert_eq!(stored(&*disk.store, "boiler-2").await, Some(Number(2.5)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_damaged_of_one_device_keeps_no_other_devices_readings_out() {
    for damaged in [0, 5, 9] {
        let disk = Disk::new();
        let store = Faulty::new(disk.store.clone()).damaged(key(&format!("boiler-{damaged}")));
        let platform = Platform::start(Arc::new(store)).await;
        let (batches, mut answers) = stream(&platform).await;
        // Two of each device, far apart.
        let readings = (0..20).map(|n| reading(&format!("boiler-{}", n % 10), i64::from(n), f64::from(n)));
        batches
            .send(ReadingBatch { batch: 1, readings: readings.collect(), ..ReadingBatch::default() })
            .await
            .unwrap();
        let mut answer = answers.message().await.unwrap().unwrap();
        answer.refused.sort_unstable();
        assert_eq!((answer.stored, answer.refused), (true, vec![damaged, damaged + 10]));
        for n in 0..10 {
            let there = (n != damaged).then(|| Number(f64::from(n + 10)));
            assert_eq!(stored(&*disk.store, &format!("boiler-{n}")).await, there, "boiler-{n}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_device_whose_reading_was_refused_is_closed() {
    let disk = Disk::new();
    let store = Arc::new(Faulty::new(disk.store.clone()).damaged(key("boiler-2")));
    let platform = Platform::start(store.clone()).await;
    let mut devices = Vec::new();
    for n in 0..4 {
        let token = format!("token-of-boiler-{n}");
        platform.create(&format!("boiler-{n}"), &token).await.unwrap();
        devices.push(Device::ready(platform.mqtt, Login::token(&token)).await);
    }
    // Two batches are under way; what comes now is one batch.
    store.hold(true);
    for device in &mut devices {
        device.publish(TELEMETRY, 1, "{\"t\":1.5}").await;
        assert_eq!(device.ping().await, []);
    }
    store.hold(false);
    for (n, device) in devices.iter_mut().enumerate() {
        if n == 2 {
            assert_eq!(device.closed().await, [Heard::Disconnect(ReasonCode::ServerBusy)]);
        } else {
            assert_eq!(device.hear().await, Some(Heard::PubAck(1, ReasonCode::Success)), "boiler-{n}");
            assert_eq!(device.ping().await, []);
        }
    }
}
