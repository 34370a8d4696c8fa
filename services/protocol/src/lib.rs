//! MQTT 3.1.1 and 5 for devices, without I/O: no sockets, no clock, no runtime.
//!
//! - [`codec`]: every packet of both versions, read without copying and written into a `Vec<u8>`, for
//!   servers and for clients.
//! - [`topic`]: the topics of the device API.
//! - [`session`]: the server's side of one connection as a machine: bytes and time in; bytes, events and
//!   the next timeout out.
//!
//! ```
//! use std::sync::Arc;
//! use stoker_protocol::session::{Accept, Event, Limits, Output, PublishOutcome, Session};
//!
//! let mut out = Output::new();
//! let mut session = Session::new(0, Arc::new(Limits::default()));
//!
//! // A shell reads from its transport, and hands over what came with the time it came.
//! session.receive(5, b"\x10\x12\0\x04MQTT\x04\x82\0\x3C\0\0\0\x04stk_", &mut out);
//! let Some(Event::Connect(connect)) = out.events.pop() else { unreachable!() };
//! assert_eq!((connect.user_name.as_deref(), connect.keep_alive_s), (Some("stk_"), 60));
//!
//! // Somebody looks the token up; then CONNACK is written and reading goes on.
//! session.accept(7, &Accept { assigned_client_id: "boiler-7" }, &mut out);
//! assert_eq!(out.transmit, [0x20, 2, 0, 0]);
//! assert_eq!(session.timeout(), Some(7 + 90_000));
//! out.clear();
//!
//! // A reading with QoS 1: its PUBACK is written once it is stored.
//! session.receive(1_000, b"\x32\x23\0\x17v1/devices/me/telemetry\0\x01{\"t\":71}", &mut out);
//! let Some(Event::Publish(publish)) = out.events.pop() else { unreachable!() };
//! assert_eq!(&publish.payload[..], b"{\"t\":71}");
//! assert!(out.transmit.is_empty());
//! if let Some(token) = publish.token {
//!     session.publish_done(1_004, token, PublishOutcome::Stored, &mut out);
//! }
//! assert_eq!(out.transmit, [0x40, 2, 0, 1]);
//! ```

pub mod codec;
pub mod session;
pub mod topic;
