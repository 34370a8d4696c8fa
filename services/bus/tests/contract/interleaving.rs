//! Random interleavings of publishers and consumers, checked against what the port promises. For an adapter that
//! confirms work when it is acknowledged, and gives it back at once: a broker does both a moment later.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::{FutureExt, select_biased};
use stoker_domain::ports::bus::{Bus, BusError, WorkConsumer, WorkDelivery};

use super::contract::fixtures::{number_of, work};

/// What is done next. Numbers choose among what there is, modulo how many there are.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Publishes the next number.
    Publish,
    /// Cancels a publisher that waits.
    Cancel(usize),
    /// Adds a consumer with that prefetch.
    Join(usize),
    /// Drops a consumer; with it, its deliveries, or only later.
    Leave { consumer: usize, deliveries_too: bool },
    /// Lets a consumer take what it can.
    Take(usize),
    /// Acknowledges a delivery.
    Ack(usize),
    /// Drops a delivery.
    Drop(usize),
}

struct Member {
    id: usize,
    prefetch: usize,
    consumer: Box<dyn WorkConsumer>,
}

struct Held {
    by: usize,
    number: u64,
    delivery: Box<dyn WorkDelivery>,
}

type Publishing<'a> = BoxFuture<'a, Result<(), BusError>>;

/// What happened, seen from outside.
#[derive(Default)]
struct Ledger {
    published: u64,
    cancelled: BTreeSet<u64>,
    confirmed: BTreeSet<u64>,
    acknowledged: BTreeMap<u64, u32>,
}

struct Run<'a> {
    bus: &'a dyn Bus,
    publishing: BTreeMap<u64, Publishing<'a>>,
    members: Vec<Member>,
    next_member: usize,
    held: Vec<Held>,
    /// Deliveries whose consumer is gone: acknowledging them must not confirm anything.
    orphans: Vec<Held>,
    ledger: Ledger,
}

/// Takes the steps, then lets everything come to its end, and checks: whatever was published and not cancelled is
/// confirmed; whatever was confirmed was acknowledged by a consumer that was there, and only once; no consumer ever
/// held more than its prefetch. `observe` is called after every step, for an adapter's own bounds.
pub(crate) async fn nothing_is_lost_and_every_bound_holds(bus: &dyn Bus, steps: &[Step], observe: &dyn Fn()) {
    let mut run = Run {
        bus,
        publishing: BTreeMap::new(),
        members: Vec::new(),
        next_member: 0,
        held: Vec::new(),
        orphans: Vec::new(),
        ledger: Ledger::default(),
    };
    for step in steps {
        run.take_step(step).await;
        run.poll_publishers();
        run.check_prefetch();
        observe();
    }
    run.finish().await;
    observe();
}

impl Run<'_> {
    async fn take_step(&mut self, step: &Step) {
        match *step {
            Step::Publish => {
                let number = self.ledger.published;
                self.ledger.published += 1;
                self.publishing.insert(number, self.bus.publish_work(work(number)));
            }
            Step::Cancel(which) => {
                let number = self.publishing.keys().nth(which % self.publishing.len().max(1)).copied();
                if let Some(number) = number {
                    self.publishing.remove(&number);
                    self.ledger.cancelled.insert(number);
                }
            }
            Step::Join(prefetch) => {
                let consumer = self.bus.consume_work(prefetch).await.unwrap();
                self.members.push(Member { id: self.next_member, prefetch, consumer });
                self.next_member += 1;
            }
            Step::Leave { consumer, deliveries_too } => {
                if let Some(member) = pick(&mut self.members, consumer) {
                    drop(member.consumer);
                    let (gone, held) =
                        std::mem::take(&mut self.held).into_iter().partition(|h: &Held| h.by == member.id);
                    self.held = held;
                    if !deliveries_too {
                        self.orphans.extend(gone);
                    }
                }
            }
            Step::Take(which) => {
                let count = self.members.len().max(1);
                if let Some(member) = self.members.get_mut(which % count) {
                    // Polled once and dropped: taking must survive being cancelled.
                    if let Some(delivery) = member.consumer.next().now_or_never() {
                        let delivery = delivery.expect("the bus is open");
                        let number = number_of(delivery.work());
                        self.held.push(Held { by: member.id, number, delivery });
                    }
                }
            }
            Step::Ack(which) => {
                if let Some(held) = pick(&mut self.held, which) {
                    *self.ledger.acknowledged.entry(held.number).or_default() += 1;
                    held.delivery.ack().await;
                } else if let Some(orphan) = pick(&mut self.orphans, which) {
                    orphan.delivery.ack().await;
                }
            }
            Step::Drop(which) => drop(pick(&mut self.held, which)),
        }
    }

    fn poll_publishers(&mut self) {
        let ledger = &mut self.ledger;
        self.publishing.retain(|&number, publishing| match publishing.now_or_never() {
            None => true,
            Some(result) => {
                assert_eq!(result, Ok(()), "publisher of {number}");
                assert!(ledger.acknowledged.contains_key(&number), "{number} was confirmed unacknowledged");
                ledger.confirmed.insert(number);
                false
            }
        });
    }

    fn check_prefetch(&self) {
        for member in &self.members {
            let held = self.held.iter().filter(|held| held.by == member.id).count();
            assert!(held <= member.prefetch, "a consumer holds {held} of {}", member.prefetch);
        }
    }

    /// Everybody lets go, and one last consumer takes all that is left.
    async fn finish(mut self) {
        self.held.clear();
        self.members.clear();
        let mut consumer = self.bus.consume_work(3).await.unwrap();
        let mut waiting: FuturesUnordered<_> = std::mem::take(&mut self.publishing)
            .into_iter()
            .map(|(number, publishing)| publishing.map(move |result| (number, result)))
            .collect();
        let deadline = tokio::time::sleep(Duration::from_secs(60)).fuse();
        tokio::pin!(deadline);
        while !waiting.is_empty() {
            select_biased! {
                done = waiting.next() => if let Some((number, result)) = done {
                    assert_eq!(result, Ok(()), "publisher of {number}");
                    self.ledger.confirmed.insert(number);
                },
                delivery = consumer.next().fuse() => {
                    let delivery = delivery.expect("the bus is open");
                    *self.ledger.acknowledged.entry(number_of(delivery.work())).or_default() += 1;
                    delivery.ack().await;
                },
                () = deadline => panic!("{} publishers were never confirmed", waiting.len()),
            }
        }
        let Ledger { published, cancelled, confirmed, acknowledged } = self.ledger;
        let expected: BTreeSet<u64> = (0..published).filter(|number| !cancelled.contains(number)).collect();
        assert_eq!(confirmed, expected, "what was published and not cancelled is confirmed");
        for number in &confirmed {
            assert_eq!(
                acknowledged.get(number),
                Some(&1),
                "{number}: acknowledged once, by whom it was given"
            );
        }
    }
}

fn pick<T>(from: &mut Vec<T>, which: usize) -> Option<T> {
    if from.is_empty() { None } else { Some(from.swap_remove(which % from.len())) }
}
