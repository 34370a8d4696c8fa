//! What is wrong with certificates, in words that name the Secret and the way out.

use k8s_openapi::jiff::Timestamp;

use super::{AUTHORITY_SECRET, Kept, certificate_secret};
use crate::check::Refusal;
use crate::facts::Facts;
use crate::wanted::Kind;

/// The reason of who waits for a certificate that is being made …
pub(crate) const PENDING: &str = "CertificatePending";
/// … and of who has one that is not renewed, or has none because nothing is signed.
pub(crate) const STUCK: &str = "CertificatesStuck";

/// Why nothing can be signed.
fn unsigned(facts: &Facts) -> Option<String> {
    match &facts.certificates.authority {
        Kept::Absent | Kept::There(_) => None,
        Kept::Foreign => Some(format!(
            "Secret {AUTHORITY_SECRET} is there, and was made by somebody else: delete it, and the operator makes an \
             authority of its own"
        )),
        Kept::Broken(why) => Some(format!(
            "Secret {AUTHORITY_SECRET} cannot be used: {why}; put back what was there, or delete it, and the operator \
             makes another authority, that is trusted beside the former one"
        )),
    }
}

/// Why pods of this kind cannot be started.
pub(crate) fn refusal(kind: Kind, facts: &Facts) -> Option<Refusal> {
    let secret = certificate_secret(kind);
    let awaited = |what: &str| {
        let (reason, message) = match unsigned(facts) {
            None => (PENDING, format!("Secret {secret} {what}: the operator makes it")),
            Some(why) => (STUCK, format!("Secret {secret} {what}, and cannot be made: {why}")),
        };
        Some(Refusal { reason, message, awaited: true })
    };
    match facts.certificates.services.get(&kind) {
        None | Some(Kept::Absent) => awaited("is not there yet"),
        Some(Kept::Foreign) => Some(Refusal {
            reason: "SecretTaken",
            message: format!(
                "Secret {secret} is there, and was made by somebody else: delete it, or keep it under another name, \
                 and the operator makes its own"
            ),
            awaited: true,
        }),
        Some(Kept::Broken(why)) => awaited(&format!("cannot be used ({why})")),
        Some(Kept::There(held)) => match &held.certificate {
            Ok(_) => None,
            Err(why) => awaited(&format!("cannot be used ({why})")),
        },
    }
}

/// Why certificates of this kind are not renewed, although they can be used.
pub(crate) fn trouble(kind: Kind, facts: &Facts) -> Option<String> {
    let why = unsigned(facts)?;
    let leaf = facts.certificates.held(kind).and_then(|held| held.certificate.as_ref().ok());
    let ends = leaf.and_then(|leaf| Timestamp::from_second(leaf.until).ok());
    let ends = ends.map_or_else(String::new, |end| format!("; the certificate in use ends {end}"));
    Some(format!("certificates are not renewed: {why}{ends}"))
}
