//! What stands in the Secrets. Pure: whatever is found there, others may have written it.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use rcgen::{KeyPair, PublicKeyData};
use sha2::{Digest, Sha256};
use stoker_plan::Kind;
use stoker_plan::certificates::{
    AUTHORITY_SECRET, Authorities, Authority, CORE_NAME, Certificates, Held, Kept, Leaf, certificate_secret,
};
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::prelude::X509Certificate;

use super::{Data, KINDS, key};
use crate::ours::is_ours;

/// A few certificates are some KiB: what is longer is none of ours.
const BYTES_MOST: usize = 64 * 1024;
/// Certificates in one file. More are not looked at.
const CERTIFICATES_MOST: usize = 16;

/// What is kept of a Secret of ours: its certificates, and of its keys the public half. None when it is another's.
pub(crate) fn slimmed(secret: &Secret) -> Option<Data> {
    if !super::is_one(secret.metadata.name.as_deref()?) || !is_ours(&secret.metadata) {
        return None;
    }
    let mut data = Data::new();
    for (key, value) in secret.data.iter().flatten() {
        if key::PRIVATE.contains(&key.as_str()) {
            data.insert(key.clone(), ByteString(public_half(&value.0).unwrap_or_default()));
        } else if key::PUBLIC.contains(&key.as_str()) {
            let fits = value.0.len() <= BYTES_MOST;
            data.insert(key.clone(), if fits { value.clone() } else { ByteString::default() });
        }
    }
    Some(data)
}

/// The key that belongs to a private one, as a certificate has it.
pub(super) fn public_half(private: &[u8]) -> Option<Vec<u8>> {
    if private.len() > BYTES_MOST {
        return None;
    }
    Some(KeyPair::from_pem(std::str::from_utf8(private).ok()?).ok()?.subject_public_key_info())
}

/// What is seen of a namespace, of Secrets that are [`slimmed`]. One that is about to go is as good as gone.
pub(crate) fn seen<'a>(secrets: impl Iterator<Item = &'a Secret>) -> Certificates {
    let mut all = Certificates::default();
    let there = secrets.filter(|secret| secret.metadata.deletion_timestamp.is_none());
    for secret in there {
        let name = secret.metadata.name.as_deref().unwrap_or_default();
        let data = secret.data.as_ref().filter(|_| is_ours(&secret.metadata));
        if name == AUTHORITY_SECRET {
            all.authority = match data {
                Some(data) => authorities(data).map_or_else(Kept::Broken, Kept::There),
                None if is_ours(&secret.metadata) => Kept::Broken("it is empty".to_owned()),
                None => Kept::Foreign,
            };
        } else if let Some(kind) = KINDS.into_iter().find(|kind| certificate_secret(*kind) == name) {
            let empty = Data::new();
            let ours = is_ours(&secret.metadata).then(|| Kept::There(held(kind, data.unwrap_or(&empty))));
            all.services.insert(kind, ours.unwrap_or(Kept::Foreign));
        }
    }
    all
}

/// What stands in the Secret of the authority.
///
/// # Errors
/// Why it cannot be used.
pub(crate) fn authorities(data: &Data) -> Result<Authorities, String> {
    let signing = |certificate: &str, private: &str| -> Result<Option<Authority>, String> {
        let Some(pem) = data.get(certificate) else {
            return match data.get(private) {
                Some(_) => Err(format!("{private} is there without {certificate}")),
                None => Ok(None),
            };
        };
        let [one] = &certificates(certificate, &pem.0)?[..] else {
            return Err(format!("{certificate} has more than one certificate"));
        };
        let parsed = parsed(certificate, one)?;
        if !parsed.is_ca() {
            return Err(format!("{certificate} is the certificate of no authority"));
        }
        let public = data.get(private).ok_or_else(|| format!("it lacks the key {private}"))?;
        if public.0 != parsed.public_key().raw {
            return Err(format!("{private} does not belong to {certificate}"));
        }
        Ok(Some(authority(one, &parsed)))
    };
    let current = signing(key::CERTIFICATE, key::KEY)?;
    let next = signing(key::NEXT, key::NEXT_KEY)?;
    if current.is_none() && next.is_none() {
        return Err(format!("it lacks the keys {} and {}", key::CERTIFICATE, key::KEY));
    }
    let since = data.get(key::SINCE).and_then(|since| std::str::from_utf8(&since.0).ok()?.parse().ok());
    let former = match data.get(key::FORMER) {
        Some(pem) => trusted(key::FORMER, &pem.0)?,
        None => Vec::new(),
    };
    Ok(Authorities { since: since.filter(|_| next.is_some()), current, next, former })
}

