//! The Secrets in which certificates are: what stands in them, and what is written there. When, is decided by the plan.

mod make;
mod read;
#[cfg(test)]
mod tests;

pub(crate) use make::{Change, authority, certificate, trust};
pub(crate) use read::{seen, slimmed};

use stoker_plan::Kind;
use stoker_plan::certificates::{AUTHORITY_SECRET, certificate_secret};

/// All kinds of services.
pub(crate) const KINDS: [Kind; 4] = [Kind::CoreShard, Kind::Gateway, Kind::Notifier, Kind::Portal];

/// What there is in a Secret: certificates are public, of keys there is either the key itself or its public half.
pub(crate) type Data = std::collections::BTreeMap<String, k8s_openapi::ByteString>;

/// Keys of the Secrets.
pub(crate) mod key {
    /// The certificate; of the authority, the current one's.
    pub(crate) const CERTIFICATE: &str = "tls.crt";
    /// Its key.
    pub(crate) const KEY: &str = "tls.key";
    /// Of a service: whom it trusts.
    pub(crate) const TRUSTED: &str = "ca.crt";
    /// Of the next authority.
    pub(crate) const NEXT: &str = "next.crt";
    pub(crate) const NEXT_KEY: &str = "next.key";
    /// Since when all have it, in seconds since the epoch.
    pub(crate) const SINCE: &str = "next.since";
    /// Of those that are trusted and sign nothing.
    pub(crate) const FORMER: &str = "former.crt";
    /// Those that are private.
    pub(crate) const PRIVATE: [&str; 2] = [KEY, NEXT_KEY];
    /// Those that are not.
    pub(crate) const PUBLIC: [&str; 5] = [CERTIFICATE, TRUSTED, NEXT, SINCE, FORMER];
}

/// Whether a Secret of that name is one of those that are made here.
pub(crate) fn is_one(name: &str) -> bool {
    name == AUTHORITY_SECRET || KINDS.iter().any(|kind| certificate_secret(*kind) == name)
}
