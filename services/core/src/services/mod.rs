//! The gRPC services: what comes in is checked and turned into inputs and queries of slots, answers are turned back.

pub(crate) mod gateway;
pub(crate) mod lists;
pub(crate) mod member;
pub(crate) mod notifier;
mod patience;
pub(crate) mod peer;
pub(crate) mod portal;
mod portal_alarms;
mod portal_commands;
mod portal_devices;
mod portal_history;
mod portal_subscriptions;
mod readings;
mod summary;

use stoker_domain::ports::store::StoreError;
use stoker_proto::problem::ProblemKind;
use tonic::Status;

use crate::credentials::CredentialError;
use crate::slots::SlotError;

/// What a store's error is to a caller.
pub(crate) fn store_status(error: &StoreError) -> Status {
    match error {
        StoreError::Overloaded(_) => ProblemKind::Unavailable.status(error.to_string()),
        StoreError::Failed(_) | StoreError::Corrupt(_) => {
            tracing::error!(%error, "the store failed");
            ProblemKind::Unavailable.status("the store could not answer; the log of core says why")
        }
    }
}

/// What a slot's error is to a caller.
pub(crate) fn slot_status(error: SlotError) -> Status {
    match error {
        // Nothing was done: whoever passed it on looks for another owner.
        SlotError::NoOwner => ProblemKind::NotOwner.status(error.to_string()),
        SlotError::Overloaded | SlotError::Unknown => ProblemKind::Unavailable.status(error.to_string()),
    }
}

/// What a credential's error is to a caller.
pub(crate) fn credential_status(error: &CredentialError) -> Status {
    match error {
        CredentialError::Store(error) => store_status(error),
        CredentialError::Slot(error) => slot_status(*error),
        CredentialError::Owner(status) => status.clone(),
        CredentialError::Randomness(_) | CredentialError::Hash(_) => {
            tracing::error!(%error, "a credential could not be made or checked");
            ProblemKind::Internal.status("a credential could not be made or checked")
        }
    }
}

/// An answer of another kind than the question: a fault of ours.
pub(crate) fn wrong_reply() -> Status {
    ProblemKind::Internal.status("a slot gave an answer of the wrong kind")
}
