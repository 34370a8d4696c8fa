//! Who waits for the end of a command.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use stoker_domain::model::{Command, CommandId, Slot};
use tokio::sync::oneshot;

/// Requests that may wait at once. More get the command as it stands, without waiting.
const MOST: usize = 10_000;

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    count: usize,
    by_command: HashMap<CommandId, Vec<(u64, oneshot::Sender<Command>)>>,
}

/// All who wait.
#[derive(Debug, Clone, Default)]
pub(crate) struct CommandWaiters(Arc<Mutex<Inner>>);

/// A place in the queue; leaves it when dropped.
#[derive(Debug)]
pub(crate) struct Waiter {
    waiters: CommandWaiters,
    command: CommandId,
    number: u64,
    pub(crate) ended: oneshot::Receiver<Command>,
}

impl CommandWaiters {
    /// Waits from now on: register first, look at the state afterwards, so that no end falls between.
    pub(crate) fn wait(&self, command: CommandId) -> Option<Waiter> {
        let mut inner = self.0.lock();
        if inner.count >= MOST {
            return None;
        }
        let (sender, ended) = oneshot::channel();
        let number = inner.next;
        inner.next += 1;
        inner.count += 1;
        inner.by_command.entry(command).or_default().push((number, sender));
        Some(Waiter { waiters: self.clone(), command, number, ended })
    }

    /// The command has ended, and that is committed.
    pub(crate) fn ended(&self, command: &Command) {
        let waiting = {
            let mut inner = self.0.lock();
            let waiting = inner.by_command.remove(&command.id).unwrap_or_default();
            inner.count -= waiting.len();
            waiting
        };
        for (_, sender) in waiting {
            // It may have stopped waiting.
            let _ = sender.send(command.clone());
        }
    }

    /// The slot is not this process's any more: whoever waits for one of its commands has to ask elsewhere.
    pub(crate) fn lost(&self, slot: Slot) {
        let mut inner = self.0.lock();
        let mut gone = 0;
        inner.by_command.retain(|command, waiting| {
            let keep = command.slot() != slot;
            gone += if keep { 0 } else { waiting.len() };
            keep
        });
        inner.count -= gone;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut inner = self.waiters.0.lock();
        let Some(waiting) = inner.by_command.get_mut(&self.command) else { return };
        let before = waiting.len();
        waiting.retain(|(number, _)| *number != self.number);
        let gone = before - waiting.len();
        if waiting.is_empty() {
            inner.by_command.remove(&self.command);
        }
        inner.count -= gone;
    }
}
