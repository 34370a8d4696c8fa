//! Adapters of the bus port, [`stoker_domain::ports::bus::Bus`].
//!
//! [`InProcessBus`] serves `stoker up`, where all services live in one process; [`RabbitBus`] serves processes of their
//! own. `tests/contract` is the port's promises as functions over any `&dyn Bus`; every adapter runs them.

mod in_process;
// Errors are made when connecting, a few times in a process: their size costs nothing.
#[allow(clippy::result_large_err)]
mod rabbit;

pub use in_process::{InProcessBus, Limits, Snapshot};
pub use rabbit::{
    BrokerUrl, DeadLetter, DeadLetters, LaneSnapshot, Prefix, RabbitBus, RabbitConfig, RabbitDriver,
    RabbitError, RabbitLimits, RabbitSnapshot, Settled, SpanCarrier, TraceCarrier, TraceHeaders, Which,
};
