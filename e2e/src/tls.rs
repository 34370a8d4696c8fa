//! Certificates for devices.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// A CA whose certificates let devices in.
#[derive(Debug)]
pub struct ClientCa {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, in PEM.
    pub path: PathBuf,
    directory: PathBuf,
}

/// A certificate and its key, in files of PEM.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    /// The certificate.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

fn named(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters
}

impl ClientCa {
    /// Makes a CA in a directory.
    ///
    /// # Errors
    /// It could not be made or written.
    pub fn make(directory: &Path, name: &str) -> Result<Self> {
        let mut parameters = named(name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let certificate = parameters.self_signed(&key)?;
        let path = directory.join(format!("{name}.crt"));
        fs::write(&path, certificate.pem())?;
        Ok(Self { issuer: Issuer::new(parameters, key), path, directory: directory.to_owned() })
    }

    /// Signs a certificate for a server of these names and addresses.
    ///
    /// # Errors
    /// It could not be made or written.
    pub fn sign_server(&self, name: &str, hosts: &[&str]) -> Result<ClientCertificate> {
        let mut parameters =
            CertificateParams::new(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>())?;
        parameters.distinguished_name.push(DnType::CommonName, name);
        self.signed(name, parameters)
    }

    /// Signs a certificate for the device of that id.
    ///
    /// # Errors
    /// It could not be made or written.
    pub fn sign(&self, device: &str) -> Result<ClientCertificate> {
        self.signed(device, named(device))
    }

    fn signed(&self, name: &str, parameters: CertificateParams) -> Result<ClientCertificate> {
        let key = KeyPair::generate()?;
        let made = parameters.signed_by(&key, &self.issuer)?;
        let path = |end: &str| self.directory.join(format!("{name}.{end}"));
        let signed = ClientCertificate { certificate: path("crt"), key: path("key") };
        fs::write(&signed.certificate, made.pem())?;
        fs::write(&signed.key, key.serialize_pem())?;
        Ok(signed)
    }
}
