//! What Stoker decides, without any I/O.
//!
//! Three layers, each of which only looks at the ones before it:
//!
//! * [`model`] — the nouns: devices, sessions, events, alarms, commands, subscriptions, notifications;
//! * [`machine`] — the state of one slot and the synchronous `apply(state, input, now)` that changes it;
//! * [`ports`] — what the machine's shell needs from the outside: a store and a bus.
//!
//! This crate has no clock, no randomness and no runtime: time is passed in, ids are derived from slot, epoch and
//! counter. `cargo xtask tidy` keeps it so.

pub mod drain;
pub mod gate;
pub mod machine;
pub mod model;
pub mod ownership;
pub mod pause;
pub mod payload;
pub mod ports;
pub mod settings;

pub use model::*;
pub use settings::Settings;
