//! Makes authorities and certificates, with keys of their own.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use pem::{EncodeConfig, LineEnding, Pem};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData,
};
use sha2::{Digest, Sha256};
use stoker_plan::Kind;
use stoker_plan::certificates::{
    AUTHORITY_LIFE, AuthorityChange, BACKDATED, CERTIFICATE_LIFE, CORE_NAME, Signer,
};

use super::{Data, key, read};

/// Keys of a Secret, and what is to stand there: nothing, where there is none.
pub(crate) type Change = BTreeMap<&'static str, Option<String>>;

/// What `change` makes of the Secret of the authority. `before` is what stands there, with the keys where
/// [`AuthorityChange::Promote`] is asked for; `others` are the Secrets of services.
///
/// # Errors
/// What is there is not what the change is about, or nothing can be made.
pub(crate) fn authority<'a>(
    change: &AuthorityChange,
    namespace: &str,
    before: &Data,
    others: impl Iterator<Item = &'a Secret> + Clone,
    now: i64,
) -> Result<Change, String> {
    let text = |key: &str| -> Option<String> {
        before.get(key).and_then(|value| String::from_utf8(value.0.clone()).ok())
    };
    let mut all = Change::new();
    match change {
        AuthorityChange::Make { trusted_first, former } => {
            let (certificate, private) = new_authority(namespace, now)?;
            let places =
                if *trusted_first { [key::NEXT, key::NEXT_KEY] } else { [key::CERTIFICATE, key::KEY] };
            all.extend(places.into_iter().zip([Some(certificate), Some(private)]));
            let mut pem = String::new();
            for of in former {
                let mut bundles = others.clone().filter_map(|of| of.data.as_ref()?.get(key::TRUSTED));
                pem += &bundles.find_map(|bundle| read::pem_of(&of.id, &bundle.0)).unwrap_or_default();
            }
            all.insert(key::FORMER, (!pem.is_empty()).then_some(pem));
        }
        AuthorityChange::Succeed => {
            let (certificate, private) = new_authority(namespace, now)?;
            all.extend([(key::NEXT, Some(certificate)), (key::NEXT_KEY, Some(private)), (key::SINCE, None)]);
        }
        AuthorityChange::Trusted => drop(all.insert(key::SINCE, Some(now.to_string()))),
        AuthorityChange::Promote => {
            let former = text(key::CERTIFICATE).unwrap_or_default() + &text(key::FORMER).unwrap_or_default();
            let next = text(key::NEXT).ok_or("there is no next authority")?;
            let private = text(key::NEXT_KEY).ok_or("the next authority has no key")?;
            all.extend([(key::CERTIFICATE, Some(next)), (key::KEY, Some(private))]);
            all.extend([(key::NEXT, None), (key::NEXT_KEY, None), (key::SINCE, None)]);
            all.insert(key::FORMER, (!former.is_empty()).then_some(former));
        }
        AuthorityChange::Drop(ids) => {
            let pem = text(key::FORMER).unwrap_or_default();
            let ders = read::certificates(key::FORMER, pem.as_bytes())?;
            let kept: String =
                ders.iter().filter(|der| !ids.contains(&read::id(der))).map(|der| self::pem(der)).collect();
            all.insert(key::FORMER, (!kept.is_empty()).then_some(kept));
        }
    }
    Ok(all)
}

/// A certificate of services of `kind`, by the authority whose whole Secret is given.
///
/// # Errors
/// The authority cannot be used.
pub(crate) fn certificate(kind: Kind, namespace: &str, whole: &Data, now: i64) -> Result<Change, String> {
    let (mut public, text) =
        (whole.clone(), |key: &str| whole.get(key).and_then(|of| std::str::from_utf8(&of.0).ok()));
    for (key, value) in &mut public {
        if key::PRIVATE.contains(&key.as_str()) {
            value.0 = read::public_half(&value.0).unwrap_or_default();
        }
    }
    let authorities = read::authorities(&public)?;
    let (by, [certificate, private]) = match authorities.signer(now) {
        Some(Signer::Current) => (&authorities.current, [key::CERTIFICATE, key::KEY]),
        Some(Signer::Next) => (&authorities.next, [key::NEXT, key::NEXT_KEY]),
        None => return Err("its authority has ended".to_owned()),
    };
    let by = by.as_ref().ok_or("it has no authority")?;
    let said = |error: rcgen::Error| error.to_string();
    let signing = KeyPair::from_pem(text(private).unwrap_or_default()).map_err(said)?;
    let issuer = Issuer::from_ca_cert_pem(text(certificate).unwrap_or_default(), signing).map_err(said)?;
    let mut params = match kind {
        Kind::CoreShard => {
            let names = [CORE_NAME.to_owned(), format!("{CORE_NAME}.{namespace}.svc")];
            let mut params = CertificateParams::new(names).map_err(said)?;
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
            params
        }
        Kind::Gateway | Kind::Notifier | Kind::Portal => CertificateParams::default(),
    };
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationalUnitName, kind.component());
    params.distinguished_name.push(DnType::CommonName, format!("{} of {namespace}", kind.component()));
    params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    valid(&mut params, now, by.until.min(now.saturating_add(CERTIFICATE_LIFE)));
    let own = KeyPair::generate().map_err(said)?;
    let certificate = params.signed_by(&own, &issuer).map_err(said)?;
    let mut all = trust(whole);
    all.insert(key::CERTIFICATE, Some(certificate.pem()));
    all.insert(key::KEY, Some(own.serialize_pem()));
    Ok(all)
}

/// The authorities that services trust, of what stands in the Secret of the authority.
pub(crate) fn trust(of: &Data) -> Change {
    let all = [key::NEXT, key::CERTIFICATE, key::FORMER].into_iter().filter_map(|key| of.get(key));
    let ders = all.flat_map(|pem| read::certificates("", &pem.0).unwrap_or_default());
    Change::from([(key::TRUSTED, Some(ders.map(|der| pem(&der)).collect()))])
}

fn new_authority(namespace: &str, now: i64) -> Result<(String, String), String> {
    let said = |error: rcgen::Error| error.to_string();
    let own = KeyPair::generate().map_err(said)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // Each has a name of its own: by it is told who has signed what.
    let mut name = format!("Stoker services of {namespace} ");
    for byte in Sha256::digest(own.subject_public_key_info()).iter().take(8) {
        // A String takes all that is written to it.
        let _ = write!(name, "{byte:02x}");
    }
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    valid(&mut params, now, now.saturating_add(AUTHORITY_LIFE));
    let certificate = params.self_signed(&own).map_err(said)?;
    Ok((certificate.pem(), own.serialize_pem()))
}

fn valid(params: &mut CertificateParams, now: i64, until: i64) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let at = |seconds: i64| epoch + Duration::from_secs(seconds.max(0).unsigned_abs());
    (params.not_before, params.not_after) = (at(now - BACKDATED), at(until));
}

/// A certificate in PEM, as `rcgen` writes those that it makes.
pub(super) fn pem(der: &[u8]) -> String {
    let lines = EncodeConfig::new().set_line_ending(LineEnding::LF);
    pem::encode_config(&Pem::new("CERTIFICATE", der), lines)
}
