//! What the port promises of every adapter, as functions over any bus.
//!
//! Each function wants a bus (or a virtual host) of its own, and a runtime with time. A wait for something that must
//! *not* come is bounded by [`SETTLE`]: with a paused clock it is exact, against a broker it can only miss a fault,
//! never invent one.

pub(crate) mod fixtures;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use stoker_domain::ports::bus::{
    Activity, Bus, BusError, Feed, FeedConsumer, GatewayConsumer, GatewayItem, GatewayOrder, ToGateway,
    WorkConsumer, WorkDelivery,
};
use tokio::time::timeout;

use fixtures::{activity, gateway, number_of, to_gateway, work};

/// How long is waited for what must not come.
pub(crate) const SETTLE: Duration = Duration::from_millis(300);

/// How long is waited for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn take(consumer: &mut Box<dyn WorkConsumer>) -> Box<dyn WorkDelivery> {
    timeout(PATIENCE, consumer.next()).await.expect("a delivery comes").expect("the bus is open")
}

async fn comes_nothing(consumer: &mut Box<dyn WorkConsumer>) {
    assert!(timeout(SETTLE, consumer.next()).await.is_err(), "nothing may be delivered here");
}

/// A broker learns of what a consumer does a moment later: asks until `seen` says so.
pub(crate) async fn soon(what: &str, mut seen: impl AsyncFnMut() -> bool) {
    let asks = async {
        while !seen().await {
            // tidy: allow(sleep): between two questions to an adapter's own network
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(PATIENCE, asks).await.is_ok(), "{what}");
}

pub(crate) async fn take_message(consumer: &mut Box<dyn GatewayConsumer>) -> ToGateway {
    match timeout(PATIENCE, consumer.next()).await.expect("a message comes").expect("the bus is open") {
        GatewayItem::Message(message) => message,
        GatewayItem::Resumed => panic!("the queue is still the first one"),
    }
}

pub(crate) fn number_of_command(message: &ToGateway) -> u64 {
    match message.order {
        GatewayOrder::Command { number, .. } => number,
        ref other => panic!("not a command: {other:?}"),
    }
}

/// Work goes to one consumer each, as it was published, and an acknowledged one never comes again.
pub(crate) async fn work_reaches_exactly_one_consumer_when_all_goes_well(bus: &dyn Bus) {
    let mut one = bus.consume_work(8).await.unwrap();
    let mut other = bus.consume_work(8).await.unwrap();
    let published = join_all((0..10).map(|n| bus.publish_work(work(n))));
    let consumed = async {
        let mut seen = BTreeSet::new();
        for turn in 0..10 {
            let delivery = tokio::select! {
                delivery = one.next() => delivery,
                delivery = other.next() => delivery,
            };
            let delivery = delivery.expect("the bus is open");
            assert_eq!(*delivery.work(), work(number_of(delivery.work())), "turn {turn}");
            assert!(seen.insert(number_of(delivery.work())), "delivered twice");
            delivery.ack().await;
        }
        seen
    };
    let (published, seen) = timeout(PATIENCE, join(published, consumed)).await.unwrap();
    assert_eq!(published, vec![Ok(()); 10]);
    assert_eq!(seen, (0..10).collect());
    comes_nothing(&mut one).await;
    comes_nothing(&mut other).await;
}

/// What is dropped unacknowledged comes again, to whoever waits for it already or asks later.
pub(crate) async fn a_dropped_delivery_comes_again(bus: &dyn Bus) {
    let mut one = bus.consume_work(1).await.unwrap();
    let published = bus.publish_work(work(1));
    let consumed = async {
        let held = take(&mut one).await;
        let mut other = bus.consume_work(1).await.unwrap();
        let again = async {
            tokio::select! {
                delivery = one.next() => delivery,
                delivery = other.next() => delivery,
            }
        };
        // Both wait before there is anything to be had.
        let lets_go = async {
            // tidy: allow(sleep): an adapter's own network may need it; the clock of the one in the process is paused
            tokio::time::sleep(SETTLE).await;
            drop(held);
        };
        let ((), again) = join(lets_go, again).await;
        assert_eq!(*again.as_ref().expect("the bus is open").work(), work(1));
        drop(again);
        drop((one, other));
        let mut last = bus.consume_work(1).await.unwrap();
        let again = take(&mut last).await;
        assert_eq!(*again.work(), work(1));
        again.ack().await;
        comes_nothing(&mut last).await;
    };
    let (published, ()) = timeout(PATIENCE, join(published, consumed)).await.unwrap();
    assert_eq!(published, Ok(()));
}

/// A consumer holds at most its prefetch; each acknowledgement makes room for one more.
pub(crate) async fn a_consumer_holds_at_most_its_prefetch(bus: &dyn Bus) {
    let mut consumer = bus.consume_work(2).await.unwrap();
    let published = join_all((0..3).map(|n| bus.publish_work(work(n))));
    let consumed = async {
        let first = take(&mut consumer).await;
        let second = take(&mut consumer).await;
        comes_nothing(&mut consumer).await;
        first.ack().await;
        let third = take(&mut consumer).await;
        comes_nothing(&mut consumer).await;
        second.ack().await;
        third.ack().await;
    };
    let (published, ()) = timeout(PATIENCE, join(published, consumed)).await.unwrap();
    assert_eq!(published, vec![Ok(()); 3]);
}

/// Of a consumer that vanishes, everything unacknowledged goes to another.
pub(crate) async fn a_consumer_that_vanishes_gives_back_all_it_had(bus: &dyn Bus) {
    let mut vanishing = bus.consume_work(4).await.unwrap();
    let published = join_all((0..4).map(|n| bus.publish_work(work(n))));
    let consumed = async {
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(take(&mut vanishing).await);
        }
        let done = held.pop().unwrap();
        let done_number = number_of(done.work());
        done.ack().await;
        drop(vanishing);
        let mut other = bus.consume_work(4).await.unwrap();
        let mut again = BTreeSet::new();
        for _ in 0..3 {
            let delivery = take(&mut other).await;
            again.insert(number_of(delivery.work()));
            delivery.ack().await;
        }
        assert!(!again.contains(&done_number), "the acknowledged one came again");
        assert_eq!(again.len(), 3);
        comes_nothing(&mut other).await;
        drop(held);
        comes_nothing(&mut other).await;
    };
    let (published, ()) = timeout(PATIENCE, join(published, consumed)).await.unwrap();
    assert_eq!(published, vec![Ok(()); 4]);
}

