//! The files of `tls.…` and what rustls makes of them.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::Configs;
use crate::Role;

/// A chain, a key, a few authorities: each is a page of text.
const BYTES_MOST: u64 = 1024 * 1024;
/// What is spoken inside.
const ALPN: &[u8] = b"h2";

/// The PEM files of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Its certificate, and those between that and the authority.
    pub cert: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// The authorities whose certificates it believes.
    pub ca: PathBuf,
    /// The name in the certificates of all cores; where there is none, each has the host of its address.
    pub core_name: Option<String>,
}

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file was not read.
    #[error("failed to read {key} {}: {source}", path.display())]
    Read {
        /// Of the configuration.
        key: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file holds not what it should.
    #[error("{key} {} cannot be used: {reason}", path.display())]
    Content {
        /// Of the configuration.
        key: String,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// No certificate can have that name.
    #[error("tls.core_name {0:?} is neither a host's name nor an address")]
    Name(String),
}

/// What the files hold.
#[derive(PartialEq, Eq)]
pub(super) struct Texts {
    cert: Vec<u8>,
    key: Vec<u8>,
    ca: Vec<u8>,
}

/// Reads a PEM file that the configuration names by `key`: no more of it than such a file can have.
///
/// # Errors
/// [`TlsError`] names key and file.
pub fn read_pem(key: &str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(BYTES_MOST + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes =
        read().map_err(|source| TlsError::Read { key: key.to_owned(), path: path.to_owned(), source })?;
    if bytes.len() as u64 > BYTES_MOST {
        return Err(content(key, path, format!("it has more than {BYTES_MOST} bytes")));
    }
    Ok(bytes)
}

fn content(key: &str, path: &Path, reason: impl ToString) -> TlsError {
    TlsError::Content { key: key.to_owned(), path: path.to_owned(), reason: reason.to_string() }
}

/// The certificates in what was read of a file.
///
/// # Errors
/// [`TlsError`] names key and file where there is none, or one that cannot be read.
pub fn pem_certificates(
    key: &str,
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| content(key, path, error))?;
    if certificates.is_empty() {
        return Err(content(key, path, "it holds no certificate"));
    }
    Ok(certificates)
}

impl Texts {
    pub(super) fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        Ok(Self {
            cert: read_pem("tls.cert", &files.cert)?,
            key: read_pem("tls.key", &files.key)?,
            ca: read_pem("tls.ca", &files.ca)?,
        })
    }

    /// Only the newest TLS, as both ends are ours. Nothing is resumed: connections are few and last, and each is to be
    /// verified.
    pub(super) fn configs(&self, files: &TlsFiles) -> Result<Configs, TlsError> {
        let chain = pem_certificates("tls.cert", &files.cert, &self.cert)?;
        // Without one it would be refused wherever it came.
        Role::of(&chain[0]).map_err(|what| content("tls.cert", &files.cert, format!("it holds {what}")))?;
        let key = || {
            PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| content("tls.key", &files.key, error))
        };
        let mut roots = RootCertStore::empty();
        for certificate in pem_certificates("tls.ca", &files.ca, &self.ca)? {
            roots.add(certificate).map_err(|error| content("tls.ca", &files.ca, error))?;
        }
        let (roots, provider): (_, Arc<CryptoProvider>) =
            (Arc::new(roots), Arc::new(aws_lc_rs::default_provider()));
        let of_ca = |error: &dyn std::fmt::Display| content("tls.ca", &files.ca, error);
        let of_key = |error: rustls::Error| content("tls.key", &files.key, format!("with tls.cert: {error}"));
        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| of_ca(&error))?
            .with_root_certificates(roots.clone())
            .with_client_auth_cert(chain.clone(), key()?)
            .map_err(of_key)?;
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.resumption = Resumption::disabled();
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(|error| of_ca(&error))?;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| of_ca(&error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key()?)
            .map_err(of_key)?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Configs { client: Arc::new(client), server: Arc::new(server) })
    }
}
