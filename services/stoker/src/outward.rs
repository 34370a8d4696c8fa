//! TLS towards what is not ours, the broker and the database: whom to trust, and what to show of ourselves.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use stoker_link::{pem_certificates, read_pem};

/// The PEM files of one section of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Files {
    /// The section, for errors.
    pub(crate) section: &'static str,
    /// The only authorities to trust; none: the system's.
    pub(crate) ca: Option<PathBuf>,
    /// Our own certificate, where we are asked for one, and those between that and its authority.
    pub(crate) cert: Option<PathBuf>,
    /// The certificate's key.
    pub(crate) key: Option<PathBuf>,
}

impl Files {
    /// True when there is one at all.
    pub(crate) fn any(&self) -> bool {
        self.ca.is_some() || self.cert.is_some() || self.key.is_some()
    }

    /// Reads them; done once, for all connections.
    ///
    /// # Errors
    /// Names the key of the configuration, the file and what is wrong with it.
    pub(crate) fn open(&self) -> Result<Arc<ClientConfig>> {
        let section = self.section;
        // Named here, so that it cannot be another one than the rest of the process has.
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("the protocol versions of TLS cannot be used")?
            .with_root_certificates(self.roots()?);
        let config = match (&self.cert, &self.key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(cert), Some(key)) => {
                let chain = certificates(&format!("{section}.cert"), cert)?;
                let name = format!("{section}.key");
                let private = PrivateKeyDer::from_pem_slice(&read_pem(&name, key)?);
                let private = private.map_err(|error| wrong(&name, key, error))?;
                let mutual = builder.with_client_auth_cert(chain, private);
                mutual.map_err(|error| wrong(&name, key, format!("with {section}.cert: {error}")))?
            }
            _ => bail!("{section}.cert and {section}.key belong together: give both or neither"),
        };
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(path) => {
                let name = format!("{}.ca", self.section);
                for certificate in certificates(&name, path)? {
                    roots.add(certificate).map_err(|error| wrong(&name, path, error))?;
                }
            }
            None => {
                let found = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(found.certs);
                if roots.is_empty() {
                    bail!(
                        "the system trusts no authority: install ca-certificates, or name one by {}.ca",
                        self.section
                    );
                }
            }
        }
        Ok(roots)
    }
}

fn wrong(name: &str, path: &Path, why: impl Display) -> anyhow::Error {
    anyhow::anyhow!("{name} {} cannot be used: {why}", path.display())
}

fn certificates(name: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    Ok(pem_certificates(name, path, &read_pem(name, path)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_used_is_named_by_key_and_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            Some(path)
        };
        let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let good = path("good.crt", &signed.cert.pem());
        let key = path("good.key", &signed.signing_key.serialize_pem());
        let (foreign, text) = (path("other.key", &other.signing_key.serialize_pem()), path("text", "no PEM"));
        let long = path("long", &signed.cert.pem().repeat(2_000));
        let files = |ca: &Option<PathBuf>, cert: &Option<PathBuf>, key: &Option<PathBuf>| Files {
            section: "bus",
            ca: ca.clone(),
            cert: cert.clone(),
            key: key.clone(),
        };
        assert!(files(&good, &good, &key).open().is_ok());
        assert!(files(&good, &None, &None).open().is_ok());
        let nowhere = Some(directory.path().join("nowhere"));
        for (files, says) in [
            (files(&nowhere, &None, &None), "failed to read bus.ca"),
            (files(&text, &None, &None), "it holds no certificate"),
            (files(&long, &None, &None), "it has more than"),
            (files(&good, &good, &None), "bus.cert and bus.key belong together"),
            (files(&good, &None, &key), "bus.cert and bus.key belong together"),
            (files(&good, &text, &key), "bus.cert"),
            (files(&good, &good, &text), "bus.key"),
            (files(&good, &good, &foreign), "with bus.cert"),
        ] {
            let error = format!("{:#}", files.open().unwrap_err());
            assert!(error.contains(says), "{error}");
        }
    }
}
