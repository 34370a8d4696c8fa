//! Stories, each in a file of `golden/`: what is planned, step by step, and what is said about it.
//! `STOKER_GOLDEN_WRITE=1` writes the files.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod stories;
#[allow(dead_code, reason = "each test uses a part of it")]
mod support;
