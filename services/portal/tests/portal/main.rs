//! The portal before a core in memory: shapes, refusals and pages.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what tests share fails a test as tests do"
)]

mod console;
mod devices;
mod everything_else;
mod fake;
mod harness;
mod import;
mod pages;
mod refusals;
mod serving;
