//! The way of a request to the owner of its slot: here, or passed on once.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use stoker_domain::model::{MemberId, Slot};
use stoker_link::{Channel, name_owner, was_not_sent};
use stoker_proto::place::{Place, Placed};
use stoker_proto::problem::ProblemKind;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};

use super::peers::Peers;
use crate::backoff::Backoff;
use crate::shared::Shared;
use crate::slots::Slots;
use crate::stats::Answered;

/// Said with a request that another core has passed on: it is answered here or not at all.
const PASSED_ON: &str = "stoker-passed-on";
/// For so long an owner is looked for. A crashed one is replaced in less.
const FIND_WITHIN: Duration = Duration::from_secs(12);
/// An owner that says nothing for so long, beyond what it was asked to wait, is not asked on.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// The slot's row may be asked for so long who owns it.
const HEAD_WITHIN: Duration = Duration::from_secs(2);

/// A request that can be asked again.
pub(crate) trait Patient: Clone + Send + 'static {
    /// For how long the answer may wait for something to happen.
    fn patience(&self) -> Duration {
        Duration::ZERO
    }

    /// So long was waited already.
    fn waited(&mut self, _: Duration) {}
}

/// The way to all slots, wherever they are.
#[derive(Clone)]
pub(crate) struct Routes {
    shared: Arc<Shared>,
    slots: Slots,
    /// None: there are no other cores.
    others: Option<Others>,
}

#[derive(Clone)]
struct Others {
    peers: Peers,
    wanted: mpsc::Sender<Slot>,
    /// Who answered last for a slot.
    hints: Arc<Mutex<HashMap<Slot, MemberId>>>,
}

fn is_not_owner(status: &Status) -> bool {
    ProblemKind::said_by_core(status) == Some(ProblemKind::NotOwner)
}

fn nobody(slot: Slot) -> Status {
    ProblemKind::Unavailable.status(format!("slot {slot} has no owner right now, try again"))
}

impl Routes {
    pub(crate) fn new(shared: Arc<Shared>, slots: Slots) -> Self {
        Self { shared, slots, others: None }
    }

    /// There are other cores, too. Slots that nobody seems to own are named to `wanted`.
    pub(crate) fn with_others(self, peers: Peers, wanted: mpsc::Sender<Slot>) -> Self {
        Self { others: Some(Others { peers, wanted, hints: Arc::default() }), ..self }
    }

    /// True when there may be other cores.
    pub(crate) fn has_others(&self) -> bool {
        self.others.is_some()
    }

    /// The other cores that may be alive, and the way to them.
    pub(crate) fn others(&self) -> Vec<(MemberId, Channel)> {
        let Some(others) = &self.others else { return Vec::new() };
        let cores = self.shared.roster.other_cores(&self.shared.member);
        cores.into_iter().map(|(core, address)| (core, others.peers.at(&address))).collect()
    }

    /// True when another core has passed this on.
    pub(crate) fn is_passed_on<T>(request: &Request<T>) -> bool {
        request.metadata().contains_key(PASSED_ON)
    }

    /// A request as it is passed on.
    pub(crate) fn onward<T>(request: T) -> Request<T> {
        let mut request = Request::new(request);
        request.metadata_mut().insert(PASSED_ON, MetadataValue::from_static("1"));
        request
    }

    /// Has a request answered where it says.
    pub(crate) async fn place<Q, A, Here, There>(
        &self,
        request: Request<Q>,
        here: impl Fn(Q) -> Here,
        there: impl Fn(Channel, Request<Q>) -> There,
    ) -> Result<Response<A>, Status>
    where
        Q: Placed + Patient,
        Here: Future<Output = Result<A, Status>>,
        There: Future<Output = Result<Response<A>, Status>>,
    {
        match request.get_ref().place() {
            Place::Anywhere => here(request.into_inner()).await.map(Response::new),
            Place::At(slot) => self.carry(slot, request, here, there).await,
        }
    }

