//! What cannot be planned, and why: in words that name the thing and the way out.

mod alike;
mod listeners;
mod secrets;
pub(crate) mod slots;

pub(crate) use listeners::{Door, Doors, seconds};
pub(crate) use secrets::needs;

use crate::certificates;
use crate::facts::Facts;
use crate::wanted::{Kind, Resource, Spec};

/// The reason of a CoreShard whose data would be elsewhere: its slots don't count.
pub(crate) const CASSANDRA_DIFFERS: &str = "CassandraDiffers";

/// Why a resource cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    /// It is mended by something that is not a resource.
    pub(crate) awaited: bool,
}

impl Refusal {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), awaited: false }
    }
}

/// The longest name of a resource: with what is put behind it, it is the name of a Service, of 63 letters at most.
const NAME_MOST: usize = 40;

/// What is wrong with `of`, of `all`; ranges of slots apart.
pub(crate) fn refusal(of: &Resource<'_>, all: &[Resource<'_>], facts: &Facts) -> Option<Refusal> {
    name(of)
        .or_else(|| image(of, facts))
        .or_else(|| alike::refusal(of, all))
        .or_else(|| core(of, all))
        .or_else(|| spec(of))
        .or_else(|| secrets::refusal(of, facts))
        .or_else(|| certificates::refusal(of.id.kind, facts))
}

fn name(of: &Resource<'_>) -> Option<Refusal> {
    let name = &of.id.name;
    let fits = name.len() <= NAME_MOST
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    (!fits).then(|| {
        Refusal::new(
            "NameUnfit",
            format!(
                "the name {name} can't be that of a Service: make a {} of another name, of at most {NAME_MOST} \
                 lower-case letters, digits and hyphens, the first a letter",
                of.id.kind
            ),
        )
    })
}

fn image(of: &Resource<'_>, facts: &Facts) -> Option<Refusal> {
    (of.pods.image.is_none() && facts.operator.image.is_empty()).then(|| {
        Refusal::new(
            "ImageUnknown",
            "the operator does not know its own image, which pods run unless told otherwise: give spec.image",
        )
    })
}

/// Without a way to data nothing else comes up.
fn core(of: &Resource<'_>, all: &[Resource<'_>]) -> Option<Refusal> {
    let missing = of.id.kind != Kind::CoreShard && !all.iter().any(|other| other.id.kind == Kind::CoreShard);
    missing.then(|| {
        Refusal::new(
            "CoreShardMissing",
            format!(
                "there is no CoreShard in the namespace {}, and without it no way to data: make one",
                of.namespace
            ),
        )
    })
}

/// What the schema lets through, and cannot be carried out.
fn spec(of: &Resource<'_>) -> Option<Refusal> {
    match of.spec {
        Spec::Gateway(spec) => listeners::refusal(spec),
        Spec::CoreShard(_) | Spec::Notifier(_) | Spec::Portal(_) => None,
    }
}
