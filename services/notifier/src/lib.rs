//! Delivers notifications, attempt by attempt.
//!
//! A notifier keeps nothing: it takes an attempt from the bus, carries it out, tells core how it went, and only then
//! acknowledges it to the bus. Whatever happens in between, the attempt comes again, to this notifier or another, with
//! the same idempotency key. When to try again is core's to decide; a notifier has no timers of its own.
//!
//! The way of one attempt:
//!
//! 1. [`Notifier::run`] takes it while it holds fewer than [`NotifierLimits::prefetch`];
//! 2. it takes a seat in the lane of its channel, and waits for its host's turn there. Each lane has its own seats, and
//!    within a lane each host has its own share, so that a recipient that hangs delays nobody else. An attempt that
//!    finds no seat is not kept waiting, because what it would block belongs to others: it is reported as to be
//!    retried, and waits where waiting is durable, among the due-times in its slot's table;
//! 3. the channel delivers it: a mail over SMTP, or a signed POST;
//! 4. the result is reported to core until core has stored it, and the bus is told.

mod config;
mod email;
mod lanes;
mod outcome;
mod report;
mod run;
mod stats;
#[cfg(test)]
mod testing;
mod text;
mod webhook;

pub use config::{Clock, EmailConfig, LaneLimits, NotifierConfig, NotifierLimits, system_clock};
pub use email::send_mail;
pub use run::{Notifier, NotifierError, run};
pub use stats::{ChannelSnapshot, LATENCY_BOUNDS_MS, LatencySnapshot, NotifierSnapshot, NotifierStats};
