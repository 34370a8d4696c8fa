//! TLS for devices, with client certificates where a CA for them is given.

use std::sync::Arc;
use std::time::Duration;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use stoker_domain::model::OrganizationId;
use stoker_link::Reread;
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Why TLS cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// They were not read.
    #[error("{0}")]
    Read(String),
    /// A PEM text holds not what it should.
    #[error("the {what} could not be read: {reason}")]
    Pem {
        /// What it should hold.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Key and certificate do not fit, or rustls refuses them.
    #[error("TLS could not be set up: {0}")]
    Setup(String),
}

/// The PEM texts of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsTexts {
    /// The certificate chain.
    pub certificates: Vec<u8>,
    /// Its key.
    pub key: Vec<u8>,
    /// The CA whose client certificates let devices in, if any does.
    pub client_ca: Option<Vec<u8>>,
}

/// Files are looked at again for a new connection, at most so often.
const LOOK_EVERY: Duration = Duration::from_secs(2);

type Read = dyn Fn() -> Result<TlsTexts, String> + Send + Sync;

/// A listener's TLS. Files that are replaced count for the connections that come from then on; those that are there stay.
#[derive(Clone)]
pub struct TlsConfig {
    read: Arc<Read>,
    acceptor: Arc<Reread<TlsTexts, TlsAcceptor>>,
    /// Whose devices the client CA signs.
    organization: OrganizationId,
}

impl TlsConfig {
    /// From what `read` brings, now and whenever it may have changed; it may block. With a client CA, its certificates let
    /// the devices of that organization in. `name` is the listener's.
    ///
    /// # Errors
    /// What `read` says, or names the text that does not hold what it should.
    pub fn reading(
        name: &str,
        organization: OrganizationId,
        read: impl Fn() -> Result<TlsTexts, String> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        Self::looking(name, organization, LOOK_EVERY, read)
    }

    fn looking(
        name: &str,
        organization: OrganizationId,
        every: Duration,
        read: impl Fn() -> Result<TlsTexts, String> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        let texts = read().map_err(TlsError::Read)?;
        let acceptor = acceptor(&texts)?;
        let acceptor = Reread::new(format!("the certificates of {name}"), every, texts, acceptor);
        Ok(Self { read: Arc::new(read), acceptor: Arc::new(acceptor), organization })
    }

    /// For a connection that comes now.
    pub(crate) async fn acceptor(&self) -> TlsAcceptor {
        let read = Arc::clone(&self.read);
        self.acceptor.now(move || read().map_err(TlsError::Read), acceptor).await
    }

    /// Organization and device of a client certificate, which was verified.
    pub(crate) fn device(&self, certificate: &CertificateDer<'_>) -> Option<(String, String)> {
        common_name(certificate).map(|device| (self.organization.to_string(), device))
    }
}

fn acceptor(texts: &TlsTexts) -> Result<TlsAcceptor, TlsError> {
    let chain = certificates_of("certificate", &texts.certificates)?;
    let key = PrivateKeyDer::from_pem_slice(&texts.key)
        .map_err(|error| TlsError::Pem { what: "private key", reason: error.to_string() })?;
    let setup = |error: &dyn std::fmt::Display| TlsError::Setup(error.to_string());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| setup(&error))?;
    let builder = match &texts.client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates_of("client CA", ca)? {
                roots.add(certificate).map_err(|error| setup(&error))?;
            }
            // A device may come with a token or password instead.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|error| setup(&error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| setup(&error))?;
    // Thousands of idle connections: what a record needs is made when it comes.
    config.max_fragment_size = None;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates_of(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::Pem { what, reason: error.to_string() })?;
    if certificates.is_empty() {
        return Err(TlsError::Pem { what, reason: "it holds no certificate".to_owned() });
    }
    Ok(certificates)
}

/// The common name of a certificate that was verified.
fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let mut names = certificate.subject().iter_common_name();
    let name = names.next()?.as_str().ok()?.to_owned();
    // Two names would be two devices.
    names.next().is_none().then_some(name)
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use rustls::ClientConfig;
    use rustls_pki_types::ServerName;
    use tokio_rustls::TlsConnector;

    use super::*;

    fn made() -> TlsTexts {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = made.signing_key.serialize_pem().into_bytes();
        TlsTexts { certificates: made.cert.pem().into_bytes(), key, client_ca: None }
    }

    /// Whether a device that believes this certificate alone gets in.
    async fn believes(tls: &TlsConfig, texts: &TlsTexts) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&texts.certificates).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (ours, theirs) = tokio::io::duplex(16 << 10);
        let connector = TlsConnector::from(Arc::new(config));
        let acceptor = tls.acceptor().await;
        let name = ServerName::try_from("localhost").unwrap();
        let (entered, accepted) = tokio::join!(connector.connect(name, ours), acceptor.accept(theirs));
        assert_eq!(entered.is_ok(), accepted.is_ok());
        entered.is_ok()
    }

    #[tokio::test]
    async fn a_certificate_that_is_replaced_is_shown_from_then_on_and_one_that_cannot_be_used_is_not() {
        let (first, second) = (made(), made());
        let texts = Arc::new(Mutex::new(Ok(first.clone())));
        let there = texts.clone();
        let organization = OrganizationId::default_organization();
        let read = move || there.lock().clone();
        let tls = TlsConfig::looking("gateway.mqtts", organization, Duration::ZERO, read).unwrap();
        assert!(believes(&tls, &first).await);
        *texts.lock() = Err("the file is gone".to_owned());
        assert!(believes(&tls, &first).await);
        // Half of them are replaced.
        *texts.lock() = Ok(TlsTexts { key: second.key.clone(), ..first.clone() });
        assert!(believes(&tls, &first).await);
        *texts.lock() = Ok(second.clone());
        assert!(believes(&tls, &second).await);
        assert!(!believes(&tls, &first).await);
    }
}
