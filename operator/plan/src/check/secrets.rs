//! Secrets that pods need.

use super::{Doors, Refusal};
use crate::ADMIN_SECRET;
use crate::facts::Facts;
use crate::text::shortened;
use crate::wanted::{Resource, Spec};

/// What is told of the names of keys that a Secret has.
const KEYS_MOST: usize = 200;

/// A Secret, the keys that are needed of it, and what needs it.
pub(crate) struct Need<'a> {
    pub(crate) secret: &'a str,
    pub(crate) keys: &'static [&'static str],
    what: &'static str,
    /// Whether its files are renewed under those who run, so that a change is no reason to roll.
    pub(crate) in_place: bool,
}

/// All Secrets that `of` needs.
pub(crate) fn needs<'a>(of: &Resource<'a>) -> Vec<Need<'a>> {
    let once = |secret, keys, what| Need { secret, keys, what, in_place: false };
    let mut needs = vec![once(of.bus, &["url"], "spec.bus")];
    match of.spec {
        Spec::CoreShard(spec) => {
            let secret = spec.cassandra.secret_name.as_deref();
            needs.extend(secret.map(|secret| once(secret, &["username", "password"], "spec.cassandra")));
        }
        Spec::Gateway(spec) => {
            for (name, secret) in Doors::of(&spec.listeners).encrypted() {
                let what = if name == "wss" { "listeners of Wss" } else { "listeners of Mqtts" };
                needs.push(certificate(secret, what));
            }
        }
        Spec::Notifier(spec) => {
            let email = spec.email.as_ref();
            needs.extend(email.map(|of| once(&of.secret_name, &["smtp_url", "from"], "spec.email")));
        }
        Spec::Portal(spec) => {
            needs.push(once(ADMIN_SECRET, &["token"], "the administrator's token"));
            needs.extend(
                spec.tls_secret_name.as_deref().map(|secret| certificate(secret, "spec.tlsSecretName")),
            );
        }
    }
    needs
}

/// A certificate that is shown to those who come from without.
fn certificate<'a>(secret: &'a str, what: &'static str) -> Need<'a> {
    Need { secret, keys: &["tls.crt", "tls.key"], what, in_place: true }
}

/// Everything that is missing, in one message.
pub(super) fn refusal(of: &Resource<'_>, facts: &Facts) -> Option<Refusal> {
    let mut said = Vec::new();
    let mut reason = "SecretKeyMissing";
    for Need { secret, keys, what, .. } in needs(of) {
        match facts.secrets.get(secret) {
            // Made by the operator's shell, a moment later.
            None if secret == ADMIN_SECRET => {
                reason = "SecretMissing";
                said.push(format!("Secret {secret} is not there yet: the operator makes it"));
            }
            None => {
                reason = "SecretMissing";
                said.push(format!(
                    "Secret {secret} ({what}) does not exist: make it in the namespace {}, with {}",
                    of.namespace,
                    list(keys)
                ));
            }
            Some(there) => {
                let missing: Vec<&str> =
                    keys.iter().copied().filter(|key| !there.digests.contains_key(*key)).collect();
                if !missing.is_empty() {
                    let has: Vec<&str> = there.digests.keys().map(String::as_str).collect();
                    let has = if has.is_empty() {
                        "nothing".to_owned()
                    } else {
                        shortened(&has.join(", "), KEYS_MOST)
                    };
                    said.push(format!(
                        "Secret {secret} ({what}) lacks {}; it has {has}: add what is missing",
                        list(&missing)
                    ));
                }
            }
        }
    }
    (!said.is_empty()).then(|| Refusal { reason, message: said.join("; "), awaited: true })
}

fn list(keys: &[&str]) -> String {
    match keys {
        [one] => format!("the key {one}"),
        more => format!("the keys {}", more.join(" and ")),
    }
}
