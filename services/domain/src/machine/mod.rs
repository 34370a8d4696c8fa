//! The state of one slot and the one function that changes it.
//!
//! [`SlotMachine::apply`] takes an input and the time, changes the state in memory and says what has to be written and
//! what may be told afterwards. Its shell is the slot's only user: it applies what waits, writes all changes in one
//! conditional commit, and only then lets anybody know. A commit that is refused or unknown ends the machine: the shell
//! drops it and loads a new one, so state in memory that was never written is never told.

mod input;
mod output;

pub use input::{
    AcknowledgeAlarm, CommandReport, CreateCommand, DevicePatch, Input, NewDevice, OpenSession,
    PatchAttributes, SessionReport,
};
pub use output::{
    CommandRefusal, DeviceRefusal, Dispatch, Effect, EventVerdict, NotFound, Output, Reply, SessionGrant,
};
