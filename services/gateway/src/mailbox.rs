//! What others put to a connection: answers from core, orders, the end.

use std::task::{Context, Poll};

use parking_lot::Mutex;
use stoker_domain::model::{EndReason, SessionEpoch};
use stoker_domain::ports::bus::GatewayOrder;
use stoker_protocol::session::{PublishOutcome, PublishToken, ServerReason};

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
    pub(crate) shut: Option<(ServerReason, EndReason)>,
}

impl Mail {
    fn is_empty(&self) -> bool {
        self.answers.is_empty() && self.orders.is_empty() && self.shut.is_none()
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

    /// The end. The first reason stays.
    pub(crate) fn shut(&self, reason: ServerReason, end: EndReason) {
        self.put(|mail| {
            mail.shut.get_or_insert((reason, end));
            true
        });
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

    /// Takes nothing any more; what is left in it.
    pub(crate) fn close(&self) -> Mail {
        let mut inner = self.0.lock();
        inner.closed = true;
        inner.waker = None;
        std::mem::take(&mut inner.mail)
    }
}
