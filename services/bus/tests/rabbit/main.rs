//! The bus over a real RabbitMQ: the port's contract, and what this adapter promises beyond it.
//!
//! `STOKER_TEST_AMQP` says where the broker is, `amqp://user:password@host:port/vhost`. Each test uses names of its own
//! and removes them. One stops and kills the broker: it needs the lab that `STOKER_TEST_LAB` names (`docs/lab.md`).

#[cfg(test)]
#[path = "../contract/mod.rs"]
mod contract;

#[cfg(test)]
mod dead_letters;
#[cfg(test)]
mod feed;
#[cfg(test)]
mod gateways;
#[cfg(test)]
mod joining;
#[cfg(test)]
mod lab;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod publishing;
#[cfg(test)]
mod restart;
#[cfg(test)]
mod work;

#[cfg(test)]
mod keeps {
    use super::contract;
    use super::lab::{in_lab, small};

    macro_rules! keeps {
        ($($promise:ident $(($bound:literal))?),* $(,)?) => {$(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                in_lab(async |lab| {
                    let bus = lab.bus(small()).await;
                    contract::$promise(&bus.bus $(, $bound)?).await;
                    bus.end().await;
                })
                .await;
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
        a_slow_listener_is_told_how_much_it_lost(9),
    }
}
