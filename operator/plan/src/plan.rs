//! What is to be done.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use stoker_crds::Status;

use crate::certificates::Renewal;
use crate::object::Object;
use crate::text::shortened;
use crate::wanted::Id;

/// What is to be done, in this order: `apply`, `scale`, `delete`, and then what is said about it. Whoever is
/// interrupted makes a new plan of what there is then.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Objects that are to be as they are here, by server-side apply as [`FIELD_MANAGER`](crate::FIELD_MANAGER). Those
    /// for metrics are the last.
    pub apply: Vec<Object>,
    /// Deployments of former revisions that are to have other numbers of pods.
    pub scale: Vec<Scale>,
    /// Objects that are to go.
    pub delete: Vec<Delete>,
    /// How each resource stands.
    pub status: Vec<Standing>,
    /// What has changed since the last status, for `kubectl describe`.
    pub events: Vec<Event>,
    /// When to look again although nothing that is watched has changed.
    pub again: Option<Duration>,
    /// The Secret [`ADMIN_SECRET`](crate::ADMIN_SECRET) is needed and is not there, or has no token: make it.
    pub admin_token: bool,
    /// What is to be done about certificates, before all else.
    pub certificates: Renewal,
}

/// A Deployment that is to have another number of pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scale {
    /// Its name.
    pub deployment: String,
    /// Only while this is its version: the decision was made on it.
    pub resource_version: String,
    /// Pods wanted.
    pub replicas: i32,
}

/// An object that is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete {
    /// Its kind.
    pub what: Deletable,
    /// Its name.
    pub name: String,
    /// Only while this is its version: the decision was made on it.
    pub resource_version: String,
}

/// The kinds of objects that a plan deletes. All others go with their owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletable {
    /// Of a former revision.
    Deployment,
    /// Of a former configuration.
    ConfigMap,
}

/// How a resource stands. Without times: they are kept where nothing has changed, see [`Standing::status`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub of: Id,
    /// Up to which change of its spec this is.
    pub observed_generation: Option<i64>,
    /// Each type at most once.
    pub conditions: Vec<Said>,
    /// Pods that there are, of the newest revision.
    pub replicas: i32,
    /// Pods that are ready, of the newest revision.
    pub ready_replicas: i32,
    /// The pods of all revisions.
    pub selector: String,
    /// Of a Gateway: where its hostname is to lead.
    pub address: Option<String>,
    /// Of a Gateway: connections that its pods hold.
    pub connections: Option<i64>,
}

/// A condition without its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Such as `Ready`.
    pub kind: &'static str,
    /// Whether it is so.
    pub is: Is,
    /// One word for programs.
    pub reason: &'static str,
    /// What is the matter and what to do, for people.
    pub message: String,
}

/// Whether something is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Is {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// Nobody knows.
    Unknown,
}

impl Is {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Yes, Self::No, Self::Unknown];

    /// As it stands in a condition.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "True",
            Self::No => "False",
            Self::Unknown => "Unknown",
        }
    }

    /// Whether it is known to be so.
    #[must_use]
    pub fn holds(self) -> bool {
        self == Self::Yes
    }
}

impl From<bool> for Is {
    fn from(is: bool) -> Self {
        if is { Self::Yes } else { Self::No }
    }
}

impl Standing {
    /// The status to write. A condition whose status is as it was in `before` keeps its time; others have `now`.
    #[must_use]
    pub fn status(&self, before: Option<&Status>, now: &Time) -> Status {
        let conditions = self.conditions.iter().map(|said| {
            let status = said.is.as_str();
            let since = before
                .and_then(|before| before.conditions.iter().find(|old| old.type_ == said.kind))
                .filter(|old| old.status == status)
                .map_or(now, |old| &old.last_transition_time);
            Condition {
                type_: said.kind.to_owned(),
                status: status.to_owned(),
                reason: said.reason.to_owned(),
                message: said.message.clone(),
                observed_generation: self.observed_generation,
                last_transition_time: since.clone(),
            }
        });
        Status {
            observed_generation: self.observed_generation,
            conditions: conditions.collect(),
            replicas: self.replicas,
            ready_replicas: self.ready_replicas,
            selector: self.selector.clone(),
        }
    }
}

/// The API server takes 1,024 bytes.
const EVENT_MOST: usize = 1000;

/// Something that people are told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// About which resource.
    pub about: Id,
    /// `Warning` rather than `Normal`.
    pub warning: bool,
    /// One word.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl Event {
    pub(crate) fn new(about: &Id, warning: bool, reason: &'static str, message: &str) -> Self {
        Self { about: about.clone(), warning, reason, message: shortened(message, EVENT_MOST) }
    }
}