/// A gateway's messages come in the order of publication, and to no other gateway.
pub(crate) async fn a_gateway_gets_its_own_messages_in_order(bus: &dyn Bus) {
    let mut one = bus.consume_gateway(&gateway("gw-1")).await.unwrap();
    let mut other = bus.consume_gateway(&gateway("gw-2")).await.unwrap();
    for n in 0..8 {
        let to = if n % 2 == 0 { "gw-1" } else { "gw-2" };
        bus.publish_to_gateway(&gateway(to), to_gateway(n)).await.unwrap();
    }
    for n in 0..8 {
        let consumer = if n % 2 == 0 { &mut one } else { &mut other };
        assert_eq!(take_message(consumer).await, to_gateway(n));
    }
}

/// A message for a gateway without a queue comes back, before it has one and after it is gone.
pub(crate) async fn a_message_to_an_absent_gateway_is_returned(bus: &dyn Bus) {
    let absent = gateway("gw-absent");
    let returned = Err(BusError::Returned("gw-absent".into()));
    assert_eq!(bus.publish_to_gateway(&absent, to_gateway(1)).await, returned);
    let mut consumer = bus.consume_gateway(&absent).await.unwrap();
    assert_eq!(bus.publish_to_gateway(&absent, to_gateway(2)).await, Ok(()));
    assert_eq!(number_of_command(&take_message(&mut consumer).await), 2);
    drop(consumer);
    soon("the queue goes with its consumer", async || {
        bus.publish_to_gateway(&absent, to_gateway(3)).await == returned
    })
    .await;
}

