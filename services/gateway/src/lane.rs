//! Work of one connection that takes time, one after the other: what a device said first is done first.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use stoker_protocol::session::{PublishOutcome, PublishToken};
use stoker_protocol::topic::DownTopic;

/// What comes out of it.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// What to tell the device about its publish.
    pub(crate) answer: Option<(PublishToken, PublishOutcome)>,
    /// What to send it.
    pub(crate) delivery: Option<(DownTopic, Bytes)>,
}

/// Work that has not begun, or is under way.
pub(crate) type Work = Pin<Box<dyn Future<Output = Done> + Send>>;

/// Work that waits at once; at the bound the connection is read no further.
const WAITING: usize = 64;

/// One lane. Stands on the heap and goes when it is empty.
#[derive(Default)]
pub(crate) struct Lane(VecDeque<Waiting>);

struct Waiting {
    work: Work,
    /// The device waits for an answer, and without one says it again.
    awaited: bool,
}

impl Done {
    /// The device will say it again, on another connection.
    fn is_to_come_again(&self) -> bool {
        matches!(self.answer, Some((_, PublishOutcome::StoreUnavailable)))
    }
}

impl Lane {
    /// Puts work behind all that waits. `awaited`: what comes of it is told to the device.
    pub(crate) fn put(
        lane: &mut Option<Box<Self>>,
        awaited: bool,
        work: impl Future<Output = Done> + Send + 'static,
    ) {
        lane.get_or_insert_default().0.push_back(Waiting { work: Box::pin(work), awaited });
    }

    /// What was said behind something that is to come again comes again behind it. Done now it would overtake: a fault
    /// would be raised after it was cleared, and the second clearing, being the same one, would count for nothing.
    fn keep_order(&mut self, done: &Done) {
        if done.is_to_come_again() {
            self.0.retain(|waiting| !waiting.awaited);
        }
    }

    pub(crate) fn is_full(lane: Option<&Self>) -> bool {
        lane.is_some_and(|lane| lane.0.len() >= WAITING)
    }

    /// The next result. Pending also when there is nothing to do.
    pub(crate) fn poll(lane: &mut Option<Box<Self>>, context: &mut Context<'_>) -> Poll<Done> {
        let Some(first) = lane.as_mut().and_then(|lane| lane.0.front_mut()) else { return Poll::Pending };
        let Poll::Ready(done) = first.work.as_mut().poll(context) else { return Poll::Pending };
        if let Some(some) = lane {
            some.0.pop_front();
            some.keep_order(&done);
            if some.0.is_empty() {
                *lane = None;
            }
        }
        Poll::Ready(done)
    }

    /// Finishes what waits; its results are of no use any more.
    pub(crate) async fn finish(lane: Option<Box<Self>>) {
        let Some(mut lane) = lane else { return };
        while let Some(Waiting { work, .. }) = lane.0.pop_front() {
            let done = work.await;
            lane.keep_order(&done);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Work that says that it was done, and comes to this.
    fn put(
        lane: &mut Option<Box<Lane>>,
        seen: &Arc<Mutex<Vec<u8>>>,
        number: u8,
        answer: Option<PublishOutcome>,
    ) {
        let seen = seen.clone();
        let answer = answer.map(|outcome| (PublishToken::default(), outcome));
        Lane::put(lane, answer.is_some(), async move {
            seen.lock().unwrap().push(number);
            Done { answer, delivery: None }
        });
    }

    fn lane(seen: &Arc<Mutex<Vec<u8>>>) -> Option<Box<Lane>> {
        use PublishOutcome::{PayloadInvalid, StoreUnavailable, Stored};
        let mut lane = None;
        put(&mut lane, seen, 1, Some(Stored));
        put(&mut lane, seen, 2, Some(PayloadInvalid));
        put(&mut lane, seen, 3, Some(StoreUnavailable));
        put(&mut lane, seen, 4, Some(Stored));
        put(&mut lane, seen, 5, None);
        lane
    }

    #[tokio::test]
    async fn nothing_overtakes_what_is_to_come_again() {
        let seen = Arc::default();
        let mut working = lane(&seen);
        for _ in 0..4 {
            std::future::poll_fn(|context| Lane::poll(&mut working, context)).await;
        }
        assert!(working.is_none());
        assert_eq!(*seen.lock().unwrap(), [1, 2, 3, 5]);
    }

    #[tokio::test]
    async fn nor_does_it_when_the_connection_is_over() {
        let seen = Arc::default();
        Lane::finish(lane(&seen)).await;
        assert_eq!(*seen.lock().unwrap(), [1, 2, 3, 5]);
    }
}
