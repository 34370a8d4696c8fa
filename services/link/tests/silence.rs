//! A core that nobody reaches: who waits for it fails at once, but never because of one that only was not there yet.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use stoker_domain::model::{MintedId, NotificationId, Slot, SlotEpoch};
use stoker_link::{Channel, Link, Wire, was_not_sent};
use stoker_proto::core::v1::ReportAttemptRequest;
use stoker_proto::core::v1::notifier_service_client::NotifierServiceClient;
use tokio::time::{Instant, advance};

/// Longer than a dial is waited for.
const DIAL: Duration = Duration::from_secs(2);
/// As long as nobody dials a silent core again.
const SILENT: Duration = Duration::from_secs(2);

/// A channel to where each dial ends by `answer`, and how often somebody has dialled.
fn to<F>(answer: impl Fn() -> F + Send + Sync + 'static) -> (Channel, Arc<AtomicUsize>)
where
    F: Future<Output = io::Error> + Send + 'static,
{
    let dials = Arc::<AtomicUsize>::default();
    let counted = dials.clone();
    let link = Link::new(Arc::new(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        let answer = answer();
        Box::pin(async move { Err::<Box<dyn Wire>, _>(answer.await) })
    }));
    (link.to("core:1"), dials)
}

async fn ask(channel: Channel) {
    let id = MintedId { slot: Slot(7), epoch: SlotEpoch(1), counter: 1 };
    let request = ReportAttemptRequest {
        notification: NotificationId(id).to_string(),
        ..ReportAttemptRequest::default()
    };
    let answer = NotifierServiceClient::new(channel).report_attempt(request).await;
    let status = answer.expect_err("nobody is there");
    assert!(was_not_sent(&status), "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_behind_a_dial_in_vain_do_not_dial_one_after_the_other() {
    let (channel, dials) = to(std::future::pending);
    let began = Instant::now();
    let waiting: Vec<_> = (0..10).map(|_| tokio::spawn(ask(channel.clone()))).collect();
    for waiting in waiting {
        waiting.await.unwrap();
    }
    assert_eq!(dials.load(Ordering::Relaxed), 1);
    assert!(began.elapsed() < DIAL + SILENT, "all have waited for the one dial: {:?}", began.elapsed());

    advance(SILENT).await;
    ask(channel).await;
    assert_eq!(dials.load(Ordering::Relaxed), 2, "it may be back");
}

#[tokio::test(start_paused = true)]
async fn a_core_that_refuses_at_once_may_be_there_at_the_next_moment() {
    let (channel, dials) = to(|| std::future::ready(io::ErrorKind::ConnectionRefused.into()));
    for _ in 0..3 {
        ask(channel.clone()).await;
    }
    assert_eq!(dials.load(Ordering::Relaxed), 3);
}
