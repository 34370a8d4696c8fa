//! Whom we trust with `amqps://`, and with what we show ourselves.

use std::fmt;
use std::sync::Arc;

use lapin::tcp::RustlsConnector;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::error::RabbitError;

/// What TLS towards the broker needs; nothing of it for a broker with a certificate that the system trusts.
#[derive(Clone, Default)]
pub struct BrokerTls {
    /// The only authorities to trust, as PEM; none: the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// Our own certificate chain and key, as PEM, where the broker asks for them.
    pub identity_pem: Option<(Vec<u8>, Vec<u8>)>,
}

impl fmt::Debug for BrokerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerTls")
            .field("ca", &self.ca_pem.is_some())
            .field("identity", &self.identity_pem.is_some())
            .finish()
    }
}

impl BrokerTls {
    /// Reads it all; done once, for all connections.
    pub(super) fn connector(&self) -> Result<RustlsConnector, RabbitError> {
        let wrong = |what: &str, why: &dyn fmt::Display| RabbitError::Tls(format!("{what}: {why}"));
        let mut roots = RootCertStore::empty();
        if let Some(pem) = &self.ca_pem {
            for certificate in certificates(pem).map_err(|error| wrong("the CA", &error))? {
                roots.add(certificate).map_err(|error| wrong("the CA", &error))?;
            }
        } else {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
        if roots.is_empty() {
            let way_out = "none was found; install ca-certificates or set tls.ca";
            return Err(wrong("the authorities to trust", &way_out));
        }
        // Named here, so that it cannot be another one than the rest of the process has.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong("the protocol versions", &error))?
            .with_root_certificates(roots);
        let config = match &self.identity_pem {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = certificates(chain).map_err(|error| wrong("our certificate", &error))?;
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| wrong("our key", &error))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| wrong("our certificate and key", &error))?
            }
        };
        Ok(RustlsConnector::from(Arc::new(config)))
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, rustls_pki_types::pem::Error> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
    if found.is_empty() { Err(rustls_pki_types::pem::Error::NoItemsFound) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_refused_by_name() {
        let tls = BrokerTls { ca_pem: Some(b"not PEM".to_vec()), identity_pem: None };
        let error = tls.connector().unwrap_err().to_string();
        assert!(error.contains("the CA"), "{error}");
    }
}
