//! Another certificate: who is connected stays, and who connects is shown the new one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::kube::Kube;
use crate::device::{Device, Login};

/// The kubelet renews the files of Secrets once a minute or so, and a gateway looks at them within seconds.
const SHOWN_WITHIN: Duration = Duration::from_secs(240);
/// So many connections in a row have to be shown it: they go to whichever pod.
const IN_A_ROW: u32 = 24;
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A step of a connection that takes longer has failed.
const STEP_WITHIN: Duration = Duration::from_secs(15);
/// Longer than the act: nobody is to be asked whether he is still there but by the run.
const KEEP_ALIVE_S: u16 = 900;

/// Where devices connect by TLS.
#[derive(Debug, Clone)]
pub(super) struct Door {
    /// `host:port`.
    pub(super) address: String,
    pub(super) hostname: String,
    /// The Secret with its certificate.
    pub(super) secret: String,
}

/// Takes any certificate: what is looked at is which one it is. That who shows it has its key is proved.
#[derive(Debug)]
struct Any(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// A certificate that nobody had before.
struct Made {
    der: CertificateDer<'static>,
    pem: String,
    key: String,
}

fn make(hostname: &str) -> Result<Made> {
    let mut parameters = CertificateParams::new(vec![hostname.to_owned()])?;
    parameters.distinguished_name.push(DnType::CommonName, hostname);
    let key = KeyPair::generate()?;
    let made = parameters.self_signed(&key)?;
    Ok(Made { der: made.der().clone(), pem: made.pem(), key: key.serialize_pem() })
}

fn connector() -> Result<TlsConnector> {
    let provider = CryptoProvider::get_default().context("no provider of cryptography is installed")?;
    let verifier = Arc::new(Any(provider.signature_verification_algorithms));
    let mut config =
        ClientConfig::builder().dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    // A session that goes on from a former one is shown no certificate.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

impl Door {
    async fn dial(&self, connector: &TlsConnector) -> Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(self.hostname.clone())?;
        let dial = async {
            let stream = TcpStream::connect(self.address.as_str()).await?;
            stream.set_nodelay(true)?;
            connector.connect(name, stream).await
        };
        let stream = timeout(STEP_WITHIN, dial).await.context("nobody answers")?;
        stream.with_context(|| format!("failed to connect to {} by TLS", self.address))
    }

    /// Whether it shows that certificate.
    async fn shows(&self, connector: &TlsConnector, der: &CertificateDer<'_>) -> Result<bool> {
        let stream = self.dial(connector).await?;
        let (_, session) = stream.get_ref();
        Ok(session.peer_certificates().and_then(<[_]>::first).is_some_and(|shown| shown == der))
    }

    /// Puts a new certificate in place of the old one under devices that are connected. Returns after how long it was
    /// shown to all, and which devices lost their connection.
    pub(super) async fn renew(&self, kube: &Kube, logins: &[Login]) -> Result<(Duration, Vec<String>)> {
        let connector = connector()?;
        let mut connected = Vec::new();
        for login in logins {
            let stream = self.dial(&connector).await?;
            let device = timeout(STEP_WITHIN, Device::enter(stream, login, KEEP_ALIVE_S)).await;
            connected.push((login, device.with_context(|| format!("{} is not let in", login.id))??));
        }
        let made = make(&self.hostname)?;
        let begun = Instant::now();
        kube.certify(&self.secret, &made.pem, &made.key).await?;
        let (mut in_a_row, mut last) = (0, None);
        while in_a_row < IN_A_ROW {
            let waited = begun.elapsed().as_secs();
            ensure!(
                begun.elapsed() < SHOWN_WITHIN,
                "the certificate of Secret {} is not shown to all after {waited} s{}",
                self.secret,
                last.map(|error: anyhow::Error| format!("; the last try: {error:#}")).unwrap_or_default()
            );
            match self.shows(&connector, &made.der).await {
                Ok(true) => in_a_row += 1,
                other => {
                    (in_a_row, last) = (0, other.err());
                    sleep(LOOK_EVERY).await;
                }
            }
        }
        let shown = begun.elapsed();
        let mut lost = Vec::new();
        for (login, mut device) in connected {
            match timeout(STEP_WITHIN, device.ping()).await.context("no answer").flatten() {
                // Whether the goodbye is heard is the platform's to say: the device is not asked for any more.
                Ok(()) => drop(timeout(STEP_WITHIN, device.leave()).await),
                Err(error) => lost.push(format!("{}: {error:#}", login.id)),
            }
        }
        Ok((shown, lost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_certificate_is_another_one_of_that_name() {
        let [one, other] = [(); 2].map(|()| make("devices.example.com").unwrap());
        assert_ne!(one.der, other.der);
        assert!(one.pem.starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(one.key.contains("PRIVATE KEY"));
    }
}
