//! Work of one connection that takes time. What a device said first is done first, unless it is of no account which is.

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

/// How work is done.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct How {
    /// The device waits for an answer, and without one says it again.
    pub(crate) awaited: bool,
    /// At once with its neighbours that may be, too. Otherwise it begins when all before it has ended, and all behind it waits.
    pub(crate) beside: bool,
}

struct Waiting {
    work: Work,
    how: How,
}

impl Done {
    /// The device will say it again, on another connection.
    fn is_to_come_again(&self) -> bool {
        matches!(self.answer, Some((_, PublishOutcome::StoreUnavailable)))
    }
}

impl Lane {
    /// Puts work behind all that waits.
    pub(crate) fn put(
        lane: &mut Option<Box<Self>>,
        how: How,
        work: impl Future<Output = Done> + Send + 'static,
    ) {
        lane.get_or_insert_default().0.push_back(Waiting { work: Box::pin(work), how });
    }

    /// What was said behind something that is to come again comes again behind it. Done now it would overtake: a fault
    /// would be raised after it was cleared, and the second clearing, being the same one, would count for nothing.
    fn keep_order(&mut self, done: &Done) {
        if done.is_to_come_again() {
            self.0.retain(|Waiting { how, .. }| how.beside || !how.awaited);
        }
    }

    pub(crate) fn is_full(lane: Option<&Self>) -> bool {
        lane.is_some_and(|lane| lane.0.len() >= WAITING)
    }

    /// The next result. Pending also when there is nothing to do.
    pub(crate) fn poll(lane: &mut Option<Box<Self>>, context: &mut Context<'_>) -> Poll<Done> {
        let Some(some) = lane else { return Poll::Pending };
        let Some((position, done)) = some.poll_first(context) else { return Poll::Pending };
        some.0.remove(position);
        some.keep_order(&done);
        if some.0.is_empty() {
            *lane = None;
        }
        Poll::Ready(done)
    }

    /// The first that has come to something, of those that may be under way.
    fn poll_first(&mut self, context: &mut Context<'_>) -> Option<(usize, Done)> {
        for (position, Waiting { work, how }) in self.0.iter_mut().enumerate() {
            if position > 0 && !how.beside {
                return None;
            }
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Some((position, done));
            }
            if !how.beside {
                return None;
            }
        }
        None
    }

    /// Finishes what waits; its results are of no use any more.
    pub(crate) async fn finish(mut lane: Option<Box<Self>>) {
        while lane.is_some() {
            std::future::poll_fn(|context| Self::poll(&mut lane, context)).await;
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
        beside: bool,
    ) {
        let seen = seen.clone();
        let answer = answer.map(|outcome| (PublishToken::default(), outcome));
        Lane::put(lane, How { awaited: answer.is_some(), beside }, async move {
            seen.lock().unwrap().push(number);
            Done { answer, delivery: None }
        });
    }

    fn lane(seen: &Arc<Mutex<Vec<u8>>>) -> Option<Box<Lane>> {
        use PublishOutcome::{PayloadInvalid, StoreUnavailable, Stored};
        let mut lane = None;
        put(&mut lane, seen, 1, Some(Stored), false);
        put(&mut lane, seen, 2, Some(PayloadInvalid), false);
        put(&mut lane, seen, 3, Some(StoreUnavailable), false);
        put(&mut lane, seen, 4, Some(Stored), false);
        put(&mut lane, seen, 5, None, false);
        // It is of no account whether it is done before or after.
        put(&mut lane, seen, 6, Some(Stored), true);
        lane
    }

    #[tokio::test]
    async fn nothing_overtakes_what_is_to_come_again() {
        let seen = Arc::default();
        let mut working = lane(&seen);
        for _ in 0..5 {
            std::future::poll_fn(|context| Lane::poll(&mut working, context)).await;
        }
        assert!(working.is_none());
        assert_eq!(*seen.lock().unwrap(), [1, 2, 3, 5, 6]);
    }

    #[tokio::test]
    async fn nor_does_it_when_the_connection_is_over() {
        let seen = Arc::default();
        Lane::finish(lane(&seen)).await;
        assert_eq!(*seen.lock().unwrap(), [1, 2, 3, 5, 6]);
    }

    #[tokio::test]
    async fn what_may_be_done_beside_others_does_not_wait_for_them() {
        let seen: Arc<Mutex<Vec<u8>>> = Arc::default();
        let (mut lane, mut opens) = (None, Vec::new());
        for (number, beside) in [(1, true), (2, true), (3, false), (4, true), (5, true)] {
            let (open, opened) = tokio::sync::oneshot::channel::<()>();
            opens.push(Some(open));
            let seen = seen.clone();
            Lane::put(&mut lane, How { awaited: false, beside }, async move {
                opened.await.unwrap();
                seen.lock().unwrap().push(number);
                Done::default()
            });
        }
        let mut context = Context::from_waker(std::task::Waker::noop());
        // Whichever may be under way goes on as soon as it can; the third holds up those behind it.
        for (open, after) in [(4, None), (1, Some(2)), (3, None), (0, Some(1)), (2, Some(3))] {
            opens[open].take().unwrap().send(()).unwrap();
            assert_eq!(Lane::poll(&mut lane, &mut context).is_ready(), after.is_some());
            let seen = seen.lock().unwrap();
            assert!(after.is_none() || seen.last().copied() == after);
        }
        Lane::finish(lane).await;
        assert_eq!(*seen.lock().unwrap(), [2, 1, 3, 4, 5]);
    }
}
