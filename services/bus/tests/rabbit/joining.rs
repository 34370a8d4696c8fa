//! Joining the bus: refusals are told at once and with the way out; TLS; the trace context.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use stoker_bus::{RabbitBus, RabbitConfig, RabbitError, RabbitLimits, TraceCarrier, TraceHeaders};
use stoker_domain::ports::bus::Bus;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::contract::fixtures::{gateway, number_of, to_gateway, work};
use super::contract::{take, take_message};
use super::lab::{Lab, in_lab, small, until};
use super::proxy::{Mode, Proxy};

async fn refused(config: RabbitConfig) -> RabbitError {
    Box::pin(RabbitBus::connect(config)).await.expect_err("it cannot join")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_with_other_settings_is_named_with_the_way_out() {
    in_lab(async |lab| {
        let joined = lab.bus(small()).await;
        // Tried for a minute, were it not certain that trying helps nothing.
        let start_within = Duration::from_secs(60);
        let other = RabbitLimits { work_deliveries: 99, start_within, ..small() };
        let error = refused(lab.config(&lab.url, other)).await;
        let said = error.to_string();
        assert!(matches!(error, RabbitError::Conflict { .. }), "{error:?}");
        assert!(said.contains(&format!("queue {}.work exists", lab.prefix)), "{said}");
        assert!(said.contains("x-delivery-limit") && said.contains("bus.prefix"), "{said}");
        joined.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_refused_at_once_and_not_repeated() {
    in_lab(async |lab| {
        let joined = lab.bus(small()).await;
        let mut url: url::Url = lab.url.parse().unwrap();
        url.set_password(Some("wr0ng-one")).unwrap();
        let limits = RabbitLimits { start_within: Duration::from_secs(60), ..small() };
        let error = refused(lab.config(url.as_str(), limits)).await;
        assert!(matches!(error, RabbitError::Refused { .. }), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("wr0ng-one"), "{error:?}");
        joined.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_not_there_or_says_nothing_is_told_within_the_bound() {
    in_lab(async |lab| {
        let joined = lab.bus(small()).await;
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = format!("amqp://guest:guest@{}/", nobody.local_addr().unwrap());
        let limits = RabbitLimits { connect_within: Duration::from_millis(500), ..small() };
        let error = refused(lab.config(&silent, limits.clone())).await.to_string();
        assert!(error.contains("no welcome within 500ms"), "{error}");
        drop(nobody);
        let error = refused(lab.config(&silent, limits)).await;
        assert!(matches!(error, RabbitError::Unreachable { .. }), "{error:?}");
        joined.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_comes_late_is_waited_for() {
    in_lab(async |lab| {
        let proxy = Proxy::start(&lab.url).await;
        proxy.set(Mode::Refuse);
        let limits = RabbitLimits { start_within: Duration::from_secs(60), ..small() };
        let joining = tokio::spawn(Lab::join(lab.config(&proxy.url, limits)));
        until("it tries again and again", || proxy.refused() >= 3).await;
        assert!(!joining.is_finished());
        proxy.set(Mode::Open);
        joining.await.unwrap().end().await;
    })
    .await;
}

/// Believes nobody but the owner of that certificate.
fn trusts(ca: &CertificateDer<'static>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Ends TLS for the broker. Gives its address and its authority's certificate.
async fn tls_in_front_of(url: &str) -> (String, CertificateDer<'static>, tokio::task::JoinHandle<()>) {
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let broker: url::Url = url.parse().unwrap();
    let target = format!("{}:{}", broker.host_str().unwrap(), broker.port().unwrap_or(5672));
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let (acceptor, target) = (acceptor.clone(), target.clone());
            connections.spawn(async move {
                if let Ok(mut client) = acceptor.accept(client).await {
                    let mut broker = TcpStream::connect(target).await.unwrap();
                    let _ended = copy_bidirectional(&mut client, &mut broker).await;
                }
            });
        }
    });
    let url = format!(
        "amqps://{}:{}@localhost:{port}{}",
        broker.username(),
        broker.password().unwrap_or_default(),
        broker.path()
    );
    (url, signed.cert.der().clone(), task)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_carries_the_bus_and_a_stranger_is_not_trusted() {
    in_lab(async |lab| {
        let (url, ca, task) = tls_in_front_of(&lab.url).await;
        let mut config = lab.config(&url, small());
        let error = refused(config.clone()).await;
        assert!(error.to_string().contains("bus.ca"), "{error}");
        config.tls = Some(trusts(&ca));
        let joined = Lab::join(config.clone()).await;
        let mut consumer = joined.bus.consume_work(1).await.unwrap();
        joined.bus.publish_work(work(1)).await.unwrap();
        let delivery = take(&mut consumer).await;
        assert_eq!(number_of(delivery.work()), 1);
        delivery.ack().await;
        joined.end().await;

        let stranger = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        config.tls = Some(trusts(stranger.cert.der()));
        let error = refused(config).await;
        assert!(matches!(error, RabbitError::Stranger { .. }) && error.is_final(), "{error:?}");
        assert!(error.to_string().contains("shows a certificate that is not trusted"), "{error}");
        task.abort();
    })
    .await;
}

#[derive(Debug, Default)]
struct Carrier(Mutex<Vec<TraceHeaders>>);

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

impl TraceCarrier for Carrier {
    fn inject(&self, headers: &mut TraceHeaders) {
        headers.insert("traceparent".into(), PARENT.into());
    }

    fn extract(&self, headers: &TraceHeaders) {
        self.0.lock().unwrap().push(headers.clone());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trace_context_of_a_publisher_comes_to_the_consumer() {
    in_lab(async |lab| {
        let carrier = Arc::<Carrier>::default();
        let mut config = lab.config(&lab.url, small());
        config.trace = Some(Arc::<Carrier>::clone(&carrier));
        let joined = Lab::join(config).await;
        let mut orders = joined.bus.consume_gateway(&gateway("gw-1")).await.unwrap();
        let mut consumer = joined.bus.consume_work(1).await.unwrap();
        joined.bus.publish_to_gateway(&gateway("gw-1"), to_gateway(1)).await.unwrap();
        take_message(&mut orders).await;
        joined.bus.publish_work(work(1)).await.unwrap();
        take(&mut consumer).await.ack().await;
        let expected = TraceHeaders::from([("traceparent".to_owned(), PARENT.to_owned())]);
        assert_eq!(*carrier.0.lock().unwrap(), vec![expected.clone(), expected]);
        joined.end().await;
    })
    .await;
}
