//! Core as gateways, portals and devices meet it: over gRPC and MQTT, with the embedded store on a real disk.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod abandoned;
mod attributes;
mod callers;
mod closing;
mod cluster;
mod commands;
mod device;
mod draining;
mod eventually;
mod faulty;
mod hanging_up;
mod moving;
mod owners;
mod platform;
mod readings;
mod refusing;
mod removal;
mod sessions;
mod several;
mod test_message;
mod tokens;
mod weight;
