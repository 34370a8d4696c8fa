//! TLS for devices, and the device that a client certificate is of.

use rustls_pki_types::CertificateDer;
use stoker_domain::model::OrganizationId;
use stoker_link::ServerTls;
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A listener's TLS.
#[derive(Clone)]
pub struct TlsConfig {
    tls: ServerTls,
    /// Whose devices the client CA signs.
    organization: OrganizationId,
}

impl TlsConfig {
    /// Where there is a client CA, its certificates let the devices of that organization in.
    #[must_use]
    pub fn new(tls: ServerTls, organization: OrganizationId) -> Self {
        Self { tls, organization }
    }

    /// For a connection that comes now.
    pub(crate) async fn acceptor(&self) -> TlsAcceptor {
        self.tls.acceptor().await
    }

    /// Organization and device of a client certificate, which was verified.
    pub(crate) fn device(&self, certificate: &CertificateDer<'_>) -> Option<(String, String)> {
        common_name(certificate).map(|device| (self.organization.to_string(), device))
    }
}

/// The common name of a certificate that was verified.
fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let mut names = certificate.subject().iter_common_name();
    let name = names.next()?.as_str().ok()?.to_owned();
    // Two names would be two devices.
    names.next().is_none().then_some(name)
}