/// A gateway's queue takes `bound` messages and refuses the next, until one is taken.
pub(crate) async fn a_full_gateway_queue_refuses_the_newest(bus: &dyn Bus, bound: u64) {
    let member = gateway("gw-slow");
    let mut consumer = bus.consume_gateway(&member).await.unwrap();
    for n in 0..bound {
        bus.publish_to_gateway(&member, to_gateway(n)).await.unwrap();
    }
    let full = Err(BusError::Full("gw-slow".into()));
    assert_eq!(bus.publish_to_gateway(&member, to_gateway(bound)).await, full);
    assert_eq!(number_of_command(&take_message(&mut consumer).await), 0);
    soon("taking one makes room for one", async || {
        bus.publish_to_gateway(&member, to_gateway(bound + 1)).await == Ok(())
    })
    .await;
    for n in (1..bound).chain([bound + 1]) {
        let number = number_of_command(&take_message(&mut consumer).await);
        assert_eq!(number, n, "the refused one left no trace");
    }
}

/// What a listener is told, but for how far publishers have come.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Told {
    Activity(Arc<Activity>),
    Lost(u64),
}

pub(crate) async fn hear(feed: &mut Box<dyn FeedConsumer>) -> Option<Told> {
    loop {
        match feed.next().await? {
            Feed::Activity(_, activity) => return Some(Told::Activity(activity)),
            Feed::Lost(count) => return Some(Told::Lost(count)),
            Feed::Reached(_) => {}
        }
    }
}

/// Listens to one publisher until it has come to a number, and returns the numbers of the items, with those that it had
/// reached before the first of them.
async fn numbers(feed: &mut Box<dyn FeedConsumer>, items: usize) -> (u64, Vec<u64>) {
    let (mut reached, mut numbers) = (None, Vec::new());
    while numbers.len() < items {
        match timeout(PATIENCE, feed.next()).await.unwrap().unwrap() {
            Feed::Activity(position, _) => numbers.push(position.number),
            Feed::Reached(position) if numbers.is_empty() => reached = Some(position.number),
            Feed::Reached(_) => {}
            Feed::Lost(count) => panic!("lost {count}"),
        }
    }
    (reached.expect("a publisher says how far it is before it goes on"), numbers)
}

/// Two listeners get the same numbers for the same items, one after the other; and who comes back knows by them whether
/// something happened while nobody listened.
pub(crate) async fn the_feed_is_numbered(bus: &dyn Bus) {
    let mut early = bus.consume_feed().await.unwrap();
    bus.publish_activity(activity(0));
    let (reached, first) = numbers(&mut early, 1).await;
    assert_eq!(first, [reached + 1]);
    let mut late = bus.consume_feed().await.unwrap();
    for n in 1..5 {
        bus.publish_activity(activity(n));
    }
    let next: Vec<u64> = (reached + 2..reached + 6).collect();
    assert_eq!(numbers(&mut late, 4).await, (reached + 1, next.clone()));
    let mut heard = Vec::new();
    while heard.len() < 4 {
        if let Feed::Activity(position, _) = timeout(PATIENCE, early.next()).await.unwrap().unwrap() {
            heard.push(position.number);
        }
    }
    assert_eq!(heard, next);
    drop((early, late));
    soon("nobody listens", async || !bus.feed_wanted()).await;
    let mut again = bus.consume_feed().await.unwrap();
    bus.publish_activity(activity(5));
    let newest = reached + 5;
    assert_eq!(numbers(&mut again, 1).await, (newest, vec![newest + 1]), "nothing happened meanwhile");
    drop(again);
    soon("nobody listens", async || !bus.feed_wanted()).await;
    bus.publish_activity(activity(6));
    let mut again = bus.consume_feed().await.unwrap();
    bus.publish_activity(activity(7));
    let (mut reached, mut heard) = (None, Vec::new());
    while heard.last().is_none_or(|(_, last)| *last != activity(7)) {
        match timeout(PATIENCE, again.next()).await.unwrap().unwrap() {
            Feed::Activity(position, item) => heard.push((position.number, (*item).clone())),
            Feed::Reached(position) if heard.is_empty() => reached = Some(position.number),
            Feed::Reached(_) => {}
            Feed::Lost(count) => panic!("lost {count}"),
        }
    }
    let reached = reached.expect("a publisher says how far it is before it goes on");
    assert!((reached + 1..).zip(&heard).all(|(next, (number, _))| next == *number), "{reached}, {heard:?}");
    // The listener before may still have been counted when it was published: then it waited for this one, and came.
    let came = heard.len() == 2 && heard[0].1 == activity(6);
    assert!(came || reached > newest + 1, "something happened meanwhile: {reached}, {heard:?}");
}

