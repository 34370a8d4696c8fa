//! The gRPC interface between the services, and what they tell each other over a bus.
//!
//! [`core`] is generated from `proto/stoker/core/v1`, [`bus`] from `proto/stoker/bus/v1`; [`convert`] turns their
//! messages into domain types, checking everything, and back; [`problem`] carries refusals through a gRPC status, and
//! [`place`] says of which slot a request is.

pub mod convert;
pub mod place;
pub mod problem;

/// Messages of `stoker.bus.v1`.
#[allow(missing_docs, clippy::pedantic, unreachable_pub, clippy::large_enum_variant)]
pub mod bus {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("stoker.bus.v1");
    }
}

/// Messages, clients and servers of `stoker.core.v1`.
#[allow(missing_docs, clippy::pedantic, unreachable_pub, clippy::large_enum_variant)]
pub mod core {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("stoker.core.v1");
    }
}
