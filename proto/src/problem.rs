//! Refusals that keep their name on the way through gRPC.

use prost::Message;
use tonic::{Code, Status};

use crate::core::v1::Problem;

/// Every refusal that a person may see, with the gRPC code it travels under. Its name is the `NAME` of
/// `urn:stoker:problem:NAME`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// The request is not of the documented form, or breaks a limit.
    InvalidRequest,
    /// No such thing.
    NotFound,
    /// A thing of that name exists.
    AlreadyExists,
    /// A credential that cannot be used, without saying why.
    InvalidToken,
    /// The command has ended already.
    CommandEnded,
    /// Too many open commands for the device.
    TooManyOpenCommands,
    /// The subscription was tested a moment ago.
    TooManyTests,
    /// A limit of the platform is reached.
    LimitReached,
    /// Somebody else changed it at the same time.
    Conflict,
    /// The platform cannot answer now.
    Unavailable,
    /// Between cores: the asked one does not own the slot, and nothing was done.
    NotOwner,
    /// Wrong credential.
    Unauthenticated,
    /// A fault of ours.
    Internal,
}

impl ProblemKind {
    const ALL: [Self; 13] = [
        Self::InvalidRequest,
        Self::NotFound,
        Self::AlreadyExists,
        Self::InvalidToken,
        Self::CommandEnded,
        Self::TooManyOpenCommands,
        Self::TooManyTests,
        Self::LimitReached,
        Self::Conflict,
        Self::Unavailable,
        Self::NotOwner,
        Self::Unauthenticated,
        Self::Internal,
    ];

    /// The name on every interface.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::InvalidToken => "invalid_token",
            Self::CommandEnded => "command_ended",
            Self::TooManyOpenCommands => "too_many_open_commands",
            Self::TooManyTests => "too_many_tests",
            Self::LimitReached => "limit_reached",
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
            Self::NotOwner => "not_owner",
            Self::Unauthenticated => "unauthenticated",
            Self::Internal => "internal",
        }
    }

    /// The gRPC code it travels under.
    #[must_use]
    pub fn code(self) -> Code {
        match self {
            Self::InvalidRequest | Self::InvalidToken => Code::InvalidArgument,
            Self::NotFound => Code::NotFound,
            Self::AlreadyExists => Code::AlreadyExists,
            Self::CommandEnded => Code::FailedPrecondition,
            Self::TooManyOpenCommands | Self::TooManyTests | Self::LimitReached => Code::ResourceExhausted,
            Self::Conflict => Code::Aborted,
            Self::Unavailable | Self::NotOwner => Code::Unavailable,
            Self::Unauthenticated => Code::Unauthenticated,
            Self::Internal => Code::Internal,
        }
    }

    /// A status that carries it. `detail` is for a person.
    #[must_use]
    pub fn status(self, detail: impl Into<String>) -> Status {
        let detail = detail.into();
        let problem = Problem { name: self.name().to_owned(), detail: detail.clone() };
        Status::with_details(self.code(), detail, problem.encode_to_vec().into())
    }

    /// What core said; none when the status was made on the way.
    #[must_use]
    pub fn said_by_core(status: &Status) -> Option<Self> {
        let problem = Problem::decode(status.details()).ok()?;
        Self::ALL.into_iter().find(|kind| kind.name() == problem.name)
    }

    /// What a status says, whoever made it, and its text for a person.
    #[must_use]
    pub fn of(status: &Status) -> (Self, String) {
        if let Some(kind) = Self::said_by_core(status) {
            return (kind, status.message().to_owned());
        }
        let kind = match status.code() {
            Code::InvalidArgument => Self::InvalidRequest,
            Code::NotFound => Self::NotFound,
            Code::AlreadyExists => Self::AlreadyExists,
            Code::ResourceExhausted => Self::LimitReached,
            Code::Aborted => Self::Conflict,
            // A connection that breaks under a call is `Unknown`; core itself always names its problem.
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => Self::Unavailable,
            Code::Unauthenticated => Self::Unauthenticated,
            _ => Self::Internal,
        };
        (kind, status.message().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_keeps_its_name_through_a_status() {
        for kind in ProblemKind::ALL {
            assert_eq!(ProblemKind::of(&kind.status("why")), (kind, "why".to_owned()));
        }
    }
}
