//! A gateway's queue over connections that come and go.

use futures_util::FutureExt;
use lapin::BasicProperties;
use stoker_domain::ports::bus::{Bus, GatewayItem};
use tokio::time::timeout;

use super::contract::fixtures::{gateway, to_gateway};
use super::contract::{PATIENCE, number_of_command, soon, take_message};
use super::lab::{Lab, in_lab, small};
use super::proxy::{Mode, Proxy};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_lost_its_queue_is_told_and_gets_all_that_follows() {
    in_lab(async |lab| {
        let proxy = Proxy::start(&lab.url).await;
        let joined = Lab::join(lab.config(&proxy.url, small())).await;
        let core = lab.bus(small()).await;
        let member = gateway("gw-1");
        let mut consumer = joined.bus.consume_gateway(&member).await.unwrap();
        for round in 0..4_u64 {
            core.bus.publish_to_gateway(&member, to_gateway(round)).await.unwrap();
            assert_eq!(number_of_command(&take_message(&mut consumer).await), round);
            proxy.cut();
            let item = timeout(PATIENCE, consumer.next()).await.unwrap().unwrap();
            assert_eq!(item, GatewayItem::Resumed, "once after each cut");
            // From here on all of it comes, and in order.
            for n in 0..3 {
                core.bus.publish_to_gateway(&member, to_gateway(100 + n)).await.unwrap();
                assert_eq!(number_of_command(&take_message(&mut consumer).await), 100 + n);
            }
        }
        assert_eq!(joined.bus.snapshot().gateway_resumed, 4);
        joined.end().await;
        core.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_never_waits_for_long_comes_back_too() {
    in_lab(async |lab| {
        let proxy = Proxy::start(&lab.url).await;
        let joined = Lab::join(lab.config(&proxy.url, small())).await;
        let core = lab.bus(small()).await;
        let member = gateway("gw-1");
        let mut consumer = joined.bus.consume_gateway(&member).await.unwrap();
        proxy.cut();
        let mut item = None;
        // Polled once and dropped, over and over, as by somebody who has other things to do.
        soon("it is told", async || {
            item = consumer.next().now_or_never();
            item.is_some()
        })
        .await;
        assert_eq!(item, Some(Some(GatewayItem::Resumed)));
        core.bus.publish_to_gateway(&member, to_gateway(7)).await.unwrap();
        assert_eq!(number_of_command(&take_message(&mut consumer).await), 7);
        joined.end().await;
        core.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_whose_network_has_gone_silent_finds_out_and_comes_back() {
    in_lab(async |lab| {
        let proxy = Proxy::start(&lab.url).await;
        let joined = Lab::join(lab.config(&proxy.url, small())).await;
        let core = lab.bus(small()).await;
        let member = gateway("gw-1");
        let mut consumer = joined.bus.consume_gateway(&member).await.unwrap();
        for silence in [Mode::Mute, Mode::Deaf] {
            proxy.set(silence);
            let lost = joined.bus.snapshot().reconnects;
            // Nothing but the heartbeat tells.
            soon("the silence is noticed", async || !joined.bus.snapshot().consuming_connected).await;
            proxy.set(Mode::Open);
            let item = timeout(PATIENCE, consumer.next()).await.unwrap().unwrap();
            assert_eq!(item, GatewayItem::Resumed);
            assert!(joined.bus.snapshot().reconnects > lost);
            core.bus.publish_to_gateway(&member, to_gateway(7)).await.unwrap();
            assert_eq!(number_of_command(&take_message(&mut consumer).await), 7);
        }
        joined.end().await;
        core.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_cannot_be_read_goes_to_the_dead_letters() {
    in_lab(async |lab| {
        let joined = lab.bus(small()).await;
        let member = gateway("gw-1");
        let mut consumer = joined.bus.consume_gateway(&member).await.unwrap();
        lab.publish_raw("gateway.gw-1", b"\xff\xff\xff", BasicProperties::default()).await;
        joined.bus.publish_to_gateway(&member, to_gateway(1)).await.unwrap();
        assert_eq!(number_of_command(&take_message(&mut consumer).await), 1, "the readable one comes");
        let letters = joined.bus.dead_letters();
        soon("the other is a dead letter", async || letters.count().await.unwrap() == 1).await;
        assert_eq!(joined.bus.snapshot().unreadable, 1);
        joined.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_for_an_order_may_be_given_up_at_any_moment() {
    in_lab(async |lab| {
        let joined = lab.bus(small()).await;
        let member = gateway("gw-1");
        let mut consumer = joined.bus.consume_gateway(&member).await.unwrap();
        for n in 0..50 {
            let mut publishing = joined.bus.publish_to_gateway(&member, to_gateway(n));
            let mut taken = None;
            let mut published = false;
            let both = async {
                while !published || taken.is_none() {
                    // Polled once and dropped, over and over.
                    if taken.is_none() {
                        taken = consumer.next().now_or_never();
                    }
                    if !published {
                        published = (&mut publishing).now_or_never().is_some_and(|result| result.is_ok());
                    }
                    tokio::task::yield_now().await;
                }
            };
            timeout(PATIENCE, both).await.unwrap();
            assert_eq!(taken.unwrap(), Some(GatewayItem::Message(to_gateway(n))));
        }
        joined.end().await;
    })
    .await;
}
