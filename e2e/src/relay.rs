//! A relay in front of a server: one that may come late and go, that speaks TLS where the server does not, or that says
//! whose connections it passes on.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::tls::{ClientCa, ClientCertificate};

/// Any port that is free.
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// How connections are passed on.
#[derive(Clone, Default)]
struct Way {
    tls: Option<TlsAcceptor>,
    /// What the server hears before anything of the client.
    first: Arc<[u8]>,
}

/// Passes connections on to a server. With it they end.
#[derive(Debug)]
pub struct Relay {
    /// Where it listens.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Relay {
    /// An address at which nobody listens now.
    ///
    /// # Errors
    /// There is none.
    pub fn free() -> Result<SocketAddr> {
        crate::ports::free()
    }

    /// Listens at this address for the server at `target`.
    ///
    /// # Errors
    /// The address is taken.
    pub async fn start(at: SocketAddr, target: &str) -> Result<Self> {
        Self::listen(at, target, Way::default()).await
    }

    /// In front of the server at `target`, to which it first says this of every connection.
    ///
    /// # Errors
    /// No address is free.
    pub async fn announcing(target: SocketAddr, first: Vec<u8>) -> Result<Self> {
        let way = Way { first: first.into(), ..Way::default() };
        Self::listen(ANY, &target.to_string(), way).await
    }

    /// In front of the server at `target`, by TLS: it shows `own`, and lets in only who shows what `ca` has signed.
    ///
    /// # Errors
    /// A file cannot be used.
    pub async fn with_tls(target: &str, own: &ClientCertificate, ca: &ClientCa) -> Result<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&fs::read(&ca.path)?)?)?;
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
        let chain = vec![CertificateDer::from_pem_slice(&fs::read(&own.certificate)?)?];
        let key = PrivateKeyDer::from_pem_slice(&fs::read(&own.key)?)?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)?;
        let way = Way { tls: Some(TlsAcceptor::from(Arc::new(config))), ..Way::default() };
        Self::listen(ANY, target, way).await
    }

    async fn listen(at: SocketAddr, target: &str, way: Way) -> Result<Self> {
        let listener = TcpListener::bind(at).await.context("failed to listen")?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(serve(listener, way, target.to_owned()));
        Ok(Self { address, task })
    }
}

async fn serve(listener: TcpListener, way: Way, target: String) {
    let mut connections = JoinSet::new();
    while let Ok((mut client, _)) = listener.accept().await {
        let (Way { tls, first }, target) = (way.clone(), target.clone());
        connections.spawn(async move {
            let Ok(mut server) = TcpStream::connect(target).await else { return };
            if server.write_all(&first).await.is_err() {
                return;
            }
            // Either may end it.
            drop(match tls {
                None => copy_bidirectional(&mut client, &mut server).await,
                Some(tls) => match tls.accept(client).await {
                    Ok(mut client) => copy_bidirectional(&mut client, &mut server).await,
                    Err(error) => Err(error),
                },
            });
        });
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}
