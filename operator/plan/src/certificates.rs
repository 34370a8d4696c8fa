//! The certificates by which the services of a platform know each other: an authority of their own, and of it one
//! certificate for each kind of service. What is to be written, and when, is decided here, of what there is and the time;
//! keys are made elsewhere.
//!
//! Whoever is changed, those who call each other read their files at different times, some minutes apart. So an authority
//! signs nothing before all have it among those they trust, and is trusted until everything that it has signed is over.

mod decide;
mod said;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use decide::decide;
pub(crate) use said::{PENDING, STUCK, refusal, trouble};

use crate::wanted::{Kind, Resource};

/// The Secret with the authority: its key is in it, so no pod has it.
pub const AUTHORITY_SECRET: &str = "stoker-ca";
/// The name in the certificates of all cores. Their pods' addresses are not known before they are there.
pub const CORE_NAME: &str = crate::names::CORES;

const DAY: i64 = 24 * 3600;
/// How long a certificate of a service is valid, at most: it ends with its authority. Renewed when two thirds are over.
pub const CERTIFICATE_LIFE: i64 = 30 * DAY;
/// How long an authority is. Its successor is made when two thirds are over.
pub const AUTHORITY_LIFE: i64 = 365 * DAY;
/// How long before it is made a certificate is valid: clocks differ.
pub const BACKDATED: i64 = 300;
/// For how long a successor is trusted by all before it signs. The kubelet renews files within two minutes or so, and
/// services read them again within seconds.
pub const SPREAD: i64 = 3600;
/// An authority that ends sooner signs nothing if there is another …
const LEFT_LEAST: i64 = DAY;
/// … and none that ends sooner than this: what it signs would have to be renewed at once.
const SIGNS_LEAST: i64 = 3600;
/// It is looked again after this time at the latest: clocks may be set.
const AGAIN_MOST: i64 = 3600;
/// Authorities that are trusted at the same time. Three are the most that rotation needs.
pub const TRUSTED_MOST: usize = 8;

/// The Secret with the certificate of all services of a kind.
#[must_use]
pub fn certificate_secret(kind: Kind) -> &'static str {
    match kind {
        Kind::CoreShard => "stoker-core-tls",
        Kind::Gateway => "stoker-gateway-tls",
        Kind::Notifier => "stoker-notifier-tls",
        Kind::Portal => "stoker-portal-tls",
    }
}

/// The certificate of an authority. Times are seconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Authority {
    /// A digest of the certificate.
    pub id: String,
    /// From when it is valid.
    pub from: i64,
    /// And until when.
    pub until: i64,
}

/// What is in a Secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Kept<T> {
    /// There is no such Secret.
    #[default]
    Absent,
    /// It was made by somebody else.
    Foreign,
    /// It is ours, and cannot be used: why not.
    Broken(String),
    /// It is as we have made it.
    There(T),
}

/// What is in [`AUTHORITY_SECRET`]: a current authority, or the next one, or both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authorities {
    /// The one that signs. None when it was lost: then the next one is to be trusted first.
    pub current: Option<Authority>,
    /// The one that will sign, once it is trusted everywhere.
    pub next: Option<Authority>,
    /// Since when all certificates' Secrets have the next one.
    pub since: Option<i64>,
    /// Those that sign nothing any more, and are trusted further on.
    pub former: Vec<Authority>,
}

impl Authorities {
    /// All that are to be trusted, the newest first.
    pub fn trusted(&self) -> impl Iterator<Item = &Authority> {
        self.next.iter().chain(&self.current).chain(&self.former)
    }

    /// The one that signs at `now`, if any can.
    #[must_use]
    pub fn signer(&self, now: i64) -> Option<Signer> {
        let lasts = |of: &Option<Authority>, least: i64| of.as_ref().is_some_and(|of| of.until > now + least);
        if lasts(&self.current, LEFT_LEAST) {
            Some(Signer::Current)
        } else if lasts(&self.next, SIGNS_LEAST) {
            Some(Signer::Next)
        } else {
            lasts(&self.current, SIGNS_LEAST).then_some(Signer::Current)
        }
    }
}

/// Which authority signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signer {
    /// [`Authorities::current`]
    Current,
    /// [`Authorities::next`]: there is no other.
    Next,
}

/// What is in the Secret of a kind of service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its certificate, or why what is there is none that others would take.
    pub certificate: Result<Leaf, String>,
    /// The authorities that its services trust.
    pub trusts: Vec<Authority>,
}

/// The certificate of a kind of service: with its role, its names, and its key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leaf {
    /// [`Authority::id`] of who has signed it; none when that is nobody that is known.
    pub signed_by: Option<String>,
    /// From when it is valid.
    pub from: i64,
    /// And until when.
    pub until: i64,
}

/// What is seen of the certificates of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Certificates {
    /// The authority.
    pub authority: Kept<Authorities>,
    /// What kinds of services have; those that are not here have nothing.
    pub services: BTreeMap<Kind, Kept<Held>>,
}

impl Certificates {
    fn held(&self, kind: Kind) -> Option<&Held> {
        match self.services.get(&kind) {
            Some(Kept::There(held)) => Some(held),
            _ => None,
        }
    }

    /// When the first certificate ends that is in use.
    #[must_use]
    pub fn first_end(&self) -> Option<i64> {
        let held = self.services.keys().filter_map(|kind| self.held(*kind));
        held.filter_map(|held| held.certificate.as_ref().ok()).map(|leaf| leaf.until).min()
    }
}

/// What is to be written to [`AUTHORITY_SECRET`]. Each is one write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthorityChange {
    /// There is none: make one. With `former` are those that are trusted further on, which services have.
    Make {
        /// It signs once it is trusted, as there are services that have certificates of another.
        trusted_first: bool,
        /// By their ids; their certificates are in the Secrets of services.
        former: Vec<Authority>,
    },
    /// Make a next one, in place of any.
    Succeed,
    /// All have the next one: note the time.
    Trusted,
    /// The next one signs from now on.
    Promote,
    /// The former ones of these ids are over.
    Drop(BTreeSet<String>),
}

/// What is to be written to the Secret of a kind of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceChange {
    /// Another certificate, with another key, and the authorities.
    Issue,
    /// The authorities alone.
    Trust,
}

/// What is to be done about certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Renewal {
    /// The first write, if any.
    pub authority: Option<AuthorityChange>,
    /// The others.
    pub services: Vec<(Kind, ServiceChange)>,
    /// When to look again although nothing has happened; none when there are no services.
    pub again: Option<Duration>,
}

/// The kinds of services that are wished.
pub(crate) fn kinds(resources: &[Resource<'_>]) -> BTreeSet<Kind> {
    resources.iter().map(|of| of.id.kind).collect()
}

/// When two thirds of its time are over.
fn due(from: i64, until: i64) -> i64 {
    from.saturating_add(until.saturating_sub(from) / 3 * 2)
}
