//! How many orders are being written down at once: as many as are written down in time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use stoker_domain::gate::{Gate, GateBounds};

use crate::problem::Problem;

/// How long it may take on average until an order is written down; and how many are let in whatever it takes.
const TARGET: Duration = Duration::from_millis(100);
const LEAST: usize = 16;

/// Lets orders in.
#[derive(Debug, Clone)]
pub(crate) struct Orders(Arc<(Mutex<Gate>, Instant)>);

/// An order that was let in.
#[derive(Debug)]
pub(crate) struct Entered {
    orders: Orders,
    since: Instant,
    written: bool,
}

impl Orders {
    /// So many at most.
    pub(crate) fn new(most: usize) -> Self {
        let bounds = GateBounds { target: TARGET, least: LEAST.min(most.max(1)), most: most.max(1) };
        Self(Arc::new((Mutex::new(Gate::new(bounds)), Instant::now())))
    }

    /// Lets one in, or tells it to come again.
    pub(crate) fn enter(&self) -> Result<Entered, Problem> {
        if !self.0.0.lock().enter() {
            return Err(Problem::overloaded("more orders come than can be written down in time; try again"));
        }
        Ok(Entered { orders: self.clone(), since: Instant::now(), written: false })
    }
}

impl Entered {
    /// It was written down.
    pub(crate) fn written(mut self) {
        self.written = true;
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let (gate, began) = &*self.orders.0;
        let now = Instant::now();
        match self.written {
            true => gate.lock().done(now - *began, 1, now - self.since),
            // How long it takes to be refused by core, or to go away, says nothing.
            false => gate.lock().give_up(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_too_many_is_told_so_and_one_that_ends_makes_room_however_it_ends() {
        let orders = Orders::new(2);
        let (first, second) = (orders.enter().unwrap(), orders.enter().unwrap());
        assert_eq!(orders.enter().unwrap_err().status(), 503);
        drop(first);
        let third = orders.enter().unwrap();
        assert!(orders.enter().is_err());
        second.written();
        assert!(orders.enter().is_ok());
        drop(third);
    }
}
