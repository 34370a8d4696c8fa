//! What the shells need from outside. Each port has two adapters that keep the same promises.

pub mod bus;
pub mod store;
mod weight;
