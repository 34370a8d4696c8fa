//! A broker that goes and comes back.

use std::collections::BTreeSet;
use std::process::Output;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use stoker_bus::RabbitLimits;
use stoker_domain::ports::bus::{Bus, BusError, GatewayItem};
use tokio::process::Command;
use tokio::time::timeout;

use super::contract::fixtures::{activity, gateway, number_of, to_gateway, work};
use super::contract::{PATIENCE, Told, hear, number_of_command, soon, take, take_message};
use super::lab::{Joined, alone_in_lab, small, until};

/// How long the lab may take; its command may have to be built first.
const LAB_TAKES: Duration = Duration::from_secs(600);

/// `cargo xtask lab …` with these words.
async fn in_the_lab(words: &[&str]) -> Output {
    let folder = std::env::var("STOKER_TEST_LAB").unwrap_or_else(|_| {
        panic!("this test ends its broker: set STOKER_TEST_LAB to the folder of a lab (`cargo xtask lab up`)")
    });
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["xtask", "lab", "--folder", &folder]).args(words);
    timeout(LAB_TAKES, command.kill_on_drop(true).output()).await.unwrap().unwrap()
}

/// The number of the broker's process.
async fn broker() -> String {
    // It fails where another part of the lab is not ready, which is not our concern.
    let said = in_the_lab(&["status", "--json"]).await.stdout;
    let status: serde_json::Value = serde_json::from_slice(&said).unwrap();
    let parts = status["parts"].as_array().unwrap();
    let broker = parts.iter().find(|part| part["part"] == "rabbitmq").unwrap();
    broker["pid"].as_u64().unwrap().to_string()
}

/// Threads of the client library in this process: one for each connection.
fn io_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names =
        tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default());
    names.filter(|name| name.starts_with("lapin-io")).count()
}

async fn begin_again() {
    // It may still be about to end.
    for action in ["stop", "start"] {
        let output = in_the_lab(&[action, "rabbitmq"]).await;
        assert!(output.status.success(), "{action}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Publishes work from `first` on, sends the broker this signal in the middle, and ends when nothing is taken any more.
/// Gives what was confirmed.
async fn publish_over_an_end(core: &Joined, first: u64, signal: &str) -> BTreeSet<u64> {
    let broker = broker().await;
    let mut numbers = first..;
    let mut publish = || {
        let number = numbers.next().unwrap();
        async move { (number, core.bus.publish_work(work(number)).await) }
    };
    let mut publishing: FuturesUnordered<_> = (0..100).map(|_| publish()).collect();
    let (mut confirmed, mut failed) = (BTreeSet::new(), 0);
    while let Some((number, result)) =
        timeout(PATIENCE, publishing.next()).await.expect("every publisher is told")
    {
        match result {
            Ok(()) => assert!(confirmed.insert(number)),
            Err(BusError::Unavailable(_) | BusError::Unconfirmed(_)) => failed += 1,
            Err(other) => panic!("{number}: {other}"),
        }
        if confirmed.len() == 50 && failed == 0 {
            let sent = Command::new("kill").args([signal, &broker]).status().await;
            assert!(sent.unwrap().success());
        }
        if failed == 0 {
            publishing.push(publish());
        }
    }
    confirmed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_restarted_or_killed_loses_nothing_confirmed_and_everybody_goes_on() {
    let test = async |lab: &super::lab::Lab| {
        let hour = Duration::from_secs(3_600);
        let room_within = Duration::from_secs(1);
        let limits = RabbitLimits {
            work: 20_000,
            feed: 1_000,
            publishing: 64,
            work_fresh_for: hour,
            room_within,
            ..small()
        };
        let (core, others) = (lab.bus(limits.clone()).await, lab.bus(limits).await);
        let member = gateway("gw-1");
        let mut orders = others.bus.consume_gateway(&member).await.unwrap();
        let mut feed = others.bus.consume_feed().await.unwrap();
        let mut consumer = others.bus.consume_work(4).await.unwrap();
        let (mut missing, mut held) = (BTreeSet::new(), Vec::new());
        // One says goodbye, the other nothing any more.
        for (round, signal) in [(0, "-TERM"), (1, "-KILL")] {
            let first = round * 1_000_000;
            for n in 0..4 {
                core.bus.publish_work(work(first + n)).await.unwrap();
                missing.insert(first + n);
                held.push(take(&mut consumer).await);
            }
            missing.extend(publish_over_an_end(&core, first + 100, signal).await);

            until("the loss is seen", || {
                !core.bus.snapshot().publishing_connected && !others.bus.snapshot().consuming_connected
            })
            .await;
            let refused = core.bus.publish_work(work(first + 50)).await;
            assert!(matches!(refused, Err(BusError::Unavailable(_))), "{refused:?}");
            let refused = core.bus.publish_to_gateway(&member, to_gateway(0)).await;
            assert!(matches!(refused, Err(BusError::Unavailable(_))), "{refused:?}");
            core.bus.publish_activity(activity(0));

            begin_again().await;
            let number = first + 51;
            soon("work is taken", async || core.bus.publish_work(work(number)).await == Ok(())).await;
            missing.insert(number);
            let item = timeout(PATIENCE, orders.next()).await.unwrap();
            assert_eq!(item, Some(GatewayItem::Resumed));
            soon("orders are taken", async || {
                core.bus.publish_to_gateway(&member, to_gateway(number)).await == Ok(())
            })
            .await;
            assert_eq!(number_of_command(&take_message(&mut orders).await), number);
            soon("the feed goes on", async || {
                core.bus.publish_activity(activity(1));
                let told = timeout(Duration::from_millis(100), hear(&mut feed)).await;
                told == Ok(Some(Told::Activity(activity(1).into())))
            })
            .await;
            // Those of the broker that is gone.
            held.clear();
            while !missing.is_empty() {
                let delivery = take(&mut consumer).await;
                missing.remove(&number_of(delivery.work()));
                delivery.ack().await;
            }
        }
        assert_eq!(others.bus.snapshot().gateway_resumed, 2);
        assert_eq!(core.bus.snapshot().work.under_way, 0, "nothing is left behind");
        core.end().await;
        others.end().await;
        drop((orders, feed, consumer));
        until("the threads of all connections have ended", || io_threads() == 0).await;
    };
    alone_in_lab(test, begin_again).await;
}