/// What stands in the Secret of a kind of service.
pub(crate) fn held(kind: Kind, data: &Data) -> Held {
    let trusts = data.get(key::TRUSTED).map(|pem| (trusted(key::TRUSTED, &pem.0), &pem.0));
    let (trusts, pem) = match trusts {
        Some((Ok(trusts), pem)) => (trusts, pem.as_slice()),
        Some((Err(_), _)) | None => (Vec::new(), &[][..]),
    };
    Held { certificate: leaf(kind, data, pem), trusts }
}

fn leaf(kind: Kind, data: &Data, trusted: &[u8]) -> Result<Leaf, String> {
    let pem = data.get(key::CERTIFICATE).ok_or_else(|| format!("it lacks the key {}", key::CERTIFICATE))?;
    let chain = certificates(key::CERTIFICATE, &pem.0)?;
    let der = chain.first().ok_or_else(|| format!("{} has no certificate", key::CERTIFICATE))?;
    let certificate = parsed(key::CERTIFICATE, der)?;
    let public = data.get(key::KEY).ok_or_else(|| format!("it lacks the key {}", key::KEY))?;
    if public.0 != certificate.public_key().raw {
        return Err(format!("{} does not belong to {}", key::KEY, key::CERTIFICATE));
    }
    let mut units = certificate.subject().iter_organizational_unit().map(|unit| unit.as_str().ok());
    if (units.next(), units.next()) != (Some(Some(kind.component())), None) {
        return Err(format!("{} does not say the role {}", key::CERTIFICATE, kind.component()));
    }
    if kind == Kind::CoreShard && !has_name(&certificate, CORE_NAME) {
        return Err(format!("{} lacks the name {CORE_NAME}", key::CERTIFICATE));
    }
    // Each authority has a name of its own.
    let signer = certificates(key::TRUSTED, trusted).unwrap_or_default().into_iter().find(|der| {
        parsed("", der).is_ok_and(|signer| signer.subject().as_raw() == certificate.issuer().as_raw())
    });
    let validity = certificate.validity();
    Ok(Leaf {
        signed_by: signer.map(|der| id(&der)),
        from: validity.not_before.timestamp(),
        until: validity.not_after.timestamp(),
    })
}

fn has_name(certificate: &X509Certificate<'_>, name: &str) -> bool {
    let names = certificate.subject_alternative_name().ok().flatten();
    let mut names = names.iter().flat_map(|names| &names.value.general_names);
    names.any(|of| matches!(of, GeneralName::DNSName(dns) if *dns == name))
}

fn trusted(key: &str, pem: &[u8]) -> Result<Vec<Authority>, String> {
    let all = certificates(key, pem)?;
    all.iter().map(|der| parsed(key, der).map(|certificate| authority(der, &certificate))).collect()
}

fn authority(der: &[u8], certificate: &X509Certificate<'_>) -> Authority {
    let validity = certificate.validity();
    Authority { id: id(der), from: validity.not_before.timestamp(), until: validity.not_after.timestamp() }
}

pub(super) fn id(der: &[u8]) -> String {
    Sha256::digest(der).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The certificate of this id, in PEM, if it is among these.
pub(super) fn pem_of(id_wanted: &str, pem: &[u8]) -> Option<String> {
    let ders = certificates("", pem).ok()?;
    let der = ders.into_iter().find(|der| id(der) == id_wanted)?;
    Some(super::make::pem(&der))
}

fn parsed<'a>(key: &str, der: &'a [u8]) -> Result<X509Certificate<'a>, String> {
    match x509_parser::parse_x509_certificate(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) | Err(_) => Err(format!("{key} has a certificate that cannot be read")),
    }
}

/// All certificates in PEM: one at least.
pub(super) fn certificates(key: &str, pem: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut all = Vec::new();
    for pem in Pem::iter_from_buffer(pem).take(CERTIFICATES_MOST) {
        let pem = pem.map_err(|_| format!("{key} is no PEM"))?;
        if pem.label != "CERTIFICATE" {
            return Err(format!("{key} has a {} among its certificates", pem.label));
        }
        all.push(pem.contents);
    }
    if all.is_empty() {
        return Err(format!("{key} has no certificate"));
    }
    Ok(all)
}
