//! Real connections: what the server itself does before and after any handler.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use stoker_link::{ServerTexts, ServerTls};
use stoker_portal::{PortalConfig, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use crate::fake::Fake;
use crate::harness::TOKEN;

struct Served {
    address: std::net::SocketAddr,
    shutdown: CancellationToken,
    portal: JoinHandle<Result<(), stoker_portal::PortalError>>,
}

async fn serve(config: PortalConfig) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let core = Fake::default().serve().await;
    let portal = tokio::spawn(run(config, core, listener, shutdown.clone()));
    Served { address, shutdown, portal }
}

/// Sends a request and reads up to the end of the connection.
async fn exchange(address: std::net::SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_shutdown_ends_idle_connections_and_then_the_portal() {
    let served = serve(PortalConfig::new(TOKEN)).await;
    let mut idle = TcpStream::connect(served.address).await.unwrap();
    idle.write_all(b"GET /sign-in HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut first = [0; 15];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    served.shutdown.cancel();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    served.portal.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_too_many_is_told_so() {
    let mut config = PortalConfig::new(TOKEN);
    config.limits.connections = 1;
    let served = serve(config).await;
    let mut first = TcpStream::connect(served.address).await.unwrap();
    first.write_all(b"GET /sign-in HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    first.read_exact(&mut [0; 15]).await.unwrap();
    let mut second = TcpStream::connect(served.address).await.unwrap();
    let mut answer = Vec::new();
    second.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("urn:stoker:problem:overloaded"),
        "{answer}"
    );
    drop(first);
    served.shutdown.cancel();
    served.portal.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let served = serve(PortalConfig::new(TOKEN)).await;
    let many: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    let head = format!("GET /sign-in HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{many}\r\n");
    let answer = exchange(served.address, &head).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer:.100}");
    served.shutdown.cancel();
    served.portal.await.unwrap().unwrap();
}

/// Trusts that certificate alone.
fn trusting(pem: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

#[tokio::test]
async fn people_come_by_tls_where_there_is_a_certificate() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let texts = ServerTexts {
        certificates: made.cert.pem().into_bytes(),
        key: made.signing_key.serialize_pem().into_bytes(),
        client_ca: None,
    };
    let tls = ServerTls::reading("portal", move || Ok(texts.clone())).unwrap();
    let served = serve(PortalConfig { tls: Some(tls), https: true, ..PortalConfig::new(TOKEN) }).await;
    let stream = TcpStream::connect(served.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = trusting(&made.cert.pem()).connect(name, stream).await.unwrap();
    let form = format!("secret={TOKEN}");
    let head = format!(
        "POST /sign-in HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\norigin: https://localhost\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
        form.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
    assert!(answer.contains("__Host-stoker=") && answer.contains("; Secure"), "{answer}");
    // Nothing is said without it: what comes is an alert of TLS, if anything.
    let plain = exchange(served.address, "GET /sign-in HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(!plain.contains("HTTP"), "{plain}");
    // A handshake that is never finished holds no shutdown up.
    let idle = TcpStream::connect(served.address).await.unwrap();
    served.shutdown.cancel();
    served.portal.await.unwrap().unwrap();
    drop(idle);
}
