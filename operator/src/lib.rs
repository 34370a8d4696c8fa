//! Makes platforms of Stoker's custom resources. What is to be done is decided by `stoker-plan`, from what is wished and
//! what there is; here it is watched ([`watch`]), put into facts ([`facts`]), and done ([`act`]), by whoever leads
//! ([`leader`]), namespace by namespace ([`reconcile`]).

#![allow(rustdoc::private_intra_doc_links, reason = "the modules are the map for whoever changes them")]

mod act;
mod backoff;
mod certificates;
mod check;
mod due;
mod facts;
mod failure;
mod flags;
mod leader;
mod ours;
mod queue;
mod reconcile;
mod run;
mod sample;
mod stats;
mod watch;

pub use check::check;
pub use flags::Flags;
pub use leader::Lease;
pub use run::{Settings, run};
pub use sample::Sampling;
