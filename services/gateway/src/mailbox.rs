//! What others put to a connection: answers from core, orders, the end.

use std::task::{Context, Poll};

use parking_lot::Mutex;
use stoker_domain::machine::HeldSession;
use stoker_domain::model::{CommandId, EndReason, SessionEpoch};
use stoker_domain::ports::bus::GatewayOrder;
use stoker_protocol::session::{PublishOutcome, PublishToken, ServerReason};
use tokio::sync::mpsc;

/// Orders that may wait for one connection. A device whose connection does not move takes no more of them.
const ORDERS_MOST: usize = 128;

/// Something for the session of that epoch.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) session: SessionEpoch,
    pub(crate) order: GatewayOrder,
}

/// What has come. Answers are bounded by what the connection may have unanswered.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    pub(crate) answers: Vec<(PublishToken, PublishOutcome)>,
    pub(crate) orders: Vec<Order>,
    /// Commands that were taken out of the mailbox before and are not to be written any more.
    pub(crate) withdrawn: Vec<CommandId>,
    /// Who wants to know of the session.
    pub(crate) asks: Option<Box<mpsc::Sender<HeldSession>>>,
    pub(crate) shut: Option<(ServerReason, EndReason)>,
    /// It is to end once what is under way is answered.
    pub(crate) leave: bool,
}

impl Mail {
    fn is_empty(&self) -> bool {
        self.answers.is_empty()
            && self.orders.is_empty()
            && self.withdrawn.is_empty()
            && self.asks.is_none()
            && self.shut.is_none()
            && !self.leave
    }
}

#[derive(Debug, Default)]
struct Inner {
    mail: Mail,
    waker: Option<std::task::Waker>,
    closed: bool,
}

/// A connection's mailbox.
#[derive(Debug, Default)]
pub(crate) struct Mailbox(Mutex<Inner>);

impl Mailbox {
    fn put(&self, put: impl FnOnce(&mut Mail) -> bool) -> bool {
        let mut inner = self.0.lock();
        if inner.closed || !put(&mut inner.mail) {
            return false;
        }
        let waker = inner.waker.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// The outcome of a publish.
    pub(crate) fn answer(&self, token: PublishToken, outcome: PublishOutcome) {
        self.put(|mail| {
            mail.answers.push((token, outcome));
            true
        });
    }

    /// An order. False: the connection is gone or takes no more.
    pub(crate) fn order(&self, order: Order) -> bool {
        self.put(|mail| {
            let room = mail.orders.len() < ORDERS_MOST;
            if room {
                mail.orders.push(order);
            }
            room
        })
    }

    /// A command is not to be written any more. True: it was still here, and nobody will ever see it.
    pub(crate) fn withdraw(&self, id: CommandId) -> bool {
        let mut here = false;
        self.put(|mail| {
            let before = mail.orders.len();
            mail.orders
                .retain(|order| !matches!(order.order, GatewayOrder::Command { id: of, .. } if of == id));
            here = mail.orders.len() < before;
            // At the bound it stays where it is, and is dropped there when its time is over.
            if !here && mail.withdrawn.len() < ORDERS_MOST {
                mail.withdrawn.push(id);
            }
            true
        });
        here
    }

    /// Somebody wants to know of the session.
    pub(crate) fn tell(&self, whom: mpsc::Sender<HeldSession>) {
        self.put(|mail| {
            mail.asks = Some(Box::new(whom));
            true
        });
    }

    /// The end. The first reason stays.
    pub(crate) fn shut(&self, reason: ServerReason, end: EndReason) {
        self.put(|mail| {
            mail.shut.get_or_insert((reason, end));
            true
        });
    }

    /// The end, once what is under way is answered. False: the connection is gone.
    pub(crate) fn leave(&self) -> bool {
        self.put(|mail| {
            mail.leave = true;
            true
        })
    }

    /// All that has come, or a wake-up when something does.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<Mail> {
        let mut inner = self.0.lock();
        if inner.mail.is_empty() {
            match &mut inner.waker {
                Some(waker) => waker.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
            return Poll::Pending;
        }
        Poll::Ready(std::mem::take(&mut inner.mail))
    }

    /// Whether the connection has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.lock().closed
    }

    /// Takes nothing any more; what is left in it.
    pub(crate) fn close(&self) -> Mail {
        let mut inner = self.0.lock();
        inner.closed = true;
        inner.waker = None;
        std::mem::take(&mut inner.mail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stoker_domain::model::{MintedId, Slot, SlotEpoch};

    fn id(counter: u64) -> CommandId {
        CommandId(MintedId { slot: Slot(1), epoch: SlotEpoch(1), counter })
    }

    fn command(counter: u64) -> Order {
        let (method, params) = (String::new(), String::new());
        let order = GatewayOrder::Command { id: id(counter), number: counter, method, params, expires_at: 0 };
        Order { session: SessionEpoch::default(), order }
    }

    #[test]
    fn a_command_is_taken_out_while_it_is_here_and_named_once_it_is_not() {
        let mailbox = Mailbox::default();
        assert!(mailbox.order(command(1)) && mailbox.order(command(2)));
        assert!(mailbox.withdraw(id(1)));
        assert!(!mailbox.withdraw(id(3)), "the connection has it");
        let mail = mailbox.close();
        assert_eq!((mail.orders.len(), mail.withdrawn), (1, vec![id(3)]));
        assert!(!mailbox.withdraw(id(2)), "closed");
    }

    #[test]
    fn what_is_not_here_is_named_so_often_and_no_more() {
        let mailbox = Mailbox::default();
        for counter in 0..1_000 {
            assert!(!mailbox.withdraw(id(counter)));
        }
        assert_eq!(mailbox.close().withdrawn.len(), ORDERS_MOST);
    }
}
