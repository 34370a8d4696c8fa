//! What is promised of the owners of slots, over all interleavings of the steps of a few processes: joins, leaves,
//! crashes, stalls, cuts from the store, answers that are slow or lost, requests that arrive long after they were given
//! up, leftover rows of the dead, clocks of different speed.
//!
//! * Never two owners that could both write; whoever was replaced drops the slot at its next refused commit
//!   (`promises.rs`, `process.rs`).
//! * Epochs only grow, and have one owner each (`promises.rs`).
//! * A slot is released only after what it holds is finished, and nobody takes it over meanwhile: in a world without
//!   faults no commit is ever refused ([`step::Setup::is_kind`]).
//! * A live process is deprived of nothing (`promises.rs`); one that ends in order leaves no row that names it.
//! * Once nothing fails any more, every slot is soon served by the process to which it falls, after a bounded number of
//!   take-overs, and then nothing moves (`calm.rs`).
//!
//! The processes are real machines behind a small shell (`process.rs`); store, time and faults are modelled. Each promise
//! was seen to be broken with its guard taken out: `tests/mutants`.
//!
//! `STOKER_OWNERSHIP_TICKS` and `STOKER_OWNERSHIP_FAULTS` are added to the ticks and faults of each exploration,
//! `STOKER_HISTORIES` is the number of random histories. One more of either takes about ten times as long.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(unreachable_pub)]

mod calm;
mod exhaustive;
mod few;
mod process;
mod promises;
mod random;
mod step;
mod store;
mod world;
