//! Slots in this process: one task each, which is the only user of that slot's machine.

mod actor;
mod effects;
mod removals;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use stoker_domain::gate::GateBounds;
use stoker_domain::machine::{Input, Reply, SlotMachine};
use stoker_domain::{Millis, SLOT_COUNT, Slot, SlotEpoch};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub(crate) use actor::{SlotActor, SlotLost};

/// Requests that may wait for one slot. At the bound new ones are refused: the slot is overloaded, and work that was
/// taken is not to be slowed by work that was not.
const MAILBOX: usize = 1024;

/// Slots commit in turns: what waits for one shares its slot's next commit, and leaves the database to the readings. How long
/// a commit may take on average, how many slots commit at once whatever it takes, and how many at most: all of them.
pub(crate) const COMMITS: GateBounds =
    GateBounds { target: Duration::from_millis(100), least: 8, most: SLOT_COUNT };

/// Why a slot did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SlotError {
    /// Too many requests wait already.
    #[error("the slot is overloaded, try again")]
    Overloaded,
    /// The slot is being taken over, or the process ends.
    #[error("the slot has no owner right now, try again")]
    NoOwner,
    /// The store did not say whether it has written what was asked.
    #[error("it is not known whether it was stored, look before trying again")]
    Unknown,
}

/// A look at the committed state.
pub(crate) type Look = Box<dyn FnOnce(&SlotMachine) + Send>;

/// What waits for a slot.
pub(crate) enum Message {
    /// Change the state.
    Apply {
        input: Box<Input>,
        reply: oneshot::Sender<Result<Reply, SlotError>>,
        /// Set once nobody wants it any more: beside `reply`, behind which somebody may wait to undo it.
        unwanted: Option<CancellationToken>,
        /// What it is asked in.
        cause: tracing::Span,
    },
    /// Look at the committed state.
    Query(Look),
}

/// A slot that this process owns.
struct Place {
    mailbox: mpsc::Sender<Message>,
    epoch: SlotEpoch,
    /// When it was taken over.
    since: Millis,
}

/// The way to the slots that this process owns.
#[derive(Clone)]
pub(crate) struct Slots {
    places: Arc<RwLock<Vec<Option<Place>>>>,
}

impl std::fmt::Debug for Slots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Slots").field(&self.owned()).finish()
    }
}

impl Slots {
    /// None is owned yet.
    pub(crate) fn new() -> Self {
        let places = (0..SLOT_COUNT).map(|_| None).collect();
        Self { places: Arc::new(RwLock::new(places)) }
    }

    /// The slot is owned from now on; what is sent to it comes out at the other end.
    pub(crate) fn open(&self, slot: Slot, epoch: SlotEpoch, now: Millis) -> mpsc::Receiver<Message> {
        let (mailbox, end) = mpsc::channel(MAILBOX);
        if let Some(place) = self.places.write().get_mut(usize::from(slot.0)) {
            *place = Some(Place { mailbox, epoch, since: now });
        }
        end
    }

    /// The slot takes nothing more; what was sent to it is still worked off.
    pub(crate) fn close(&self, slot: Slot) {
        if let Some(place) = self.places.write().get_mut(usize::from(slot.0)) {
            *place = None;
        }
    }

    /// The slots that this process owns, and their epochs.
    pub(crate) fn owned(&self) -> Vec<(Slot, SlotEpoch)> {
        let places = self.places.read();
        Slot::all()
            .zip(places.iter())
            .filter_map(|(slot, place)| Some((slot, place.as_ref()?.epoch)))
            .collect()
    }

    /// Requests that wait for the slots of this process.
    pub(crate) fn waiting(&self) -> usize {
        let places = self.places.read();
        places.iter().flatten().map(|place| place.mailbox.max_capacity() - place.mailbox.capacity()).sum()
    }

    /// In which epoch this process owns the slot.
    pub(crate) fn epoch(&self, slot: Slot) -> Option<SlotEpoch> {
        Some(self.places.read().get(usize::from(slot.0))?.as_ref()?.epoch)
    }

    /// Since when this process owns the slot.
    pub(crate) fn since(&self, slot: Slot) -> Option<Millis> {
        Some(self.places.read().get(usize::from(slot.0))?.as_ref()?.since)
    }

    fn send(&self, slot: Slot, message: Message) -> Result<(), SlotError> {
        let places = self.places.read();
        let place = places.get(usize::from(slot.0)).and_then(Option::as_ref).ok_or(SlotError::NoOwner)?;
        place.mailbox.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SlotError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => SlotError::NoOwner,
        })
    }

    /// Applies an input; answers when what it changed is committed. Whoever stops waiting before its turn has come has asked
    /// for nothing.
    pub(crate) async fn apply(&self, slot: Slot, input: Input) -> Result<Reply, SlotError> {
        self.apply_unless(slot, input, None).await
    }

    /// The same; also nothing is done once it is unwanted.
    pub(crate) async fn apply_unless(
        &self,
        slot: Slot,
        input: Input,
        unwanted: Option<CancellationToken>,
    ) -> Result<Reply, SlotError> {
        let (reply, answer) = oneshot::channel();
        let (input, cause) = (Box::new(input), tracing::Span::current());
        self.send(slot, Message::Apply { input, reply, unwanted, cause })?;
        // Without a word: it may have been written all the same.
        answer.await.unwrap_or(Err(SlotError::Unknown))
    }

    /// Looks at the committed state of one slot.
    pub(crate) async fn query<T: Send + 'static>(
        &self,
        slot: Slot,
        look: impl FnOnce(&SlotMachine) -> T + Send + 'static,
    ) -> Result<T, SlotError> {
        let (reply, answer) = oneshot::channel();
        let look = Box::new(move |machine: &SlotMachine| {
            // Nobody waits any more: nothing to be told.
            let _ = reply.send(look(machine));
        });
        self.send(slot, Message::Query(look))?;
        answer.await.map_err(|_| SlotError::NoOwner)
    }

    /// Looks at the committed state of every slot that this process owns, all at once in time. One that is lost meanwhile
    /// is not among the answers.
    pub(crate) async fn query_owned<T: Send + 'static>(
        &self,
        look: impl Fn(&SlotMachine) -> T + Clone + Send + 'static,
    ) -> Result<Vec<(Slot, T)>, SlotError> {
        let answers = self.owned().into_iter().map(|(slot, _)| {
            let look = look.clone();
            async move {
                match self.query(slot, move |machine| look(machine)).await {
                    Ok(answer) => Ok(Some((slot, answer))),
                    Err(SlotError::NoOwner) => Ok(None),
                    Err(error) => Err(error),
                }
            }
        });
        Ok(futures_util::future::try_join_all(answers).await?.into_iter().flatten().collect())
    }
}
