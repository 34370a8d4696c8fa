//! The task of a lane: writes what it is given, in that order, and tells the answers.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation};
use stoker_telemetry::chain;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::config::RabbitLimits;
use super::envelope::Outgoing;
use super::error::RabbitError;
use super::lane::{Job, Outcome, under_way};
use super::link::Link;
use super::links::Links;
use super::settle::Settlement;

/// How long what is under way at the end may take.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// How often the oldest unconfirmed message is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The other side of a [`Lane`](super::lane::Lane).
#[derive(Debug)]
pub(super) struct LaneTask {
    pub(super) jobs: mpsc::Receiver<Job>,
    pub(super) links: Links,
    pub(super) limits: RabbitLimits,
    pub(super) exchange: String,
    /// What message ids of this lane begin with, unique among all processes.
    pub(super) id_prefix: String,
}

type Sending = Pin<Box<dyn Future<Output = (u64, lapin::Result<Confirmation>)> + Send>>;

/// What is under way on one channel.
struct Channelled<'a> {
    link: &'a Link,
    channel: Channel,
    exchange: &'a str,
    id_prefix: String,
    next: u64,
    pending: BTreeMap<u64, (Job, Instant)>,
    sending: FuturesUnordered<Sending>,
    settlement: Settlement,
}

impl LaneTask {
    /// Until `closing`; what was accepted by then is still published and, for a while, waited for.
    pub(super) async fn run(mut self, closing: CancellationToken) {
        let mut channels = 0_u64;
        loop {
            let link = tokio::select! {
                biased;
                link = self.links.wait() => link,
                job = self.jobs.recv() => match job {
                    Some(job) => {
                        job.end(Outcome::NotSent("there is no connection to the broker".into()));
                        continue;
                    }
                    None => return,
                },
                () = closing.cancelled() => return,
            };
            let Some(link) = link else { return };
            let channel = match open(&link).await {
                Ok(channel) => channel,
                Err(error) => {
                    link.cut(chain(&error));
                    continue;
                }
            };
            channels += 1;
            let mut channelled = Channelled {
                link: &link,
                channel,
                exchange: &self.exchange,
                id_prefix: format!("{}-{channels:x}", self.id_prefix),
                next: 0,
                pending: BTreeMap::new(),
                sending: FuturesUnordered::new(),
                settlement: Settlement::default(),
            };
            let ended = channelled.serve(&mut self.jobs, &self.limits, &closing).await;
            channelled.give_up();
            if ended {
                return;
            }
        }
    }
}

async fn open(link: &Link) -> Result<Channel, RabbitError> {
    let channel = link.channel().await?;
    link.ask("ask for confirmations", channel.confirm_select(ConfirmSelectOptions::default())).await?;
    Ok(channel)
}

impl Channelled<'_> {
    /// True when the lane is at its end, false when its connection is.
    async fn serve(
        &mut self,
        jobs: &mut mpsc::Receiver<Job>,
        limits: &RabbitLimits,
        closing: &CancellationToken,
    ) -> bool {
        let bound = under_way(limits);
        let mut look = tokio::time::interval(LOOK_EVERY);
        let mut last = None;
        // What waited while the broker was blocked has not been slow.
        let mut unblocked_since = Instant::now();
        loop {
            if last.is_some_and(|deadline| {
                Instant::now() >= deadline || (jobs.is_empty() && self.pending.is_empty())
            }) {
                return true;
            }
            tokio::select! {
                biased;
                () = self.link.lost().cancelled() => return false,
                Some(first) = self.sending.next() => {
                    if let Err(error) = self.answers(first) {
                        self.link.cut(format!("failed to publish: {error}"));
                        return false;
                    }
                }
                job = jobs.recv(), if self.pending.len() < bound && (last.is_none() || !jobs.is_empty()) => match job {
                    Some(job) => self.send(job),
                    None => last = last.or(Some(Instant::now() + LAST_ANSWERS)),
                },
                () = closing.cancelled(), if last.is_none() => {
                    jobs.close();
                    last = Some(Instant::now() + LAST_ANSWERS);
                }
                _ = look.tick() => {
                    if self.link.blocked() {
                        unblocked_since = Instant::now();
                    }
                    let oldest = self.pending.values().next().map(|(_, since)| *since.max(&unblocked_since));
                    if oldest.is_some_and(|since| since.elapsed() > limits.confirm_within) {
                        self.link.cut("the broker does not confirm any more");
                        return false;
                    }
                }
            }
            // Whatever waits goes out together, as long as there is room for unconfirmed messages.
            while self.pending.len() < bound
                && let Ok(job) = jobs.try_recv()
            {
                self.send(job);
            }
        }
    }

    fn send(&mut self, job: Job) {
        if !job.begin() {
            return;
        }
        let id = self.next;
        self.next += 1;
        let properties = job.message.properties(Some(&format!("{}-{id:x}", self.id_prefix)));
        let message = Arc::clone(&job.message);
        self.pending.insert(id, (job, Instant::now()));
        // Pushed in the order of the jobs and first polled in that order, and the first poll queues the frames.
        let sent = publish(self.channel.clone(), self.exchange.to_owned(), message, properties);
        self.sending.push(Box::pin(sent.map(move |confirmation| (id, confirmation))));
    }

    /// Takes all confirmations that are there, and tells what is sure.
    fn answers(&mut self, first: (u64, lapin::Result<Confirmation>)) -> lapin::Result<()> {
        let (mut next, mut failed) = (Some(first), Ok(()));
        while let Some((id, confirmation)) = next {
            let (acknowledged, returned) = match confirmation {
                Ok(Confirmation::Ack(returned)) => (true, returned),
                Ok(Confirmation::Nack(returned)) => (false, returned),
                Ok(Confirmation::NotRequested) => (false, None),
                Err(error) => {
                    failed = Err(error);
                    break;
                }
            };
            let about = returned.and_then(|message| {
                let id = message
                    .delivery
                    .properties
                    .message_id()
                    .as_ref()?
                    .as_str()
                    .rsplit('-')
                    .next()?
                    .to_owned();
                u64::from_str_radix(&id, 16).ok()
            });
            self.settlement.resolved(id, acknowledged, about);
            next = self.sending.next().now_or_never().flatten();
        }
        let idle = failed.is_ok() && self.sending.is_empty();
        for (id, answer) in self.settlement.decide(idle) {
            if let Some((job, _)) = self.pending.remove(&id) {
                job.end(Outcome::Answered(answer));
            }
        }
        failed
    }

    /// Nobody will answer for the rest.
    fn give_up(&mut self) {
        let why = self.link.why();
        for (_, (job, _)) in std::mem::take(&mut self.pending) {
            job.end(Outcome::Unknown(why.clone()));
        }
    }
}

async fn publish(
    channel: Channel,
    exchange: String,
    message: Arc<Outgoing>,
    properties: BasicProperties,
) -> lapin::Result<Confirmation> {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let key = message.routing_key.as_str().into();
    channel.basic_publish(exchange.into(), key, options, &message.body, properties).await?.await
}
