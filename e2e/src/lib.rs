//! Tests of the platform from outside: the real binary, over its public interface, with clients that nobody here
//! wrote. This library is what the tests stand on; the tests are in `tests/`, the foreign clients in `clients/`.
//!
//! [`Platform`] is `stoker up`, or with `STOKER_E2E_PLATFORM=several` a fleet behind HAProxy over the Cassandra and RabbitMQ of
//! a lab; the tests are the same.
//!
//! Every test has its own processes, data directory or keyspace, and ports, and leaves none behind. What it decides, it decides by
//! counts and order; a time is only ever a deadline for a condition.

mod api;
mod browser;
mod cli;
mod devices;
mod driver;
mod feed;
mod haproxy;
mod kubernetes;
mod lab;
mod leftovers;
mod metrics;
mod network;
mod otlp;
mod platform;
mod ports;
mod raw;
mod refused;
mod relay;
mod schemathesis;
mod services;
mod smtp;
mod tls;
mod wait;
mod webhook;
mod websocket;

pub use api::{Answer, Api};
pub use browser::{Browser, Find, View};
pub use cli::{Cli, Help, Ran};
pub use devices::{Connack, Connect, Device, Down, Will};
pub use driver::{Clients, Foreign};
pub use feed::Listener;
pub use haproxy::{Front, HaProxy};
pub use kubernetes::{Cluster, Namespace};
pub use lab::Lab;
pub use leftovers::Broker;
pub use metrics::Metrics;
pub use network::{Loss, Network, Way};
pub use otlp::{Collector, Span, way};
pub use platform::{Options, Platform};
pub use raw::{Packet, Raw, RawConnect};
pub use refused::{Refused, refused};
pub use relay::Relay;
pub use schemathesis::{Findings, Inquiry, inquire};
pub use services::{Service, Services};
pub use smtp::{Mail, MailFate, SmtpSink};
pub use tls::{ClientCa, ClientCertificate};
pub use wait::{WITHIN, eventually};
pub use webhook::{Hook, WebhookSink};
pub use websocket::{LastWords, RawWebSocket, frame};

/// Lets this process hold as many connections as the system allows it: tests play thousands of devices.
///
/// # Errors
/// It may hold fewer than that.
pub fn hold_connections(count: u64) -> anyhow::Result<()> {
    let most = rlimit::increase_nofile_limit(count + 200)?;
    anyhow::ensure!(most >= count, "this process may hold {most} files, and the test needs {count}");
    Ok(())
}

/// Topics of the device API.
pub mod topic {
    /// Readings.
    pub const TELEMETRY: &str = "v1/devices/me/telemetry";
    /// Client attributes up, shared attributes down.
    pub const ATTRIBUTES: &str = "v1/devices/me/attributes";
    /// Events.
    pub const EVENTS: &str = "v1/devices/me/events";
    /// All commands, as a filter.
    pub const COMMANDS: &str = "v1/devices/me/rpc/request/+";

    /// Where the command of that number is answered.
    #[must_use]
    pub fn reply(number: u64) -> String {
        format!("v1/devices/me/rpc/response/{number}")
    }

    /// Where the command of that number comes.
    #[must_use]
    pub fn command(number: u64) -> String {
        format!("v1/devices/me/rpc/request/{number}")
    }
}
