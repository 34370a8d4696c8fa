//! TLS for those who come from without, devices and people, with client certificates where a CA for them is given.

use std::sync::Arc;
use std::time::Duration;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::Reread;

/// Why TLS cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum ServerTlsError {
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
pub struct ServerTexts {
    /// The certificate chain.
    pub certificates: Vec<u8>,
    /// Its key.
    pub key: Vec<u8>,
    /// The CA whose client certificates are believed, if any is; they need not be shown.
    pub client_ca: Option<Vec<u8>>,
}

/// Files are looked at again for a new connection, at most so often.
const LOOK_EVERY: Duration = Duration::from_secs(2);

type Read = dyn Fn() -> Result<ServerTexts, String> + Send + Sync;

/// A listener's TLS. Files that are replaced count for the connections that come from then on; those that are there stay.
#[derive(Clone)]
pub struct ServerTls {
    read: Arc<Read>,
    acceptor: Arc<Reread<ServerTexts, TlsAcceptor>>,
}

impl ServerTls {
    /// From what `read` brings, now and whenever it may have changed; it may block. `name` is the listener's.
    ///
    /// # Errors
    /// What `read` says, or names the text that does not hold what it should.
    pub fn reading(
        name: &str,
        read: impl Fn() -> Result<ServerTexts, String> + Send + Sync + 'static,
    ) -> Result<Self, ServerTlsError> {
        Self::looking(name, LOOK_EVERY, read)
    }

    fn looking(
        name: &str,
        every: Duration,
        read: impl Fn() -> Result<ServerTexts, String> + Send + Sync + 'static,
    ) -> Result<Self, ServerTlsError> {
        let texts = read().map_err(ServerTlsError::Read)?;
        let acceptor = acceptor(&texts)?;
        let acceptor = Reread::new(format!("the certificates of {name}"), every, texts, acceptor);
        Ok(Self { read: Arc::new(read), acceptor: Arc::new(acceptor) })
    }

    /// For a connection that comes now.
    pub async fn acceptor(&self) -> TlsAcceptor {
        let read = Arc::clone(&self.read);
        self.acceptor.now(move || read().map_err(ServerTlsError::Read), acceptor).await
    }
}

impl std::fmt::Debug for ServerTls {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls").finish_non_exhaustive()
    }
}

fn acceptor(texts: &ServerTexts) -> Result<TlsAcceptor, ServerTlsError> {
    let chain = certificates_of("certificate", &texts.certificates)?;
    let key = PrivateKeyDer::from_pem_slice(&texts.key)
        .map_err(|error| ServerTlsError::Pem { what: "private key", reason: error.to_string() })?;
    let setup = |error: &dyn std::fmt::Display| ServerTlsError::Setup(error.to_string());
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
            // Who shows none has another credential.
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

fn certificates_of(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ServerTlsError> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| ServerTlsError::Pem { what, reason: error.to_string() })?;
    if certificates.is_empty() {
        return Err(ServerTlsError::Pem { what, reason: "it holds no certificate".to_owned() });
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use rustls::ClientConfig;
    use rustls_pki_types::ServerName;
    use tokio_rustls::TlsConnector;

    use super::*;

    fn made() -> ServerTexts {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = made.signing_key.serialize_pem().into_bytes();
        ServerTexts { certificates: made.cert.pem().into_bytes(), key, client_ca: None }
    }

    /// Whether a device that believes this certificate alone gets in.
    async fn believes(tls: &ServerTls, texts: &ServerTexts) -> bool {
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
        let read = move || there.lock().clone();
        let tls = ServerTls::looking("gateway.mqtts", Duration::ZERO, read).unwrap();
        assert!(believes(&tls, &first).await);
        *texts.lock() = Err("the file is gone".to_owned());
        assert!(believes(&tls, &first).await);
        // Half of them are replaced.
        *texts.lock() = Ok(ServerTexts { key: second.key.clone(), ..first.clone() });
        assert!(believes(&tls, &first).await);
        *texts.lock() = Ok(second.clone());
        assert!(believes(&tls, &second).await);
        assert!(!believes(&tls, &first).await);
    }
}
