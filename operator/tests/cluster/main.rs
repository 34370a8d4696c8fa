//! The operator against a real API server, `STOKER_TEST_KUBECONFIG`, with the controllers of Deployments, ReplicaSets
//! and garbage. Nodes are played: pods become ready as soon as they are made, so that what is seen is the operator.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test fails by panicking")]

mod faults;
mod leading;
mod look;
mod nodes;
mod quiet;
mod space;
mod whole;
mod wire;
mod wrong;
