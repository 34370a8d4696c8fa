//! How long a certificate is valid.

use k8s_openapi::api::core::v1::Secret;
use serde::Serialize;
use x509_parser::pem::Pem;

/// A day in seconds.
const DAY: i64 = 86_400;

/// The certificate in a Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Certificate {
    /// The Secret.
    pub(crate) secret: String,
    /// Whole days left, negative once it is over; none when it cannot be told.
    pub(crate) days_left: Option<i64>,
    /// Why it cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

impl Certificate {
    /// That of a Secret that was read, at `now` in seconds since the epoch.
    pub(crate) fn of(name: &str, secret: Result<Option<&Secret>, &str>, now: i64) -> Self {
        let days = match secret {
            Err(why) => Err(why.to_owned()),
            Ok(None) => Err("does not exist".to_owned()),
            Ok(Some(secret)) => ends(secret).map(|end| (end - now).div_euclid(DAY)),
        };
        let (days_left, problem) = match days {
            Ok(days) => (Some(days), None),
            Err(why) => (None, Some(why)),
        };
        Self { secret: name.to_owned(), days_left, problem }
    }
}

/// When the first certificate of `tls.crt` ends: that is the one that is shown.
fn ends(secret: &Secret) -> Result<i64, String> {
    let text = secret.data.as_ref().and_then(|data| data.get("tls.crt")).ok_or("lacks the key tls.crt")?;
    let pem = Pem::iter_from_buffer(&text.0).next().ok_or("tls.crt has no certificate")?;
    let pem = pem.map_err(|_| "tls.crt is no PEM")?;
    let certificate = pem.parse_x509().map_err(|_| "tls.crt has no certificate that can be read")?;
    Ok(certificate.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    fn secret(key: &str, value: &[u8]) -> Secret {
        Secret { data: Some([(key.to_owned(), ByteString(value.to_vec()))].into()), ..Secret::default() }
    }

    #[test]
    fn whole_days_are_left_until_it_ends() {
        let mut parameters = rcgen::CertificateParams::new(vec!["devices.example.com".to_owned()]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(2030, 1, 11);
        let made = parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let secret = secret("tls.crt", made.pem().as_bytes());
        let end: jiff::Timestamp = "2030-01-11T00:00:00Z".parse().unwrap();
        let left = |seconds: i64| {
            Certificate::of("tls", Ok(Some(&secret)), end.as_second() - seconds).days_left.unwrap()
        };
        assert_eq!((left(10 * DAY), left(10 * DAY - 1), left(1), left(0), left(-1)), (10, 9, 0, 0, -1));
    }

    #[test]
    fn what_cannot_be_told_says_why() {
        let problem =
            |secret: Result<Option<&Secret>, &str>| Certificate::of("tls", secret, 0).problem.unwrap();
        assert_eq!(problem(Ok(None)), "does not exist");
        assert_eq!(problem(Err("may not be read")), "may not be read");
        assert_eq!(problem(Ok(Some(&secret("other", b"")))), "lacks the key tls.crt");
        assert_eq!(problem(Ok(Some(&secret("tls.crt", b"nothing")))), "tls.crt has no certificate");
    }
}