    /// Has a request answered by the owner of its slot. `here` answers it when that is this process, `there` asks
    /// another. Who says "not the owner" has done nothing, so the next one is asked. With the answer goes who the owner
    /// is, so that whoever asks may ask there the next time.
    pub(crate) async fn carry<Q, A, Here, There>(
        &self,
        slot: Slot,
        request: Request<Q>,
        here: impl Fn(Q) -> Here,
        there: impl Fn(Channel, Request<Q>) -> There,
    ) -> Result<Response<A>, Status>
    where
        Q: Patient,
        Here: Future<Output = Result<A, Status>>,
        There: Future<Output = Result<Response<A>, Status>>,
    {
        let passed_on = Self::is_passed_on(&request);
        let mut request = request.into_inner();
        let Some(others) = &self.others else {
            return here(request)
                .await
                .map(Response::new)
                .map_err(|status| if is_not_owner(&status) { nobody(slot) } else { status });
        };
        let mut left = FIND_WITHIN;
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(500));
        let mut by_row = false;
        loop {
            let began = Instant::now();
            if self.slots.epoch(slot).is_some() {
                match here(request.clone()).await {
                    Err(status) if is_not_owner(&status) => {}
                    answer => {
                        let asked_by = if passed_on { Answered::ForAnother } else { Answered::Here };
                        self.shared.stats.answered(asked_by);
                        return self.named(slot, &self.shared.member, answer);
                    }
                }
            }
            if passed_on {
                // Whoever asked may know better by now.
                let _ = others.wanted.try_send(slot);
                return Err(ProblemKind::NotOwner.status(format!("slot {slot} is not owned here")));
            }
            match self.owner(others, slot, by_row).await {
                Some((core, channel)) => {
                    let within = ANSWER_WITHIN + request.patience();
                    match timeout(within, there(channel, Self::onward(request.clone()))).await {
                        Ok(Ok(answer)) => {
                            self.shared.stats.answered(Answered::There);
                            others.hints.lock().insert(slot, core.clone());
                            return self.named(slot, &core, Ok(answer.into_inner()));
                        }
                        Ok(Err(status)) if is_not_owner(&status) || was_not_sent(&status) => {}
                        Ok(Err(status)) => {
                            others.hints.lock().remove(&slot);
                            if ProblemKind::said_by_core(&status).is_some() {
                                self.shared.stats.answered(Answered::There);
                                return self.named(slot, &core, Err(status));
                            }
                            return Err(self.silent(slot, &core, &status));
                        }
                        Err(_) => {
                            others.hints.lock().remove(&slot);
                            let status = Status::deadline_exceeded("no answer in time");
                            return Err(self.silent(slot, &core, &status));
                        }
                    }
                    others.hints.lock().remove(&slot);
                }
                None => _ = others.wanted.try_send(slot),
            }
            by_row = !by_row;
            backoff.pause().await;
            let took = began.elapsed();
            // Waiting for what was asked for is no search.
            left = left.saturating_sub(took.saturating_sub(request.patience()));
            if left.is_zero() {
                return Err(nobody(slot));
            }
            request.waited(took);
        }
    }

    /// An answer, and whose it is. An owner that is in trouble is not named: any core may know a better one by then.
    fn named<A>(
        &self,
        slot: Slot,
        owner: &MemberId,
        answer: Result<A, Status>,
    ) -> Result<Response<A>, Status> {
        let in_trouble = |status: &Status| {
            let kind = ProblemKind::said_by_core(status);
            matches!(kind, None | Some(ProblemKind::Unavailable | ProblemKind::Internal))
        };
        match answer {
            Ok(answer) => {
                let mut response = Response::new(answer);
                if let Some(address) = self.shared.roster.address_of(owner) {
                    name_owner(response.metadata_mut(), slot, &address);
                }
                Ok(response)
            }
            Err(mut status) => {
                if let Some(address) = self.shared.roster.address_of(owner).filter(|_| !in_trouble(&status)) {
                    name_owner(status.metadata_mut(), slot, &address);
                }
                Err(status)
            }
        }
    }

    /// Another core was asked, and what became of the request is not known.
    fn silent(&self, slot: Slot, core: &MemberId, status: &Status) -> Status {
        tracing::warn!(%slot, %core, code = ?status.code(), detail = status.message(), "an owner did not answer");
        ProblemKind::Unavailable
            .status("the core that owns the device's slot did not answer; look whether it was done before trying again")
    }

    /// Who is to be asked: who answered last, else whom the slot falls to, or whom its row names.
    async fn owner(&self, others: &Others, slot: Slot, by_row: bool) -> Option<(MemberId, Channel)> {
        let core = if by_row {
            let head = timeout(HEAD_WITHIN, self.shared.store.head(slot)).await;
            head.ok().and_then(Result::ok).and_then(|head| head.owner)
        } else {
            let hint = others.hints.lock().get(&slot).cloned();
            // Who leaves has it no longer, or soon.
            hint.filter(|core| !self.shared.roster.is_leaving(core))
                .or_else(|| self.shared.roster.likely_owner(slot))
        };
        let core = core.filter(|core| *core != self.shared.member)?;
        let channel = others.peers.at(&self.shared.roster.address_of(&core)?);
        Some((core, channel))
    }
}
