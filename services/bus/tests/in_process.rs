//! The in-process bus: the port's contract, and what this adapter promises beyond it.

#[cfg(test)]
mod contract;
#[cfg(test)]
#[path = "contract/interleaving.rs"]
mod interleaving;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;
    use futures_util::future::join_all;
    use proptest::prelude::*;
    use stoker_bus::{InProcessBus, Limits, Snapshot};
    use stoker_domain::ports::bus::{Bus, BusError, GatewayItem};
    use tokio::time::Instant;

    use super::contract::fixtures::{activity, gateway, number_of, to_gateway, work};
    use super::contract::{self, Told, hear, take};
    use super::interleaving::{Step, nothing_is_lost_and_every_bound_holds};

    fn small() -> Limits {
        Limits { work: 6, gateway: 4, feed: 8, ..Limits::default() }
    }

    macro_rules! keeps {
        ($($promise:ident $(($bound:literal))?),* $(,)?) => {$(
            #[tokio::test(start_paused = true)]
            async fn $promise() {
                contract::$promise(&InProcessBus::new(&Limits { work: 32, ..small() }) $(, $bound)?).await;
            }
        )*};
    }

    keeps! {
        work_reaches_exactly_one_consumer_when_all_goes_well,
        a_dropped_delivery_comes_again,
        a_consumer_holds_at_most_its_prefetch,
        a_consumer_that_vanishes_gives_back_all_it_had,
        a_gateway_gets_its_own_messages_in_order,
        a_message_to_an_absent_gateway_is_returned,
        a_full_gateway_queue_refuses_the_newest(4),
        the_feed_reaches_everybody_who_listens,
        the_feed_is_numbered,
        who_follows_the_feed_hears_what_others_listen_to,
        a_slow_listener_is_told_how_much_it_lost(8),
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_contract_allows_time_for_happens_at_once_here() {
        let bus = InProcessBus::new(&small());
        let member = gateway("gw-1");
        let mut consumer = bus.consume_gateway(&member).await.unwrap();
        for n in 0..4 {
            bus.publish_to_gateway(&member, to_gateway(n)).await.unwrap();
        }
        consumer.next().await.unwrap();
        assert_eq!(bus.publish_to_gateway(&member, to_gateway(4)).await, Ok(()), "taking makes room");
        drop(consumer);
        let returned = bus.publish_to_gateway(&member, to_gateway(5)).await;
        assert_eq!(returned, Err(BusError::Returned("gw-1".into())));
        drop(bus.consume_feed().await.unwrap());
        assert!(!bus.feed_wanted());
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Publish),
            1 => any::<usize>().prop_map(Step::Cancel),
            1 => (1..4_usize).prop_map(Step::Join),
            1 => (any::<usize>(), any::<bool>())
                .prop_map(|(consumer, deliveries_too)| Step::Leave { consumer, deliveries_too }),
            6 => any::<usize>().prop_map(Step::Take),
            4 => any::<usize>().prop_map(Step::Ack),
            2 => any::<usize>().prop_map(Step::Drop),
        ]
    }

    proptest! {
        #[test]
        fn nothing_is_lost_whatever_the_interleaving(steps in prop::collection::vec(step(), 1..120)) {
            let limits = small();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            runtime.block_on(async {
                let bus = InProcessBus::new(&limits);
                let bounded = || {
                    let Snapshot { work_waiting, work_unacknowledged, .. } = bus.snapshot();
                    let kept = work_waiting + work_unacknowledged;
                    assert!(kept <= limits.work, "{kept} messages are kept");
                };
                nothing_is_lost_and_every_bound_holds(&bus, &steps, &bounded).await;
                assert_eq!(bus.snapshot(), Snapshot::default(), "nothing stays behind");
            });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn work_is_confirmed_only_when_acknowledged() {
        let bus = InProcessBus::default();
        let mut consumer = bus.consume_work(1).await.unwrap();
        let mut published = bus.publish_work(work(1));
        assert_eq!((&mut published).now_or_never(), None);
        let delivery = take(&mut consumer).await;
        assert_eq!((&mut published).now_or_never(), None, "handed out is not acknowledged");
        delivery.ack().await;
        assert_eq!(published.now_or_never(), Some(Ok(())));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_back_comes_before_what_is_younger_and_in_its_old_order() {
        let bus = InProcessBus::default();
        let mut consumer = bus.consume_work(8).await.unwrap();
        let mut published = join_all((0..6).map(|n| bus.publish_work(work(n))));
        assert!((&mut published).now_or_never().is_none());
        let held = [take(&mut consumer).await, take(&mut consumer).await, take(&mut consumer).await];
        let [first, second, third] = held;
        drop(third);
        drop(first);
        second.ack().await;
        let mut order = Vec::new();
        for _ in 0..5 {
            let delivery = take(&mut consumer).await;
            order.push(number_of(delivery.work()));
            delivery.ack().await;
        }
        assert_eq!(order, [0, 2, 3, 4, 5]);
        assert_eq!(published.await, vec![Ok(()); 6]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_publisher_waits_for_room_and_is_told_full_at_the_deadline() {
        let bus = InProcessBus::new(&Limits { work: 2, ..Limits::default() });
        let mut kept = join_all((0..2).map(|n| bus.publish_work(work(n))));
        assert!((&mut kept).now_or_never().is_none());
        let began = Instant::now();
        let refused = bus.publish_work(work(2)).await;
        assert_eq!(refused, Err(BusError::Full("notification work".into())));
        assert_eq!(began.elapsed().as_secs(), Limits::default().room_within.as_secs());
        let mut third = bus.publish_work(work(3));
        assert!((&mut third).now_or_never().is_none());
        let mut consumer = bus.consume_work(8).await.unwrap();
        for expected in [0, 1, 3] {
            let delivery = take(&mut consumer).await;
            assert_eq!(number_of(delivery.work()), expected);
            delivery.ack().await;
            assert_eq!((&mut third).now_or_never(), if expected == 3 { Some(Ok(())) } else { None });
        }
        assert_eq!(kept.await, vec![Ok(()); 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_publisher_that_is_not_confirmed_in_time_takes_its_message_back() {
        let bus = InProcessBus::default();
        let unconfirmed = bus.publish_work(work(1)).await;
        assert!(matches!(unconfirmed, Err(BusError::Unconfirmed(_))), "{unconfirmed:?}");
        assert_eq!(bus.snapshot(), Snapshot::default());
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_publisher_leaves_nothing_behind_once_the_consumer_lets_go() {
        let bus = InProcessBus::default();
        let mut consumer = bus.consume_work(2).await.unwrap();
        let mut published = join_all((0..2).map(|n| bus.publish_work(work(n))));
        assert!((&mut published).now_or_never().is_none());
        let delivery = take(&mut consumer).await;
        drop(published);
        assert_eq!(bus.snapshot(), Snapshot { work_unacknowledged: 1, ..Snapshot::default() });
        drop(delivery);
        assert_eq!(bus.snapshot(), Snapshot::default());
    }

    #[tokio::test(start_paused = true)]
    async fn a_consumer_that_may_hold_nothing_may_hold_one() {
        let bus = InProcessBus::default();
        let mut consumer = bus.consume_work(0).await.unwrap();
        let mut published = bus.publish_work(work(1));
        assert!((&mut published).now_or_never().is_none());
        take(&mut consumer).await.ack().await;
        assert_eq!(published.await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_consumer_of_a_gateway_has_its_queue() {
        let bus = InProcessBus::default();
        let member = gateway("gw-1");
        let mut old = bus.consume_gateway(&member).await.unwrap();
        bus.publish_to_gateway(&member, to_gateway(1)).await.unwrap();
        let mut new = bus.consume_gateway(&member).await.unwrap();
        bus.publish_to_gateway(&member, to_gateway(2)).await.unwrap();
        assert_eq!(
            old.next().await,
            Some(GatewayItem::Message(to_gateway(1))),
            "what was accepted is not taken away"
        );
        assert_eq!(old.next().await, None);
        drop(old);
        bus.publish_to_gateway(&member, to_gateway(3)).await.unwrap();
        assert_eq!(new.next().await, Some(GatewayItem::Message(to_gateway(2))));
        assert_eq!(new.next().await, Some(GatewayItem::Message(to_gateway(3))));
        assert_eq!(bus.snapshot().gateways, 1);
        drop(new);
        assert_eq!(bus.snapshot().gateways, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn closing_ends_waiting_publishers_and_consumers() {
        let bus = InProcessBus::new(&Limits { work: 3, ..Limits::default() });
        let mut busy = bus.consume_work(1).await.unwrap();
        let mut published = join_all((0..4).map(|n| bus.publish_work(work(n))));
        assert!((&mut published).now_or_never().is_none());
        let held = take(&mut busy).await;
        let mut feed = bus.consume_feed().await.unwrap();
        bus.publish_activity(activity(1));
        let mut gateway_queue = bus.consume_gateway(&gateway("gw-1")).await.unwrap();
        bus.publish_to_gateway(&gateway("gw-1"), to_gateway(1)).await.unwrap();

        let waits = async { busy.next().await.is_none() };
        let closes = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            bus.close();
            bus.close();
        };
        let (ended, ()) = tokio::join!(waits, closes);
        assert!(ended, "a consumer at its prefetch is woken too");
        held.ack().await;
        assert_eq!(published.await, vec![Err(BusError::Closed); 4]);

        assert_eq!(hear(&mut feed).await, Some(Told::Activity(activity(1).into())));
        assert_eq!(hear(&mut feed).await, None);
        assert_eq!(gateway_queue.next().await, Some(GatewayItem::Message(to_gateway(1))));
        assert_eq!(gateway_queue.next().await, None);

        assert_eq!(bus.publish_work(work(9)).await, Err(BusError::Closed));
        assert_eq!(bus.publish_to_gateway(&gateway("gw-1"), to_gateway(9)).await, Err(BusError::Closed));
        bus.publish_activity(activity(9));
        assert_eq!(bus.consume_work(1).await.err(), Some(BusError::Closed));
        assert_eq!(bus.consume_gateway(&gateway("gw-2")).await.err(), Some(BusError::Closed));
        assert_eq!(bus.consume_feed().await.err(), Some(BusError::Closed));
    }
}
