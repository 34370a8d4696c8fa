#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::path::Path;

use futures_util::StreamExt;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;
use crate::Incoming;
use crate::incoming::HANDSHAKES_MOST;

/// Longer than anything here takes: what takes so long has failed.
const WITHIN: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(3600);

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn params(names: &[&str], units: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    // Each kind of name is there once; by its number it is another kind.
    let kinds = [DnType::OrganizationalUnitName, DnType::CustomDnType(vec![2, 5, 4, 11])];
    for (kind, unit) in kinds.into_iter().zip(units) {
        params.distinguished_name.push(kind, *unit);
    }
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

impl Authority {
    fn new() -> Self {
        let (mut params, key) = (CertificateParams::default(), KeyPair::generate().unwrap());
        // Two authorities of one name would be told apart by their signatures only.
        params.distinguished_name.push(DnType::CommonName, format!("{:?}", key.public_key_raw()));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Writes `cert`, `key` and `ca` to a directory.
    fn write(&self, to: &Path, params: &CertificateParams) -> TlsFiles {
        let key = KeyPair::generate().unwrap();
        let [cert, key_file, ca] = ["cert", "key", "ca"].map(|name| to.join(name));
        let files = TlsFiles { cert, key: key_file, ca, core_name: None };
        std::fs::write(&files.cert, params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        std::fs::write(&files.ca, &self.pem).unwrap();
        files
    }

    /// A certificate of its own making for somebody.
    fn tls(&self, params: &CertificateParams) -> Tls {
        let directory = TempDir::new().unwrap();
        Tls::open(self.write(directory.path(), params)).unwrap()
    }

    fn core(&self) -> Tls {
        self.tls(&params(&["127.0.0.1"], &["core"]))
    }

    fn gateway(&self) -> Tls {
        self.tls(&params(&["gateway-1"], &["gateway"]))
    }
}

/// Says to each who comes who it is.
struct Server {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start(tls: &Tls, handshake_within: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut incoming = Incoming::new(listener, Some(tls.clone()));
        incoming.within = handshake_within;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Some(accepted) = incoming.next().await {
                let mut accepted = accepted.unwrap();
                let caller = tonic::transport::server::Connected::connect_info(&accepted);
                accepted.write_all(format!("{caller:?}").as_bytes()).await.unwrap();
                // Whoever does not want to hear it has gone.
                drop(accepted.shutdown().await);
            }
        });
        Self { address, _tasks: tasks }
    }

    /// What somebody hears who calls.
    async fn call(&self, tls: &Tls) -> io::Result<String> {
        self.call_as(tls, "127.0.0.1").await
    }

    async fn call_as(&self, tls: &Tls, host: &str) -> io::Result<String> {
        let address = format!("{host}:{}", self.address.port());
        let mut wire = timeout(WITHIN, tls.dial()(address)).await.unwrap()?;
        let mut heard = String::new();
        timeout(WITHIN, wire.read_to_string(&mut heard)).await.unwrap()?;
        Ok(heard)
    }

    /// Somebody who only connects.
    async fn silent(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

async fn was_sent_away(mut silent: TcpStream) -> bool {
    let mut byte = [0];
    // A reset is an end, too.
    matches!(timeout(WITHIN, silent.read(&mut byte)).await.unwrap(), Ok(0) | Err(_))
}

fn says(heard: io::Result<String>, part: &str) {
    let error = heard.unwrap_err().to_string();
    assert!(error.contains(part), "{error}");
}

#[tokio::test]
async fn a_core_knows_the_role_of_whoever_calls() {
    let authority = Authority::new();
    let server = Server::start(&authority.core(), WITHIN).await;
    for (unit, role) in
        [("core", "Core"), ("gateway", "Gateway"), ("notifier", "Notifier"), ("portal", "Portal")]
    {
        let client = authority.tls(&params(&[], &[unit]));
        assert_eq!(server.call(&client).await.unwrap(), format!("Service({role})"));
    }
}

#[tokio::test]
async fn what_another_authority_signed_is_not_believed() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = Server::start(&authority.core(), WITHIN).await;
    says(server.call(&other.gateway()).await, "UnknownIssuer");
    // It believes the server, but is not believed.
    let directory = TempDir::new().unwrap();
    let files = other.write(directory.path(), &params(&[], &["gateway"]));
    std::fs::write(&files.ca, &authority.pem).unwrap();
    let client = Tls::open(files).unwrap();
    let dialed = timeout(WITHIN, client.dial()(server.address.to_string())).await.unwrap();
    says(dialed.map(|_| String::new()), "UnknownCA");
    assert!(server.call(&authority.gateway()).await.is_ok());
}

#[tokio::test]
async fn whoever_shows_no_certificate_is_not_let_in() {
    let authority = Authority::new();
    let server = Server::start(&authority.core(), WITHIN).await;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let stream = server.silent().await;
    let mut stream = connector.connect(host("127.0.0.1:1").unwrap(), stream).await.unwrap();
    let mut heard = String::new();
    says(stream.read_to_string(&mut heard).await.map(|_| heard), "CertificateRequired");
}

#[tokio::test]
async fn a_core_has_the_name_by_which_it_is_called() {
    let authority = Authority::new();
    let named = authority.tls(&params(&["localhost"], &["core"]));
    let server = Server::start(&named, WITHIN).await;
    says(server.call(&authority.gateway()).await, "not valid for");
    assert_eq!(server.call_as(&authority.gateway(), "localhost").await.unwrap(), "Service(Gateway)");
}

#[tokio::test]
async fn cores_may_have_one_name_whatever_their_addresses_are() {
    let (authority, directory) = (Authority::new(), TempDir::new().unwrap());
    let named = authority.tls(&params(&["stoker-cores"], &["core"]));
    let server = Server::start(&named, WITHIN).await;
    let gateway = params(&[], &["gateway"]);
    let client = |name: &str| {
        let files = authority.write(directory.path(), &gateway);
        Tls::open(TlsFiles { core_name: Some(name.to_owned()), ..files })
    };
    let other_name = client("other-cores").unwrap();
    says(server.call(&other_name).await, "not valid for");
    assert_eq!(server.call(&client("stoker-cores").unwrap()).await.unwrap(), "Service(Gateway)");
    // The name says who it is, the role what it is: both have to fit.
    let portal = Server::start(&authority.tls(&params(&["stoker-cores"], &["portal"])), WITHIN).await;
    says(portal.call(&client("stoker-cores").unwrap()).await, "the certificate of a portal, not of a core");
    let error = client("no name").err().unwrap().to_string();
    assert!(error.contains("tls.core_name \"no name\""), "{error}");
}

#[tokio::test]
async fn only_a_core_is_taken_for_a_core() {
    let authority = Authority::new();
    let portal = authority.tls(&params(&["127.0.0.1"], &["portal"]));
    let server = Server::start(&portal, WITHIN).await;
    says(server.call(&authority.gateway()).await, "the certificate of a portal, not of a core");
}

#[tokio::test]
async fn an_expired_certificate_is_worth_nothing() {
    let authority = Authority::new();
    let expired = |names: &[&str], unit| {
        let mut params = params(names, &[unit]);
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        authority.tls(&params)
    };
    let server = Server::start(&authority.core(), WITHIN).await;
    says(server.call(&expired(&[], "gateway")).await, "CertificateExpired");
    let server = Server::start(&expired(&["127.0.0.1"], "core"), WITHIN).await;
    says(server.call(&authority.gateway()).await, "expired");
}

#[tokio::test]
async fn replaced_files_count_for_the_next_connection() {
    let (before, after) = (Authority::new(), Authority::new());
    let (of_server, of_client) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let core = params(&["127.0.0.1"], &["core"]);
    let files = before.write(of_server.path(), &core);
    let server_tls = Tls::looking(files.clone(), Duration::ZERO).unwrap();
    let server = Server::start(&server_tls, WITHIN).await;
    let gateway = params(&[], &["gateway"]);
    let client = Tls::looking(before.write(of_client.path(), &gateway), Duration::ZERO).unwrap();
    assert_eq!(server.call(&client).await.unwrap(), "Service(Gateway)");
    // The key is not there yet: what was read before holds.
    let key = std::fs::read(&files.key).unwrap();
    after.write(of_server.path(), &core);
    let new_key = std::fs::read(&files.key).unwrap();
    std::fs::write(&files.key, key).unwrap();
    assert_eq!(server.call(&client).await.unwrap(), "Service(Gateway)");
    std::fs::write(&files.key, new_key).unwrap();
    says(server.call(&client).await, "UnknownIssuer");
    after.write(of_client.path(), &params(&[], &["portal"]));
    assert_eq!(server.call(&client).await.unwrap(), "Service(Portal)");
}

#[tokio::test]
async fn files_are_not_looked_at_for_every_connection() {
    let (authority, directory) = (Authority::new(), TempDir::new().unwrap());
    let server = Server::start(&authority.core(), WITHIN).await;
    let files = authority.write(directory.path(), &params(&[], &["gateway"]));
    let client = Tls::looking(files, LONG).unwrap();
    authority.write(directory.path(), &params(&[], &["portal"]));
    assert_eq!(server.call(&client).await.unwrap(), "Service(Gateway)");
}

#[tokio::test]
async fn whoever_says_nothing_is_sent_away_and_holds_up_nobody() {
    let authority = Authority::new();
    let server = Server::start(&authority.core(), Duration::from_millis(50)).await;
    assert!(was_sent_away(server.silent().await).await);

    let server = Server::start(&authority.core(), LONG).await;
    let oldest = server.silent().await;
    let mut others = Vec::new();
    for _ in 1..HANDSHAKES_MOST {
        others.push(server.silent().await);
    }
    // All places are taken, and none becomes free by itself.
    assert_eq!(server.call(&authority.gateway()).await.unwrap(), "Service(Gateway)");
    assert!(was_sent_away(oldest).await);
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let (authority, directory) = (Authority::new(), TempDir::new().unwrap());
    let gateway = params(&[], &["gateway"]);
    let write = || authority.write(directory.path(), &gateway);
    let refused = |files: TlsFiles| Tls::open(files).err().unwrap().to_string();
    let files = write();
    std::fs::remove_file(&files.ca).unwrap();
    assert!(refused(files).starts_with("failed to read tls.ca "));
    let files = write();
    std::fs::write(&files.cert, "none").unwrap();
    assert!(refused(files).contains("it holds no certificate"));
    let files = write();
    std::fs::write(&files.key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    assert!(refused(files).starts_with("tls.key "));
    for units in [&[][..], &["boiler"], &["core", "gateway"], &["Core"]] {
        let files = authority.write(directory.path(), &params(&[], units));
        let error = refused(files);
        assert!(error.starts_with("tls.cert ") && error.contains("role"), "{error}");
    }
}

#[test]
fn the_host_of_an_address_is_what_stands_before_the_port() {
    for (address, name) in [("core-1:7400", "core-1"), ("10.0.0.7:7400", "10.0.0.7"), ("[::1]:7400", "::1")] {
        assert_eq!(host(address).unwrap().to_str(), name);
    }
    assert!(host("no host:7400").is_err());
}
