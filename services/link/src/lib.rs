//! The way from one service to the cores. There may be one or several; any of them answers for every device, so that a
//! connection to one of those that are there is all that is needed; where the owner of a slot is known it is asked straight.
//! Each call is measured and carries its trace. Whoever would ask for more than can be done waits for its turn.
//!
//! TLS is here, too: among the services, and what those who come from without are shown.

mod calls;
mod cores;
mod dial;
mod hints;
mod incoming;
mod owner;
mod reread;
mod role;
mod server;
mod tls;
mod turns;

pub use calls::{Answering, CallStats, Calls, Channel};
pub use cores::Cores;
pub use dial::{Dial, Dialed, Link, NoConnection, Wire, tcp};
pub use incoming::{Accepted, Incoming};
pub use owner::{name_owner, to_owner, was_not_sent};
pub use reread::Reread;
pub use role::{Caller, Role};
pub use server::{ServerTexts, ServerTls, ServerTlsError};
pub use tls::{Tls, TlsError, TlsFiles, pem_certificates, read_pem};
pub use turns::{Turn, Turns};

/// The greatest gRPC message in either direction: a batch of readings of many small packets, or one page of a list.
pub const MESSAGE_MOST: usize = 64 * 1024 * 1024;
/// What may be sent without an answer of HTTP/2: batches of readings are large.
pub const WINDOW: u32 = 8 * 1024 * 1024;