/// Who follows hears what is published for others, under the same numbers; nothing is published for it alone.
pub(crate) async fn who_follows_the_feed_hears_what_others_listen_to(bus: &dyn Bus) {
    let mut follower = bus.follow_feed().await.unwrap();
    soon("nobody listens", async || !bus.feed_wanted()).await;
    bus.publish_activity(activity(0));
    let mut listener = bus.consume_feed().await.unwrap();
    for n in 1..4 {
        bus.publish_activity(activity(n));
    }
    let (_, listened) = numbers(&mut listener, 3).await;
    let mut followed = Vec::new();
    while followed.len() < 3 {
        if let Feed::Activity(position, heard) = timeout(PATIENCE, follower.next()).await.unwrap().unwrap() {
            assert_ne!(*heard, activity(0), "nobody listened then");
            followed.push(position.number);
        }
    }
    assert_eq!(followed, listened);
    drop(listener);
    soon("nobody listens any more", async || !bus.feed_wanted()).await;
}

/// Every listener hears everything from when it began to listen; nobody listening is known.
pub(crate) async fn the_feed_reaches_everybody_who_listens(bus: &dyn Bus) {
    soon("nobody listens yet", async || !bus.feed_wanted()).await;
    bus.publish_activity(activity(0));
    let mut early = bus.consume_feed().await.unwrap();
    assert!(bus.feed_wanted());
    bus.publish_activity(activity(1));
    let mut late = bus.consume_feed().await.unwrap();
    bus.publish_activity(activity(2));
    for n in [1, 2] {
        let item = timeout(PATIENCE, hear(&mut early)).await.unwrap().unwrap();
        assert_eq!(item, Told::Activity(activity(n).into()));
    }
    let item = timeout(PATIENCE, hear(&mut late)).await.unwrap().unwrap();
    assert_eq!(item, Told::Activity(activity(2).into()));
    drop(early);
    assert!(bus.feed_wanted());
    drop(late);
    soon("nobody listens any more", async || !bus.feed_wanted()).await;
}

/// A listener that is too slow gets what is left, once, in order and to the newest, and is told how many are missing
/// just where they are.
pub(crate) async fn a_slow_listener_is_told_how_much_it_lost(bus: &dyn Bus, bound: i64) {
    let mut slow = bus.consume_feed().await.unwrap();
    let published = bound + 5;
    for n in 0..published {
        bus.publish_activity(activity(n));
    }
    // tidy: allow(sleep): all of it has come as far as it can before the listener begins to take
    tokio::time::sleep(SETTLE).await;
    let (mut lost, mut next) = (0, 0);
    while let Ok(item) = timeout(SETTLE, hear(&mut slow)).await {
        match item.expect("the bus is open") {
            Told::Lost(count) => {
                lost += i64::try_from(count).unwrap();
                next += i64::try_from(count).unwrap();
            }
            Told::Activity(heard) => {
                assert_eq!(*heard, activity(next), "after {lost} lost");
                next += 1;
            }
        }
    }
    assert_eq!(next, published, "every one is told or told lost");
    assert!(lost >= 5, "lost {lost}");
}
