//! What is made is what services take: by their own code, over real connections.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use stoker_link::{Incoming, Tls, TlsFiles};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;

/// Longer than anything takes: it is there to end what hangs.
const WITHIN: Duration = Duration::from_secs(60);
/// Services look at their files at most once in two seconds.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// As the pods of a kind have it.
fn mount(secrets: &Secrets, kind: Kind, at: &Path) -> TlsFiles {
    for (key, value) in secrets.data(certificate_secret(kind)) {
        std::fs::write(at.join(key), value.0).unwrap();
    }
    let [cert, key, ca] = ["tls.crt", "tls.key", "ca.crt"].map(|file| at.join(file));
    TlsFiles { cert, key, ca, core_name: Some("stoker-cores".to_owned()) }
}

fn tls(secrets: &Secrets, kind: Kind) -> Tls {
    let directory = TempDir::new().unwrap();
    Tls::open(mount(secrets, kind, directory.path())).unwrap()
}

/// Says to each who comes who it is.
struct Server {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start(tls: &Tls) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut incoming = Incoming::new(listener, Some(tls.clone()));
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

    /// What somebody hears who calls, by an address.
    async fn call(&self, tls: &Tls) -> std::io::Result<String> {
        let calls = async {
            let mut wire = tls.dial()(self.address.to_string()).await?;
            let mut heard = String::new();
            wire.read_to_string(&mut heard).await?;
            Ok(heard)
        };
        tokio::time::timeout(WITHIN, calls).await.unwrap()
    }
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn role(kind: Kind) -> &'static str {
    match kind {
        Kind::CoreShard => "Service(Core)",
        Kind::Gateway => "Service(Gateway)",
        Kind::Notifier => "Service(Notifier)",
        Kind::Portal => "Service(Portal)",
    }
}

#[tokio::test]
async fn a_core_takes_each_in_its_role_and_is_taken_by_its_name_wherever_it_is() {
    let secrets = Secrets::at_rest(now());
    let server = Server::start(&tls(&secrets, Kind::CoreShard)).await;
    for kind in KINDS {
        assert_eq!(server.call(&tls(&secrets, kind)).await.unwrap(), role(kind));
    }
    // Whoever has another name in mind is not led astray.
    let directory = TempDir::new().unwrap();
    let files = mount(&secrets, Kind::Gateway, directory.path());
    for core_name in [None, Some("other-cores".to_owned())] {
        let client = Tls::open(TlsFiles { core_name, ..files.clone() }).unwrap();
        let error = server.call(&client).await.unwrap_err().to_string();
        assert!(error.contains("not valid for"), "{error}");
    }
}

#[tokio::test]
async fn nobody_else_is_taken_for_a_core_and_no_other_platform_is_believed() {
    let (secrets, others) = (Secrets::at_rest(now()), Secrets::at_rest(now()));
    for kind in [Kind::Gateway, Kind::Notifier, Kind::Portal] {
        let server = Server::start(&tls(&secrets, kind)).await;
        assert!(server.call(&tls(&secrets, Kind::CoreShard)).await.is_err(), "{kind}");
    }
    let server = Server::start(&tls(&secrets, Kind::CoreShard)).await;
    let error = server.call(&tls(&others, Kind::Gateway)).await.unwrap_err().to_string();
    assert!(error.contains("UnknownIssuer"), "{error}");
}

/// What the operator has made over the last months: before the successor of the authority was made, when it was trusted,
/// and when it has signed what one kind has.
fn rotated() -> [Secrets; 3] {
    let now = now();
    let mut secrets = Secrets::at_rest(now - 244 * DAY);
    secrets.settle(now - 10 * DAY);
    let before = secrets.clone();
    secrets.settle(now - 2 * 3600);
    let trusted = secrets.clone();
    secrets.settle(now);
    secrets.0.remove("stoker-gateway-tls");
    secrets.settle(now);
    let all = [before, trusted, secrets];
    let signers = all.each_ref().map(|of| {
        let seen = of.seen();
        let Some(Kept::There(held)) = seen.services.get(&Kind::Gateway) else { panic!("{seen:?}") };
        (held.trusts.len(), held.certificate.clone().unwrap().signed_by)
    });
    assert_eq!([signers[0].0, signers[1].0, signers[2].0], [1, 2, 2]);
    assert!(signers[0].1 == signers[1].1 && signers[1].1 != signers[2].1);
    all
}

#[tokio::test]
async fn while_the_authority_changes_whoever_is_late_by_a_step_is_taken() {
    let all = rotated();
    for step in all.windows(2) {
        for (cores, callers) in [(&step[0], &step[1]), (&step[1], &step[0])] {
            let server = Server::start(&tls(cores, Kind::CoreShard)).await;
            for kind in KINDS {
                assert_eq!(server.call(&tls(callers, kind)).await.unwrap(), role(kind));
            }
        }
    }
    // That is why a successor waits: who does not know of it yet does not take what it has signed.
    let server = Server::start(&tls(&all[0], Kind::CoreShard)).await;
    assert!(server.call(&tls(&all[2], Kind::Gateway)).await.is_err());
}

#[tokio::test]
async fn services_that_run_take_up_what_is_written() {
    let [before, trusted, after] = rotated();
    let (of_core, of_gateway) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let core = Tls::open(mount(&before, Kind::CoreShard, of_core.path())).unwrap();
    let gateway = Tls::open(mount(&before, Kind::Gateway, of_gateway.path())).unwrap();
    let server = Server::start(&core).await;
    assert_eq!(server.call(&gateway).await.unwrap(), "Service(Gateway)");
    // Nothing of this process has been started anew.
    for secrets in [&trusted, &after] {
        mount(secrets, Kind::CoreShard, of_core.path());
        mount(secrets, Kind::Gateway, of_gateway.path());
        tokio::time::pause();
        tokio::time::advance(LOOK_EVERY).await;
        tokio::time::resume();
        assert_eq!(server.call(&gateway).await.unwrap(), "Service(Gateway)");
        assert_eq!(server.call(&tls(secrets, Kind::Gateway)).await.unwrap(), "Service(Gateway)");
    }
}
