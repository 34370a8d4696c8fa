//! Lists that come from many slots and from history: merged, each item once, one page.

use std::collections::BinaryHeap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use stoker_domain::model::{SLOT_COUNT, Slot};
use stoker_link::Channel;
use stoker_proto::problem::ProblemKind;
use tokio::time::{Instant, timeout};
use tonic::{Request, Response, Status};

use crate::backoff::Backoff;
use crate::cluster::Routes;

/// The greatest page.
pub(crate) const LIMIT_MOST: u32 = 1_000;

/// A core that says nothing for so long is left out; who takes its slots over is asked anew.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// For so long it is tried to hear of all slots.
const COVER_WITHIN: Duration = Duration::from_secs(12);

/// A set of slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Coverage([u8; SLOT_COUNT / 8]);

impl Coverage {
    pub(crate) fn of(slots: impl Iterator<Item = Slot>) -> Self {
        let mut coverage = Self::default();
        for Slot(slot) in slots {
            if let Some(byte) = coverage.0.get_mut(usize::from(slot / 8)) {
                *byte |= 1 << (slot % 8);
            }
        }
        coverage
    }

    pub(crate) fn to_wire(self) -> Vec<u8> {
        self.0.to_vec()
    }

    /// With what another has said. What is missing there is not covered.
    fn add(&mut self, wire: &[u8]) {
        for (byte, of) in self.0.iter_mut().zip(wire) {
            *byte |= of;
        }
    }

    fn missing(&self) -> u32 {
        self.0.iter().map(|byte| byte.count_zeros()).sum()
    }
}

/// Asks this core and all others for what they have of the slots that they own, until all slots are heard of.
pub(crate) async fn everywhere<Q, A, Here, There>(
    routes: &Routes,
    ask: &Q,
    here: impl Fn(Q) -> Here,
    there: impl Fn(Channel, Request<Q>) -> There,
    covered: impl Fn(&A) -> &[u8],
) -> Result<Vec<A>, Status>
where
    Q: Clone,
    Here: Future<Output = Result<A, Status>>,
    There: Future<Output = Result<Response<A>, Status>>,
{
    let began = Instant::now();
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(500));
    loop {
        let mut others: FuturesUnordered<_> = routes
            .others()
            .into_iter()
            .map(|(core, channel)| {
                let answer = timeout(ANSWER_WITHIN, there(channel, Routes::onward(ask.clone())));
                async move { (core, answer.await) }
            })
            .collect();
        let mut answers = vec![here(ask.clone()).await?];
        let mut coverage = Coverage::default();
        answers.iter().for_each(|answer| coverage.add(covered(answer)));
        // Whoever is silent is not waited for once all slots are heard of.
        while coverage.missing() > 0
            && let Some((core, answer)) = others.next().await
        {
            match answer {
                Ok(Ok(answer)) => {
                    let answer = answer.into_inner();
                    coverage.add(covered(&answer));
                    answers.push(answer);
                }
                Ok(Err(status)) => tracing::debug!(%core, %status, "a core could not say what it has"),
                Err(_) => tracing::debug!(%core, "a core did not say in time what it has"),
            }
        }
        match coverage.missing() {
            0 => return Ok(answers),
            missing if !routes.has_others() || began.elapsed() > COVER_WITHIN => {
                return Err(ProblemKind::Unavailable
                    .status(format!("{missing} of {SLOT_COUNT} slots have no owner right now, try again")));
            }
            _ => backoff.pause().await,
        }
    }
}

/// Checks a page size.
pub(crate) fn limit(limit: u32) -> Result<usize, Status> {
    if limit == 0 || limit > LIMIT_MOST {
        return Err(ProblemKind::InvalidRequest.status(format!("limit must be 1 to {LIMIT_MOST}")));
    }
    usize::try_from(limit).map_err(|_| ProblemKind::InvalidRequest.status("limit is out of range"))
}

/// The keys that may still come on a page, while many slots are looked through one after the other: what lies behind a full page
/// need not be copied out of its slot.
#[derive(Debug, Clone)]
pub(crate) struct Least<K>(Arc<Mutex<BinaryHeap<K>>>, usize);

impl<K: Ord + Clone> Least<K> {
    /// A page has so many.
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::default(), most)
    }

    /// Whether this one may come on the page. Of a slot that is looked through in order nothing behind one that may not does.
    pub(crate) fn takes(&self, key: &K) -> bool {
        let mut least = self.0.lock();
        if least.len() < self.1 {
            least.push(key.clone());
            return true;
        }
        match least.peek_mut() {
            Some(mut greatest) if key < &*greatest => {
                *greatest = key.clone();
                true
            }
            _ => false,
        }
    }
}

/// Sorts by `key`, drops what has a key that was there already, and cuts the page. True: there is more.
///
/// Of two items with one key the first given stays: give what is newer first.
pub(crate) fn page<T, K: Ord>(mut items: Vec<T>, limit: usize, key: impl Fn(&T) -> K) -> (Vec<T>, bool) {
    items.sort_by_key(|item| key(item));
    items.dedup_by(|later, earlier| key(later) == key(earlier));
    let more = items.len() > limit;
    items.truncate(limit);
    (items, more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_each_item_once_and_knows_whether_there_is_more() {
        let items = vec![(2, "slot"), (1, "slot"), (2, "history"), (3, "history")];
        assert_eq!(page(items.clone(), 2, |item| item.0), (vec![(1, "slot"), (2, "slot")], true));
        assert_eq!(page(items, 3, |item| item.0), (vec![(1, "slot"), (2, "slot"), (3, "history")], false));
    }

    #[test]
    fn a_page_of_many_slots_is_the_same_with_little_copied() {
        const SLOTS: usize = 256;
        const PAGE: usize = 51;
        // 25,600 keys, each in one slot and in order there.
        let of_slot = |slot: usize| (0..100).map(move |key| (key * SLOTS + slot) * 7_919 % 1_000_003);
        let slots: Vec<Vec<usize>> = (0..SLOTS)
            .map(|slot| {
                let mut keys: Vec<_> = of_slot(slot).collect();
                keys.sort_unstable();
                keys
            })
            .collect();
        let mut all: Vec<usize> = slots.concat();
        all.sort_unstable();
        let least = Least::new(PAGE);
        let looked = slots.iter().map(|keys| keys.iter().take_while(|key| least.takes(key)).copied());
        let mut copied: Vec<usize> = looked.flatten().collect();
        copied.sort_unstable();
        assert_eq!(copied[..PAGE], all[..PAGE]);
        assert!(copied.len() < 10 * PAGE, "{} were copied", copied.len());
    }

    #[test]
    fn what_is_not_heard_of_is_missing() {
        let mut coverage = Coverage::of([Slot(0), Slot(9), Slot(255)].into_iter());
        assert_eq!(coverage.missing(), 253);
        coverage.add(&Coverage::of((0..=127).map(Slot)).to_wire());
        assert_eq!(coverage.missing(), 127);
        coverage.add(&[]);
        coverage.add(&Coverage::of(Slot::all()).to_wire());
        assert_eq!(coverage.missing(), 0);
    }

    #[test]
    fn page_sizes_have_bounds() {
        assert!(limit(0).is_err());
        assert!(limit(1_001).is_err());
        assert_eq!(limit(1_000).ok(), Some(1_000));
    }
}
