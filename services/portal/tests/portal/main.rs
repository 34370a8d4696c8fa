//! The portal before a core in memory: shapes, refusals and pages.

mod devices;
mod everything_else;
mod fake;
mod harness;
mod import;
mod refusals;
