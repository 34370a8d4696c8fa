//! Several cores as one: who is alive, who owns which slot, and the way of a request to the owner.

mod closes;
mod deaths;
mod gateways;
pub(crate) mod hearsay;
mod members;
mod owners;
mod peers;
mod routes;

pub use members::Membership;

pub(crate) use closes::{Close, Closes};
pub(crate) use deaths::Deaths;
pub(crate) use gateways::Gateways as LiveGateways;
pub(crate) use members::Roster;
pub(crate) use owners::Owners;
pub(crate) use peers::Peers;
pub(crate) use routes::{Patient, Routes};
