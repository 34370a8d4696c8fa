//! TLS for devices, with client certificates where a CA for them is given.

use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use stoker_domain::model::OrganizationId;
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Why TLS cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
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

/// A listener's TLS.
#[derive(Clone)]
pub struct TlsConfig {
    pub(crate) acceptor: TlsAcceptor,
    /// Whose devices the client CA signs.
    pub(crate) organization: Option<OrganizationId>,
}

impl TlsConfig {
    /// From PEM texts: the certificate chain, its key, and optionally the CA whose client certificates let the devices
    /// of one organization in.
    ///
    /// # Errors
    /// [`TlsError`] names the text that does not hold what it should.
    pub fn from_pem(
        certificates: &[u8],
        key: &[u8],
        client_ca: Option<(&[u8], OrganizationId)>,
    ) -> Result<Self, TlsError> {
        let chain = certificates_of("certificate", certificates)?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| TlsError::Pem { what: "private key", reason: error.to_string() })?;
        let setup = |error: &dyn std::fmt::Display| TlsError::Setup(error.to_string());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| setup(&error))?;
        let (builder, organization) = match client_ca {
            None => (builder.with_no_client_auth(), None),
            Some((ca, organization)) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates_of("client CA", ca)? {
                    roots.add(certificate).map_err(|error| setup(&error))?;
                }
                // A device may come with a token or password instead.
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| setup(&error))?;
                (builder.with_client_cert_verifier(verifier), Some(organization))
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| setup(&error))?;
        // Thousands of idle connections: what a record needs is made when it comes.
        config.max_fragment_size = None;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), organization })
    }
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
pub(crate) fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let mut names = certificate.subject().iter_common_name();
    let name = names.next()?.as_str().ok()?.to_owned();
    // Two names would be two devices.
    names.next().is_none().then_some(name)
}
