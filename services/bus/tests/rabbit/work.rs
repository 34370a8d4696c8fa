//! Notification work over connections that come and go.

use std::collections::BTreeSet;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use prost::Message;
use stoker_domain::ports::bus::{Bus, BusError, WorkConsumer};
use stoker_proto::convert::bus::work_to_bus;
use tokio::time::timeout;

use super::contract::fixtures::{number_of, work};
use super::contract::{SETTLE, soon, take};
use super::lab::{Lab, in_lab, small, until};
use super::proxy::Proxy;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_acknowledged_comes_again_after_a_cut_and_consumers_go_on() {
    in_lab(async |lab| {
        let proxy = Proxy::start(&lab.url).await;
        let joined = Lab::join(lab.config(&proxy.url, small())).await;
        let core = lab.bus(small()).await;
        let mut consumer = joined.bus.consume_work(4).await.unwrap();
        for n in 0..5 {
            core.bus.publish_work(work(n)).await.unwrap();
        }
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(take(&mut consumer).await);
        }
        held.remove(0).ack().await;
        // The next one comes when the broker knows that.
        held.push(take(&mut consumer).await);
        proxy.cut();
        let mut again = BTreeSet::new();
        for _ in 0..4 {
            let delivery = take(&mut consumer).await;
            again.insert(number_of(delivery.work()));
            delivery.ack().await;
        }
        assert_eq!(again, BTreeSet::from([1, 2, 3, 4]), "just those that were held");
        // Acknowledging or dropping those of the connection that is gone does nothing any more.
        held.remove(0).ack().await;
        drop(held);
        assert_eq!(joined.bus.snapshot().lost_acknowledgements, 1);
        core.bus.publish_work(work(9)).await.unwrap();
        let delivery = take(&mut consumer).await;
        assert_eq!(number_of(delivery.work()), 9);
        delivery.ack().await;
        assert!(timeout(SETTLE, consumer.next()).await.is_err(), "and no more");
        joined.end().await;
        core.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_whose_attempt_was_handed_out_anew_meanwhile_is_dropped() {
    in_lab(async |lab| {
        let joined = lab.bus(small()).await;
        let mut headers = FieldTable::default();
        headers.insert("stoker-version".into(), AMQPValue::LongUInt(1));
        headers.insert("stoker-published-ms".into(), AMQPValue::LongLongInt(1));
        let properties = BasicProperties::default().with_type("work".into()).with_headers(headers);
        lab.publish_raw("work.default.email.7", &work_to_bus(work(1)).encode_to_vec(), properties).await;
        let mut consumer = joined.bus.consume_work(4).await.unwrap();
        joined.bus.publish_work(work(2)).await.unwrap();
        let delivery = take(&mut consumer).await;
        assert_eq!(number_of(delivery.work()), 2);
        delivery.ack().await;
        assert_eq!(joined.bus.snapshot().stale_work, 1);
        assert_eq!(joined.bus.dead_letters().count().await.unwrap(), 0, "that is no poison");
        joined.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_share_the_work() {
    in_lab(async |lab| {
        let (one, other) = (lab.bus(small()).await, lab.bus(small()).await);
        let mut consumers: Vec<Box<dyn WorkConsumer>> =
            vec![one.bus.consume_work(1).await.unwrap(), other.bus.consume_work(1).await.unwrap()];
        let (first, rest) = consumers.split_at_mut(1);
        for n in 0..20 {
            one.bus.publish_work(work(n)).await.unwrap();
        }
        let (mut seen, mut shares) = (BTreeSet::new(), [0, 0]);
        // Each holds one, so each gets some.
        while seen.len() < 20 {
            let held = [take(&mut first[0]).await, take(&mut rest[0]).await];
            for (share, delivery) in shares.iter_mut().zip(held) {
                *share += 1;
                assert!(seen.insert(number_of(delivery.work())), "delivered twice");
                delivery.ack().await;
            }
        }
        assert_eq!(shares, [10, 10]);
        one.end().await;
        other.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_platforms_at_one_broker_do_not_meet() {
    in_lab(async |lab| {
        let another = lab.another();
        let (ours, theirs) = (lab.bus(small()).await, another.bus(small()).await);
        let mut consumer = theirs.bus.consume_work(4).await.unwrap();
        ours.bus.publish_work(work(1)).await.unwrap();
        assert!(timeout(SETTLE, consumer.next()).await.is_err(), "not theirs");
        theirs.bus.publish_work(work(2)).await.unwrap();
        assert_eq!(number_of(take(&mut consumer).await.work()), 2);
        ours.end().await;
        theirs.end().await;
        another.remove().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_somebody_deleted_is_made_anew_where_nobody_consumes() {
    in_lab(async |lab| {
        let joined = lab.bus(small()).await;
        joined.bus.publish_work(work(1)).await.unwrap();
        let (_connection, channel) = lab.raw().await;
        let name = format!("{}.work", lab.prefix);
        channel.queue_delete(name.as_str().into(), Default::default()).await.unwrap();
        let result = joined.bus.publish_work(work(2)).await;
        assert!(matches!(result, Err(BusError::Unavailable(_))), "{result:?}");
        soon("it can be published again", async || joined.bus.publish_work(work(3)).await == Ok(())).await;
        let mut consumer = joined.bus.consume_work(4).await.unwrap();
        let delivery = take(&mut consumer).await;
        assert_eq!(number_of(delivery.work()), 3, "nothing of the one that was refused");
        delivery.ack().await;
        joined.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_somebody_deleted_is_made_anew() {
    in_lab(async |lab| {
        let joined = lab.bus(small()).await;
        let mut consumer = joined.bus.consume_work(4).await.unwrap();
        let (_connection, channel) = lab.raw().await;
        let name = format!("{}.work", lab.prefix);
        channel.queue_delete(name.as_str().into(), Default::default()).await.unwrap();
        let takes = async {
            let delivery = take(&mut consumer).await;
            let number = number_of(delivery.work());
            delivery.ack().await;
            number
        };
        let publishes =
            soon("it can be published again", async || joined.bus.publish_work(work(3)).await == Ok(()));
        let (number, ()) = tokio::join!(takes, publishes);
        assert_eq!(number, 3);
        until("both stand", || joined.bus.snapshot().consuming_connected).await;
        joined.end().await;
    })
    .await;
}
