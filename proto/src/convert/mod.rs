//! From the wire's messages to domain types and back. Everything that comes in is checked here.

pub mod bus;
mod enums;
mod model;
mod session;
mod subscription;

pub use enums::*;
pub use model::*;
pub use session::*;
pub use subscription::*;

use stoker_domain::IdError;

/// Why a message is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A field that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// An id that is none.
    #[error("{field}: {source}")]
    Id {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        source: IdError,
    },
    /// A number that stands for nothing that this version knows.
    #[error("{0} has a value that is not known here")]
    Unknown(&'static str),
    /// A number that cannot be, such as one that is not finite.
    #[error("{0} is out of range")]
    Range(&'static str),
}

impl From<WireError> for tonic::Status {
    fn from(error: WireError) -> Self {
        crate::problem::ProblemKind::InvalidRequest.status(error.to_string())
    }
}

/// Parses an id out of a field.
///
/// # Errors
/// [`WireError::Id`] names the field.
pub fn id<T: std::str::FromStr<Err = IdError>>(field: &'static str, text: &str) -> Result<T, WireError> {
    text.parse().map_err(|source| WireError::Id { field, source })
}
