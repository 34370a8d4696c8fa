//! Who calls.

use std::fmt;

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What a service is to the others. Its certificate says it, as the organizational unit of its subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Owns slots.
    Core,
    /// Has the devices' connections.
    Gateway,
    /// Delivers notifications.
    Notifier,
    /// Has the HTTP API and the console.
    Portal,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Core, Self::Gateway, Self::Notifier, Self::Portal];

    /// As it stands in a certificate.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Gateway => "gateway",
            Self::Notifier => "notifier",
            Self::Portal => "portal",
        }
    }

    /// That of a certificate, whoever signed it.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, certificate) = X509Certificate::from_der(certificate)
            .map_err(|error| format!("a certificate that cannot be read: {error}"))?;
        let mut units = certificate.subject().iter_organizational_unit().map(|unit| unit.as_str());
        // Two units would be two roles.
        let (Some(Ok(unit)), None) = (units.next(), units.next()) else {
            return Err(
                "a certificate without a role: the organizational unit (OU) of its subject, and that \
                        alone, says core, gateway, notifier or portal"
                    .to_owned(),
            );
        };
        Self::ALL.into_iter().find(|role| role.as_str() == unit).ok_or_else(|| {
            format!("a certificate with the role {unit:?}; there are core, gateway, notifier and portal")
        })
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who is at the other end of a connection to a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Whoever reaches the port: no TLS is configured.
    Anybody,
    /// A service whose certificate was verified.
    Service(Role),
}
