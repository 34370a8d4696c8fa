//! The live feed: what is lost is counted and told.

use lapin::options::{QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use stoker_bus::RabbitLimits;
use stoker_domain::ports::bus::{Bus, FeedConsumer};
use tokio::time::timeout;

use super::contract::fixtures::activity;
use super::contract::{PATIENCE, Told, hear, soon};
use super::lab::{Lab, in_lab, small, until};
use super::proxy::{Mode, Proxy};

fn roomy() -> RabbitLimits {
    RabbitLimits { feed: 1_000, feed_prefetch: 16, ..small() }
}

/// Listens until all up to `end` are told, or told lost. Gives how many were lost.
async fn listen_to(feed: &mut Box<dyn FeedConsumer>, begin: i64, end: i64) -> i64 {
    let (mut next, mut lost) = (begin, 0);
    while next < end {
        match timeout(PATIENCE, hear(feed)).await.expect("it is told").expect("the bus is open") {
            Told::Lost(count) => {
                next += i64::try_from(count).unwrap();
                lost += i64::try_from(count).unwrap();
            }
            Told::Activity(heard) => {
                assert_eq!(*heard, activity(next), "after {lost} lost");
                next += 1;
            }
        }
    }
    assert_eq!(next, end);
    lost
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_in_another_process_hears_everything() {
    in_lab(async |lab| {
        let (core, portal) = (lab.bus(roomy()).await, lab.bus(roomy()).await);
        soon("nobody listens", async || !core.bus.feed_wanted()).await;
        let mut feed = portal.bus.consume_feed().await.unwrap();
        assert!(core.bus.feed_wanted(), "known when listening has begun");
        for n in 0..500 {
            core.bus.publish_activity(activity(n));
        }
        assert_eq!(listen_to(&mut feed, 0, 500).await, 0);
        drop(feed);
        soon("nobody listens any more", async || !core.bus.feed_wanted()).await;
        core.end().await;
        portal.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_listener_missed_while_it_was_cut_off_is_told_also_when_nothing_follows() {
    in_lab(async |lab| {
        let proxy = Proxy::start(&lab.url).await;
        let core = lab.bus(roomy()).await;
        let portal = Lab::join(lab.config(&proxy.url, roomy())).await;
        let mut feed = portal.bus.consume_feed().await.unwrap();
        core.bus.publish_activity(activity(0));
        assert_eq!(listen_to(&mut feed, 0, 1).await, 0);
        proxy.set(Mode::Refuse);
        proxy.cut();
        until("the cut is seen", || !portal.bus.snapshot().consuming_connected).await;
        // Somebody else keeps the feed going.
        let _other = core.bus.consume_feed().await.unwrap();
        for n in 1..30 {
            core.bus.publish_activity(activity(n));
        }
        proxy.set(Mode::Open);
        assert_eq!(listen_to(&mut feed, 1, 30).await, 29, "all of them, and no more");
        assert_eq!(portal.bus.snapshot().feed_lost, 29);
        core.bus.publish_activity(activity(30));
        assert_eq!(listen_to(&mut feed, 30, 31).await, 0, "and it goes on");
        core.end().await;
        portal.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_without_a_broker_never_waits_and_what_it_drops_is_told() {
    in_lab(async |lab| {
        let proxy = Proxy::start(&lab.url).await;
        let core = Lab::join(lab.config(&proxy.url, RabbitLimits { activities: 10, ..roomy() })).await;
        let portal = lab.bus(roomy()).await;
        let mut feed = portal.bus.consume_feed().await.unwrap();
        core.bus.publish_activity(activity(0));
        assert_eq!(listen_to(&mut feed, 0, 1).await, 0);
        proxy.set(Mode::Refuse);
        proxy.cut();
        until("the cut is seen", || !core.bus.snapshot().publishing_connected).await;
        for n in 1..100 {
            core.bus.publish_activity(activity(n));
        }
        assert_eq!(core.bus.snapshot().activities_dropped, 89, "the buffer takes ten");
        proxy.set(Mode::Open);
        assert_eq!(listen_to(&mut feed, 1, 100).await, 89);
        core.end().await;
        portal.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_buffer_of_the_feed_is_bounded_in_bytes_too() {
    in_lab(async |lab| {
        let proxy = Proxy::start(&lab.url).await;
        let limits = RabbitLimits { activity_bytes: 500, ..roomy() };
        let core = Lab::join(lab.config(&proxy.url, limits)).await;
        let _feed = core.bus.consume_feed().await.unwrap();
        proxy.set(Mode::Refuse);
        proxy.cut();
        until("the cut is seen", || !core.bus.snapshot().publishing_connected).await;
        for n in 0..100 {
            core.bus.publish_activity(activity(n));
        }
        let snapshot = core.bus.snapshot();
        assert!((85..100).contains(&snapshot.activities_dropped), "{snapshot:?}");
        core.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_listener_delays_neither_the_publisher_nor_a_fast_one() {
    in_lab(async |lab| {
        let core = lab.bus(RabbitLimits { feed_prefetch: 8, feed: 100, ..small() }).await;
        let mut slow = core.bus.consume_feed().await.unwrap();
        let mut fast = core.bus.consume_feed().await.unwrap();
        for hundred in 0..10 {
            for n in 0..50 {
                core.bus.publish_activity(activity(hundred * 50 + n));
            }
            assert_eq!(listen_to(&mut fast, hundred * 50, hundred * 50 + 50).await, 0);
        }
        let lost = listen_to(&mut slow, 0, 500).await;
        // It has room for 100, and 8 with it; some beacons take a place too.
        assert!((392..500).contains(&lost), "{lost}");
        assert_eq!(core.bus.snapshot().activities_dropped, 0);
        core.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_that_cannot_be_read_is_counted_and_the_feed_goes_on() {
    in_lab(async |lab| {
        let core = lab.bus(roomy()).await;
        let mut feed = core.bus.consume_feed().await.unwrap();
        lab.publish_raw("activity.acme.event.7", b"\xff\xff", lapin::BasicProperties::default()).await;
        core.bus.publish_activity(activity(0));
        assert_eq!(listen_to(&mut feed, 0, 1).await, 0);
        assert_eq!((core.bus.snapshot().unreadable, core.bus.snapshot().dead_lettered), (1, 0));
        // A few beacons more, which are nothing to be told.
        let (_connection, channel) = lab.raw().await;
        let (exchange, none) = (format!("{}.events", lab.prefix), FieldTable::default());
        let beacons = channel.queue_declare("".into(), QueueDeclareOptions::exclusive(), none.clone());
        let beacons = beacons.await.unwrap().name().clone();
        let options = QueueBindOptions::default();
        channel
            .queue_bind(beacons.clone(), exchange.into(), "activity".into(), options, none.clone())
            .await
            .unwrap();
        soon("three beacons", async || {
            let options = QueueDeclareOptions::exclusive().passive();
            let asked = channel.queue_declare(beacons.clone(), options, none.clone());
            asked.await.unwrap().message_count() >= 3
        })
        .await;
        core.bus.publish_activity(activity(1));
        assert_eq!(listen_to(&mut feed, 1, 2).await, 0);
        core.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_bound_to_a_part_of_the_feed_hears_that_part_alone() {
    in_lab(async |lab| {
        let core = lab.bus(roomy()).await;
        let mut feed = core.bus.consume_feed().await.unwrap();
        let (_connection, channel) = lab.raw().await;
        let exchange = format!("{}.events", lab.prefix);
        let mut counts = Vec::new();
        for (key, expected) in [
            ("activity.default.telemetry.*", 5),
            ("activity.default.#", 5),
            ("activity.default.alarm.*", 0),
            ("activity.another.#", 0),
            ("work.#", 0),
        ] {
            let queue =
                channel.queue_declare("".into(), QueueDeclareOptions::exclusive(), FieldTable::default());
            let name = queue.await.unwrap().name().clone();
            let (options, none) = (QueueBindOptions::default(), FieldTable::default());
            channel
                .queue_bind(name.clone(), exchange.as_str().into(), key.into(), options, none)
                .await
                .unwrap();
            counts.push((name, key, expected));
        }
        for n in 0..5 {
            core.bus.publish_activity(activity(n));
        }
        assert_eq!(listen_to(&mut feed, 0, 5).await, 0);
        for (name, key, expected) in counts {
            soon(key, async || {
                let options = QueueDeclareOptions::exclusive().passive();
                let asked = channel.queue_declare(name.clone(), options, FieldTable::default());
                asked.await.unwrap().message_count() == expected
            })
            .await;
        }
        core.end().await;
    })
    .await;
}
