//! The gRPC interface between the services.
//!
//! [`core`] is generated from `proto/stoker/core/v1`; [`convert`] turns its messages into domain types, checking
//! everything, and back; [`problem`] carries refusals through a gRPC status.

pub mod convert;
pub mod problem;

/// Messages, clients and servers of `stoker.core.v1`.
#[allow(missing_docs, clippy::pedantic, unreachable_pub, clippy::large_enum_variant)]
pub mod core {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("stoker.core.v1");
    }
}
