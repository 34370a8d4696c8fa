//! Tells which of the confirmed messages was returned.
//!
//! A broker confirms a message that it could route nowhere as well; before that, it returns it. The client library
//! hands a returned message to whichever confirmation is resolved next, and of a confirmation for many messages at
//! once it resolves them in no order. So the message that a confirmation carries says by its own id whom it is about,
//! and nobody is told "confirmed" before it is sure that no return for them is still to be seen.

use std::collections::HashSet;

/// How the broker answered a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Confirmed,
    /// It has not taken it: a queue is full.
    Refused,
    /// Nobody has a queue for it.
    Returned,
}

#[derive(Debug, Clone, Copy)]
struct Resolved {
    id: u64,
    acknowledged: bool,
    /// Its confirmation carried a return, and not its own: its own may have waited behind that.
    carried: bool,
}

impl Resolved {
    fn answer(self) -> (u64, Answer) {
        (self.id, if self.acknowledged { Answer::Confirmed } else { Answer::Refused })
    }
}

/// What is known of the messages of one channel. Its bound is that of the messages under way.
#[derive(Debug, Default)]
pub(super) struct Settlement {
    returned: HashSet<u64>,
    fresh: Vec<Resolved>,
    /// Told in earlier calls of `decide`, and not sure yet.
    kept: Vec<Resolved>,
}

impl Settlement {
    /// A confirmation was resolved; `carried` is the id of the returned message that came with it.
    pub(super) fn resolved(&mut self, id: u64, acknowledged: bool, carried: Option<u64>) {
        self.returned.extend(carried);
        self.fresh.push(Resolved { id, acknowledged, carried: carried.is_some() });
    }

    /// To be called when every confirmation that is resolved by now has been told; `idle`: none is outstanding.
    /// Gives the answers that are sure.
    ///
    /// A confirmation that carries nothing was resolved when no return was waiting: all that had come by then were
    /// carried by confirmations resolved earlier, and those have been told. That makes it sure, and all that was told
    /// in calls before this one.
    pub(super) fn decide(&mut self, idle: bool) -> Vec<(u64, Answer)> {
        let nothing_waited = idle || self.fresh.iter().any(|it| !it.carried);
        let mut answers = Vec::with_capacity(self.fresh.len());
        let (returned, mut unsure) = (&mut self.returned, Vec::new());
        let kept = self.kept.drain(..).map(|it| (it, nothing_waited));
        let fresh = self.fresh.drain(..).map(|it| (it, idle || !it.carried));
        for (it, sure) in kept.chain(fresh) {
            if returned.remove(&it.id) {
                answers.push((it.id, Answer::Returned));
            } else if sure {
                answers.push(it.answer());
            } else {
                unsure.push(it);
            }
        }
        self.kept = unsure;
        answers
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

    use proptest::prelude::*;

    use super::*;

    /// What a broker and the client library do to the messages of one channel.
    #[derive(Debug, Clone)]
    enum Step {
        /// A message is published; nobody may have a queue for it, or its queue be full.
        Publish { returned: bool, refused: bool },
        /// The broker confirms so many of those published, the library taking them up in an order of its own.
        Confirm { count: usize, shuffle: u64 },
        /// The library resolves so many of those.
        Resolve(usize),
        /// We look.
        Look { shuffle: u64 },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (any::<bool>(), any::<bool>()).prop_map(|(returned, refused)| Step::Publish { returned, refused }),
            2 => (1..6_usize, any::<u64>()).prop_map(|(count, shuffle)| Step::Confirm { count, shuffle }),
            3 => (1..4_usize).prop_map(Step::Resolve),
            2 => any::<u64>().prop_map(|shuffle| Step::Look { shuffle }),
        ]
    }

    /// Any order, of those that there are.
    fn shuffled<T>(mut items: Vec<T>, mut seed: u64) -> Vec<T> {
        let mut out = Vec::new();
        while !items.is_empty() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = usize::try_from(seed >> 33).unwrap() % items.len();
            out.push(items.swap_remove(at));
        }
        out
    }

    #[derive(Default)]
    struct Channel {
        truth: BTreeMap<u64, Answer>,
        outstanding: Vec<u64>,
        /// Returned messages that no confirmation has carried yet: of all that a broker has confirmed or is about to.
        waiting: VecDeque<u64>,
        resolving: VecDeque<u64>,
        resolved: Vec<(u64, bool, Option<u64>)>,
        told: BTreeMap<u64, Answer>,
    }

    impl Channel {
        fn confirm(&mut self, count: usize, shuffle: u64) {
            let count = count.min(self.outstanding.len());
            let batch: Vec<u64> = self.outstanding.drain(..count).collect();
            self.waiting.extend(batch.iter().filter(|id| self.truth[id] == Answer::Returned));
            self.resolving.extend(shuffled(batch, shuffle));
        }

        fn resolve(&mut self, count: usize) {
            for id in self.resolving.drain(..count.min(self.resolving.len())) {
                let carried = self.waiting.pop_front();
                self.resolved.push((id, self.truth[&id] != Answer::Refused, carried));
            }
        }

        fn look(&mut self, settlement: &mut Settlement, shuffle: u64) {
            for (id, acknowledged, carried) in shuffled(std::mem::take(&mut self.resolved), shuffle) {
                settlement.resolved(id, acknowledged, carried);
            }
            let idle = self.outstanding.is_empty() && self.resolving.is_empty();
            for (id, answer) in settlement.decide(idle) {
                assert_eq!(self.told.insert(id, answer), None, "{id} is answered once");
            }
        }
    }

    proptest! {
        #[test]
        fn everybody_is_told_the_truth_once(steps in prop::collection::vec(step(), 1..60)) {
            let (mut channel, mut settlement, mut next) = (Channel::default(), Settlement::default(), 0);
            for step in steps {
                match step {
                    Step::Publish { returned, refused } => {
                        let answer = match (returned, refused) {
                            (true, _) => Answer::Returned,
                            (false, true) => Answer::Refused,
                            (false, false) => Answer::Confirmed,
                        };
                        channel.truth.insert(next, answer);
                        channel.outstanding.push(next);
                        next += 1;
                    }
                    Step::Confirm { count, shuffle } => channel.confirm(count, shuffle),
                    Step::Resolve(count) => channel.resolve(count),
                    Step::Look { shuffle } => channel.look(&mut settlement, shuffle),
                }
            }
            channel.confirm(usize::MAX, 7);
            channel.resolve(usize::MAX);
            channel.look(&mut settlement, 7);
            prop_assert_eq!(&channel.told, &channel.truth);
            prop_assert!(settlement.kept.is_empty() && settlement.returned.is_empty());
        }
    }

    #[test]
    fn a_return_that_came_with_another_confirmation_is_told_to_its_own() {
        let mut settlement = Settlement::default();
        settlement.resolved(2, true, Some(1));
        settlement.resolved(1, true, None);
        let mut answers = settlement.decide(false);
        answers.sort_by_key(|(id, _)| *id);
        assert_eq!(answers, [(1, Answer::Returned)], "whether 2 comes back as well is not known yet");
        settlement.resolved(3, true, None);
        assert_eq!(settlement.decide(false), [(2, Answer::Confirmed), (3, Answer::Confirmed)]);
    }
}
