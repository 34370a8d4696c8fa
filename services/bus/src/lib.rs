//! Adapters of the bus port, [`stoker_domain::ports::bus::Bus`].
//!
//! [`InProcessBus`] serves `stoker up`, where all services live in one process. `tests/contract` is the port's
//! promises as functions over any `&dyn Bus`; every adapter runs them.

mod in_process;

pub use in_process::{InProcessBus, Limits, Snapshot};
