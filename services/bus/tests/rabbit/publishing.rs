//! What a publisher is told, whatever the network and the broker do.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use stoker_bus::{RabbitBus, RabbitLimits};
use stoker_domain::ports::bus::{Bus, BusError, GatewayItem};
use tokio::time::timeout;

use super::contract::fixtures::{activity, gateway, number_of, to_gateway, work};
use super::contract::{PATIENCE, Told, hear, number_of_command, soon, take, take_message};
use super::lab::{Lab, in_lab, small, until};
use super::proxy::{Mode, Proxy};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_once_just_those_to_absent_gateways_are_returned() {
    in_lab(async |lab| {
        let limits = RabbitLimits { gateway: 2_000, gateway_prefetch: 100, publishing: 120, ..small() };
        let joined = lab.bus(limits).await;
        let (here, absent) = (gateway("gw-here"), gateway("gw-absent"));
        let mut consumer = joined.bus.consume_gateway(&here).await.unwrap();
        let published = join_all((0..1_000_u64).map(|n| {
            let to = if n % 3 == 0 { &absent } else { &here };
            joined.bus.publish_to_gateway(to, to_gateway(n))
        }));
        for (n, result) in published.await.into_iter().enumerate() {
            let expected = if n % 3 == 0 { Err(BusError::Returned("gw-absent".into())) } else { Ok(()) };
            assert_eq!(result, expected, "message {n}");
        }
        for n in (0..1_000).filter(|n| n % 3 != 0) {
            assert_eq!(
                number_of_command(&take_message(&mut consumer).await),
                n,
                "in the order of publication"
            );
        }
        let orders = joined.bus.snapshot().orders;
        assert_eq!((orders.confirmed, orders.returned, orders.under_way), (666, 334, 0));
        joined.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_of_work_refuses_and_takes_again_when_there_is_room() {
    in_lab(async |lab| {
        let joined = lab.bus(RabbitLimits { work: 10, ..small() }).await;
        let mut accepted = BTreeSet::new();
        let mut refused = None;
        // A quorum queue may take a few more than its bound before it refuses.
        for n in 0..200 {
            match joined.bus.publish_work(work(n)).await {
                Ok(()) => assert!(accepted.insert(n)),
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        assert_eq!(refused, Some(BusError::Full("notification work".into())));
        assert!(accepted.len() >= 10, "{}", accepted.len());
        let mut consumer = joined.bus.consume_work(4).await.unwrap();
        let mut seen = BTreeSet::new();
        for _ in 0..accepted.len() {
            let delivery = take(&mut consumer).await;
            seen.insert(number_of(delivery.work()));
            delivery.ack().await;
        }
        assert_eq!(seen, accepted, "what was refused left no trace");
        soon("there is room again", async || joined.bus.publish_work(work(500)).await == Ok(())).await;
        joined.end().await;
    })
    .await;
}

/// Publishes through a network that fails, and hears of everything that was confirmed over one that does not.
async fn nothing_confirmed_is_lost(lab: &Lab, fail: impl AsyncFn(&Proxy, &RabbitBus, u64)) {
    let proxy = Proxy::start(&lab.url).await;
    let limits = RabbitLimits {
        work: 20_000,
        publishing: 64,
        confirm_within: Duration::from_secs(2),
        room_within: Duration::from_secs(10),
        ..small()
    };
    let publisher = Lab::join(lab.config(&proxy.url, limits.clone())).await;
    let witness = lab.bus(limits).await;
    let (mut confirmed, mut unconfirmed) = (BTreeSet::new(), 0);
    for round in 0..6 {
        let mut publishing: FuturesUnordered<_> = (0..200)
            .map(|n| round * 200 + n)
            .map(|number| {
                let bus = &publisher.bus;
                async move { (number, bus.publish_work(work(number)).await) }
            })
            .collect();
        let mut told = 0;
        while let Some((number, result)) =
            timeout(PATIENCE, publishing.next()).await.expect("every publisher is told")
        {
            told += 1;
            // In the middle, when some are confirmed and others are under way.
            if told == 20 {
                fail(&proxy, &publisher.bus, round).await;
            }
            match result {
                Ok(()) => assert!(confirmed.insert(number)),
                Err(BusError::Unconfirmed(_) | BusError::Unavailable(_)) => unconfirmed += 1,
                Err(other) => panic!("{number}: {other}"),
            }
        }
        assert_eq!(told, 200);
    }
    assert!(confirmed.len() >= 6 * 20, "{}", confirmed.len());
    assert_eq!(confirmed.len() + unconfirmed, 1_200);
    let mut consumer = witness.bus.consume_work(64).await.unwrap();
    let mut seen = BTreeSet::new();
    while !confirmed.is_subset(&seen) {
        let delivery = take(&mut consumer).await;
        seen.insert(number_of(delivery.work()));
        delivery.ack().await;
    }
    assert!(publisher.bus.snapshot().reconnects > 0, "the network did fail");
    assert_eq!(publisher.bus.snapshot().work.under_way, 0, "nothing is left behind");
    publisher.end().await;
    witness.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_confirmed_is_lost_when_connections_are_cut() {
    in_lab(async |lab| nothing_confirmed_is_lost(lab, async |proxy, _, _| proxy.cut()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_confirmed_is_lost_when_the_network_stalls_either_way() {
    in_lab(async |lab| {
        nothing_confirmed_is_lost(lab, async |proxy, bus, round| {
            if round % 3 != 0 {
                return;
            }
            proxy.set(if round == 0 { Mode::Mute } else { Mode::Deaf });
            until("the silence is noticed", || !bus.snapshot().publishing_connected).await;
            proxy.set(Mode::Open);
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_confirmed_is_lost_over_the_absence_of_a_broker() {
    in_lab(async |lab| {
        nothing_confirmed_is_lost(lab, async |proxy, _, round| {
            if round % 3 != 0 {
                return;
            }
            let before = proxy.refused();
            proxy.set(Mode::Refuse);
            proxy.cut();
            until("it tries to come back and cannot", || proxy.refused() >= before + 4).await;
            proxy.set(Mode::Open);
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_broker_an_order_is_refused_at_once_and_surely_not_sent() {
    in_lab(async |lab| {
        let proxy = Proxy::start(&lab.url).await;
        let joined = Lab::join(lab.config(&proxy.url, small())).await;
        let witness = lab.bus(small()).await;
        let member = gateway("gw-1");
        let mut consumer = witness.bus.consume_gateway(&member).await.unwrap();
        joined.bus.publish_to_gateway(&member, to_gateway(1)).await.unwrap();
        proxy.set(Mode::Refuse);
        proxy.cut();
        until("the loss is seen", || !joined.bus.snapshot().publishing_connected).await;
        let refused = joined.bus.publish_to_gateway(&member, to_gateway(2)).await;
        assert!(matches!(refused, Err(BusError::Unavailable(_))), "{refused:?}");
        proxy.set(Mode::Open);
        soon("it comes back", async || joined.bus.publish_to_gateway(&member, to_gateway(3)).await == Ok(()))
            .await;
        assert_eq!(number_of_command(&take_message(&mut consumer).await), 1);
        assert_eq!(number_of_command(&take_message(&mut consumer).await), 3, "the refused one was not sent");
        assert!(joined.bus.snapshot().orders.unavailable >= 1);
        joined.end().await;
        witness.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_broker_is_told_as_full_and_taken_up_again() {
    in_lab(async |lab| {
        let proxy = Proxy::start(&lab.url).await;
        let joined = Lab::join(lab.config(&proxy.url, small())).await;
        proxy.block(true);
        until("the broker's word is heard", || joined.bus.snapshot().blocked).await;
        let refused = joined.bus.publish_work(work(1)).await;
        assert!(matches!(&refused, Err(BusError::Full(what)) if what.contains("blocked")), "{refused:?}");
        let order = joined.bus.publish_to_gateway(&gateway("gw-1"), to_gateway(1)).await;
        assert!(matches!(order, Err(BusError::Full(_))), "{order:?}");
        proxy.block(false);
        until("the broker's word is heard", || !joined.bus.snapshot().blocked).await;
        assert_eq!(joined.bus.publish_work(work(2)).await, Ok(()));
        assert_eq!(joined.bus.snapshot().reconnects, 0, "that is no reason to connect anew");
        joined.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_that_outlasts_every_answer_loses_nothing_and_no_connection() {
    in_lab(async |lab| {
        let proxy = Proxy::start(&lab.url).await;
        // A heartbeat that a real broker would not wait for while it blocks.
        let answer_within = Duration::from_millis(200);
        let limits = RabbitLimits { answer_within, heartbeat_s: 20, activities: 10, ..small() };
        let joined = Lab::join(lab.config(&proxy.url, limits)).await;
        let witness = lab.bus(small()).await;
        let mut feed = witness.bus.consume_feed().await.unwrap();
        joined.bus.publish_activity(activity(0));
        assert_eq!(
            timeout(PATIENCE, hear(&mut feed)).await.unwrap(),
            Some(Told::Activity(activity(0).into()))
        );
        proxy.block(true);
        until("the broker's word is heard", || joined.bus.snapshot().blocked).await;
        for n in 1..=100 {
            joined.bus.publish_activity(activity(n));
        }
        // tidy: allow(sleep): longer than any answer may take; it is counted what has happened by then
        tokio::time::sleep(answer_within * 10).await;
        let snapshot = joined.bus.snapshot();
        assert_eq!((snapshot.blocked, snapshot.reconnects), (true, 0), "{snapshot:?}");
        proxy.block(false);
        let mut told = 0;
        while told < 100 {
            match timeout(PATIENCE, hear(&mut feed)).await.unwrap().unwrap() {
                Told::Lost(count) => told += i64::try_from(count).unwrap(),
                Told::Activity(heard) => {
                    told += 1;
                    assert_eq!(*heard, activity(told));
                }
            }
        }
        assert_eq!(joined.bus.publish_work(work(1)).await, Ok(()));
        assert_eq!(joined.bus.snapshot().reconnects, 0);
        joined.end().await;
        witness.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_confirmation_is_bounded_and_more_is_refused() {
    in_lab(async |lab| {
        let proxy = Proxy::start(&lab.url).await;
        let limits = RabbitLimits {
            publishing: 5,
            room_within: Duration::from_millis(300),
            confirm_within: Duration::from_secs(2),
            heartbeat_s: 20,
            ..small()
        };
        let joined = Lab::join(lab.config(&proxy.url, limits)).await;
        let member = gateway("gw-1");
        let absent = Err(BusError::Returned("gw-1".into()));
        assert_eq!(joined.bus.publish_to_gateway(&member, to_gateway(0)).await, absent, "there is a channel");
        proxy.set(Mode::Mute);
        // Five are written, forty wait for that, and the rest find no place to wait.
        let results = join_all((0..60).map(|n| joined.bus.publish_to_gateway(&member, to_gateway(n)))).await;
        let unconfirmed = results.iter().filter(|it| matches!(it, Err(BusError::Unconfirmed(_)))).count();
        let full = results.iter().filter(|it| matches!(it, Err(BusError::Full(_)))).count();
        assert_eq!((unconfirmed, full), (5, 55), "{results:?}");
        proxy.set(Mode::Open);
        soon("what was silent is given up and made anew", async || {
            joined.bus.publish_to_gateway(&member, to_gateway(99)).await == absent
        })
        .await;
        joined.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_ends_publishers_consumers_and_all_tasks() {
    in_lab(async |lab| {
        let joined = lab.bus(small()).await;
        let bus = joined.bus.clone();
        let member = gateway("gw-1");
        let mut work_consumer = bus.consume_work(1).await.unwrap();
        let mut gateway_consumer = bus.consume_gateway(&member).await.unwrap();
        let mut feed = bus.consume_feed().await.unwrap();
        let waits = tokio::spawn(async move {
            let ended: (bool, Option<GatewayItem>, bool) = (
                work_consumer.next().await.is_none(),
                gateway_consumer.next().await,
                hear(&mut feed).await.is_none(),
            );
            ended
        });
        joined.end().await;
        assert_eq!(timeout(PATIENCE, waits).await.unwrap().unwrap(), (true, None, true));
        assert_eq!(bus.publish_work(work(1)).await, Err(BusError::Closed));
        assert_eq!(bus.publish_to_gateway(&member, to_gateway(1)).await, Err(BusError::Closed));
        assert_eq!(bus.consume_work(1).await.err(), Some(BusError::Closed));
        assert_eq!(bus.consume_gateway(&member).await.err(), Some(BusError::Closed));
        assert_eq!(bus.consume_feed().await.err(), Some(BusError::Closed));
        assert_eq!(bus.snapshot().consumers, 0);
    })
    .await;
}
