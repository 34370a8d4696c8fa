//! How an attempt went.

use std::error::Error;

use stoker_domain::AttemptResult;

use crate::text::{bounded, one_line};

/// What core keeps of a detail.
const DETAIL_BYTES: usize = 512;

/// How an attempt went, and what is to be said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) result: AttemptResult,
    /// One line of at most 512 bytes.
    pub(crate) detail: String,
}

impl Outcome {
    pub(crate) fn new(result: AttemptResult, detail: &str) -> Self {
        Self { result, detail: bounded(&one_line(detail), DETAIL_BYTES) }
    }

    pub(crate) fn sent(detail: &str) -> Self {
        Self::new(AttemptResult::Sent, detail)
    }

    pub(crate) fn delivered(detail: &str) -> Self {
        Self::new(AttemptResult::Delivered, detail)
    }

    pub(crate) fn retry(detail: &str) -> Self {
        Self::new(AttemptResult::Retry, detail)
    }

    pub(crate) fn refused(detail: &str) -> Self {
        Self::new(AttemptResult::Refused, detail)
    }
}

/// The last of an error's causes: the one that says what happened, not who noticed.
pub(crate) fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
