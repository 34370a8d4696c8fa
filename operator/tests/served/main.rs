//! The operator against an API server that is played, in this process: it stores, tells who watches, and refuses what it
//! is told to refuse.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test fails by panicking")]

mod behind;
mod certificates;
mod degraded;
mod refused;
mod server;
mod space;
