//! What is said about a resource.

mod conditions;
mod waits;

use std::time::Duration;

pub(crate) use conditions::{changes, say};
pub(crate) use waits::stuck;

use crate::check::Refusal;
use crate::facts::Deployment;

/// What a resource waits for may be made by somebody whose doings are not watched.
pub(crate) const AGAIN_AWAITED: Duration = Duration::from_secs(30);
/// That the last pod of a former revision has gone is seen in no Deployment.
pub(crate) const AGAIN_DRAINING: Duration = Duration::from_secs(5);

/// How the pods of a resource stand.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing {
    pub(crate) refusal: Option<Refusal>,
    /// Of the newest revision.
    pub(crate) replicas: i32,
    /// Of the newest revision.
    pub(crate) ready: i32,
    /// Ready pods of all revisions.
    pub(crate) serving: i32,
    pub(crate) progress: Progress,
}

/// How far a change of pods has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Progress {
    /// All is as it is wished.
    #[default]
    Settled,
    /// A new revision is on its way.
    Rolling(String),
    /// The revision is the newest, and some of its pods are not there yet, or no more.
    Pending(String),
    /// The new revision serves; pods of the old one are left.
    Draining(String),
    /// It does not go on by itself.
    Stuck { reason: &'static str, message: String },
}

impl Standing {
    /// Of a resource that cannot be planned: as it was.
    pub(crate) fn refused(refusal: &Refusal, seen: &[&Deployment]) -> Self {
        let most = seen.iter().max_by_key(|deployment| (deployment.ready, &deployment.name));
        Self {
            refusal: Some(refusal.clone()),
            replicas: most.map_or(0, |most| most.there),
            ready: most.map_or(0, |most| most.ready),
            serving: seen.iter().map(|deployment| deployment.ready).sum(),
            progress: Progress::Settled,
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        matches!(self.progress, Progress::Draining(_))
    }
}
