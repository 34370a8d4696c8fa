//! Slots in this process: one task each, which is the only user of that slot's machine.

mod actor;
mod effects;

use std::sync::Arc;

use stoker_domain::machine::{Input, Reply, SlotMachine};
use stoker_domain::{SLOT_COUNT, Slot};
use tokio::sync::{mpsc, oneshot};

pub(crate) use actor::{SlotActor, SlotLost};

/// Requests that may wait for one slot. At the bound new ones are refused: the slot is overloaded, and work that was
/// taken is not to be slowed by work that was not.
const MAILBOX: usize = 1024;

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
    Apply { input: Box<Input>, reply: oneshot::Sender<Result<Reply, SlotError>> },
    /// Look at the committed state.
    Query(Look),
}

/// The way to all slots.
#[derive(Clone)]
pub(crate) struct Slots {
    mailboxes: Arc<Vec<mpsc::Sender<Message>>>,
}

impl Slots {
    /// Mailboxes for all slots, and their other ends in the order of the slots.
    pub(crate) fn new() -> (Self, Vec<mpsc::Receiver<Message>>) {
        let (mailboxes, ends) = (0..SLOT_COUNT).map(|_| mpsc::channel(MAILBOX)).unzip();
        (Self { mailboxes: Arc::new(mailboxes) }, ends)
    }

    fn send(&self, slot: Slot, message: Message) -> Result<(), SlotError> {
        let mailbox = self.mailboxes.get(usize::from(slot.0)).ok_or(SlotError::NoOwner)?;
        mailbox.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SlotError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => SlotError::NoOwner,
        })
    }

    /// Applies an input; answers when what it changed is committed.
    pub(crate) async fn apply(&self, slot: Slot, input: Input) -> Result<Reply, SlotError> {
        let (reply, answer) = oneshot::channel();
        self.send(slot, Message::Apply { input: Box::new(input), reply })?;
        answer.await.unwrap_or(Err(SlotError::NoOwner))
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

    /// Looks at the committed state of every slot, one after the other in the result, all at once in time.
    pub(crate) async fn query_all<T: Send + 'static>(
        &self,
        look: impl Fn(&SlotMachine) -> T + Clone + Send + 'static,
    ) -> Result<Vec<T>, SlotError> {
        let answers = Slot::all().map(|slot| {
            let look = look.clone();
            self.query(slot, move |machine| look(machine))
        });
        futures_util::future::try_join_all(answers).await
    }
}
