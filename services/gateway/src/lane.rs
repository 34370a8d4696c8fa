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
pub(crate) struct Lane(VecDeque<Work>);

impl Lane {
    pub(crate) fn put(lane: &mut Option<Box<Self>>, work: impl Future<Output = Done> + Send + 'static) {
        lane.get_or_insert_default().0.push_back(Box::pin(work));
    }

    pub(crate) fn is_full(lane: Option<&Self>) -> bool {
        lane.is_some_and(|lane| lane.0.len() >= WAITING)
    }

    /// The next result. Pending also when there is nothing to do.
    pub(crate) fn poll(lane: &mut Option<Box<Self>>, context: &mut Context<'_>) -> Poll<Done> {
        let Some(work) = lane.as_mut().and_then(|lane| lane.0.front_mut()) else { return Poll::Pending };
        let Poll::Ready(done) = work.as_mut().poll(context) else { return Poll::Pending };
        if let Some(some) = lane {
            some.0.pop_front();
            if some.0.is_empty() {
                *lane = None;
            }
        }
        Poll::Ready(done)
    }

    /// Finishes what waits; its results are of no use any more.
    pub(crate) async fn finish(lane: Option<Box<Self>>) {
        for work in lane.into_iter().flat_map(|lane| lane.0) {
            work.await;
        }
    }
}
