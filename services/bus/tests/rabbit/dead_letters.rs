//! Poison and garbage end among the dead letters, where an operator sees them and can send them back.

use lapin::BasicProperties;
use stoker_bus::{RabbitBus, RabbitError, Which};
use stoker_domain::ports::bus::Bus;

use super::contract::fixtures::{number_of, work};
use super::contract::{soon, take};
use super::lab::{Lab, in_lab, small};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_is_delivered_so_often_and_no_more_and_can_be_replayed_or_dropped() {
    in_lab(async |lab| {
        let joined = lab.bus(small()).await;
        let mut consumer = joined.bus.consume_work(1).await.unwrap();
        let letters = joined.bus.dead_letters();
        joined.bus.publish_work(work(1)).await.unwrap();
        for delivery in 0..6 {
            let again = take(&mut consumer).await;
            assert_eq!(number_of(again.work()), 1, "once, and five times again: {delivery}");
        }
        joined.bus.publish_work(work(2)).await.unwrap();
        let marker = take(&mut consumer).await;
        assert_eq!(number_of(marker.work()), 2, "and no more");
        marker.ack().await;
        soon("it is a dead letter", async || letters.count().await.unwrap() == 1).await;

        let seen = letters.peek(10).await.unwrap();
        assert_eq!(seen.len(), 1);
        assert_eq!(
            (seen[0].reason.as_str(), seen[0].queue.as_str()),
            ("delivery_limit", &*format!("{}.work", lab.prefix))
        );
        assert!(seen[0].died_at.is_some_and(|at| at > 1_600_000_000), "{seen:?}");
        let content = seen[0].content.as_ref().unwrap();
        assert!(content.contains("by email about default/boiler-7"), "{content}");
        assert!(seen[0].routing_key.starts_with("work.default.email."), "{seen:?}");
        // Looking changes nothing.
        soon("it is still there", async || letters.peek(10).await.unwrap() == seen).await;

        let none = letters.replay(Which::These(&["another".to_owned()])).await.unwrap();
        assert_eq!((none.done.len(), none.kept.len()), (0, 0));
        let id = seen[0].id.clone();
        let mut replayed = 0;
        soon("it goes back", async || {
            replayed += letters.replay(Which::These(std::slice::from_ref(&id))).await.unwrap().done.len();
            replayed == 1
        })
        .await;
        let delivery = take(&mut consumer).await;
        assert_eq!(number_of(delivery.work()), 1);
        delivery.ack().await;
        soon("no letter is left", async || letters.count().await.unwrap() == 0).await;
        joined.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_goes_there_at_once_stops_nobody_and_cannot_go_back() {
    in_lab(async |lab| {
        let joined = lab.bus(small()).await;
        let mut consumer = joined.bus.consume_work(4).await.unwrap();
        let letters = joined.bus.dead_letters();
        lab.publish_raw("work.acme.email.7", b"garbage", BasicProperties::default()).await;
        lab.publish_raw(
            "work.acme.email.7",
            b"more",
            BasicProperties::default().with_message_id("m-1".into()),
        )
        .await;
        joined.bus.publish_work(work(5)).await.unwrap();
        let delivery = take(&mut consumer).await;
        assert_eq!(number_of(delivery.work()), 5);
        delivery.ack().await;
        soon("both are dead letters", async || letters.count().await.unwrap() == 2).await;
        assert_eq!((joined.bus.snapshot().unreadable, joined.bus.snapshot().dead_lettered), (2, 2));
        let seen = letters.peek(10).await.unwrap();
        assert!(seen.iter().all(|letter| letter.reason == "rejected" && letter.content.is_err()), "{seen:?}");
        assert_eq!(letters.peek(0).await.unwrap(), []);

        let mut kept = Vec::new();
        soon("they come back from being looked at", async || {
            kept = letters.replay(Which::All).await.unwrap().kept;
            kept.len() == 2
        })
        .await;
        assert!(kept.iter().all(|(_, why)| why.contains("stoker-version")), "{kept:?}");
        let mut dropped = 0;
        soon("they can be dropped", async || {
            dropped += letters.drop(Which::All).await.unwrap().done.len();
            dropped == 2
        })
        .await;
        assert_eq!(letters.count().await.unwrap(), 0);
        joined.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_finds_them_and_makes_nothing() {
    in_lab(async |lab| {
        let another = lab.another();
        let mut config = another.config(&another.url, small());
        config.guest = true;
        let error = Box::pin(RabbitBus::connect(config)).await.expect_err("nobody has made them");
        assert!(matches!(error, RabbitError::Absent { .. }), "{error:?}");
        let said = error.to_string();
        assert!(said.contains(&format!("{}.work", another.prefix)) && said.contains("bus.prefix"), "{said}");

        let joined = lab.bus(small()).await;
        lab.publish_raw("work.acme.email.7", b"garbage", BasicProperties::default()).await;
        let mut consumer = joined.bus.consume_work(4).await.unwrap();
        joined.bus.publish_work(work(5)).await.unwrap();
        take(&mut consumer).await.ack().await;
        let mut config = lab.config(&lab.url, small());
        config.guest = true;
        let guest = Lab::join(config).await;
        let letters = guest.bus.dead_letters();
        soon("the guest sees it", async || letters.peek(1).await.unwrap().len() == 1).await;
        guest.end().await;
        joined.end().await;
    })
    .await;
}
