//! A broker's corner of our own.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions, QueuePurgeOptions};
use lapin::uri::AMQPUri;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use stoker_bus::{Prefix, RabbitBus, RabbitConfig, RabbitError, RabbitLimits};
use tokio::runtime::Handle;
use tokio::sync::RwLock;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Bounds that tests can reach. A gateway's queue has room for 4, one of them read ahead; a listener's for 9.
pub(crate) fn small() -> RabbitLimits {
    RabbitLimits {
        work: 200,
        work_deliveries: 5,
        gateway: 3,
        gateway_prefetch: 1,
        feed: 8,
        feed_prefetch: 1,
        room_within: Duration::from_secs(5),
        confirm_within: Duration::from_secs(5),
        answer_within: Duration::from_secs(5),
        connect_within: Duration::from_secs(5),
        start_within: Duration::ZERO,
        heartbeat_s: 1,
        listeners_every: Duration::from_millis(50),
        ..RabbitLimits::default()
    }
}

/// Names of our own at the broker.
pub(crate) struct Lab {
    pub(crate) url: String,
    pub(crate) prefix: Prefix,
}

/// A bus with the task that keeps it alive.
pub(crate) struct Joined {
    pub(crate) bus: RabbitBus,
    pub(crate) driver: JoinHandle<Result<(), RabbitError>>,
}

impl Joined {
    /// Closes it, and sees that all of it comes to an end.
    pub(crate) async fn end(self) {
        self.bus.close();
        timeout(Duration::from_secs(20), self.driver).await.expect("the bus ends").unwrap().unwrap();
    }
}

impl Lab {
    fn with_own_names() -> Self {
        let url = std::env::var("STOKER_TEST_AMQP").unwrap_or_else(|_| {
            panic!("these tests need a RabbitMQ: set STOKER_TEST_AMQP to its address, amqp://guest:guest@127.0.0.1:5672/%2f")
        });
        let prefix = format!("test-{:016x}", getrandom::u64().unwrap()).parse().unwrap();
        Self { url, prefix }
    }

    /// Another platform at the same broker; to be [removed](Self::remove).
    pub(crate) fn another(&self) -> Self {
        Self::with_own_names()
    }

    pub(crate) fn config(&self, url: &str, limits: RabbitLimits) -> RabbitConfig {
        let mut config = RabbitConfig::new(url.parse().unwrap(), "test");
        config.prefix = self.prefix.clone();
        config.limits = limits;
        config
    }

    pub(crate) async fn join(config: RabbitConfig) -> Joined {
        let (bus, driver) = Box::pin(RabbitBus::connect(config)).await.unwrap();
        Joined { bus, driver: tokio::spawn(driver.run()) }
    }

    pub(crate) async fn bus(&self, limits: RabbitLimits) -> Joined {
        Self::join(self.config(&self.url, limits)).await
    }

    /// A channel past the adapter.
    pub(crate) async fn raw(&self) -> (Connection, Channel) {
        let mut uri: AMQPUri = self.url.parse().unwrap();
        // The library's task for it looks up once in a heartbeat, and ends then.
        uri.query.heartbeat = Some(1);
        let connection = Connection::connect_uri(uri, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        (connection, channel)
    }

    /// Publishes what the adapter never would.
    pub(crate) async fn publish_raw(&self, key: &str, body: &[u8], properties: BasicProperties) {
        let (_connection, channel) = self.raw().await;
        let exchange = format!("{}.events", self.prefix);
        channel.confirm_select(Default::default()).await.unwrap();
        let options = lapin::options::BasicPublishOptions { mandatory: true, ..Default::default() };
        let published =
            channel.basic_publish(exchange.as_str().into(), key.into(), options, body, properties);
        let confirmation = published.await.unwrap().await.unwrap();
        assert!(confirmation.is_ack() && confirmation.take_message().is_none(), "it is routed");
    }

    pub(crate) async fn remove(&self) {
        let (connection, channel) = self.raw().await;
        // RabbitMQ 3.10 breaks down for all such queues when one is deleted before it has begun to dead-letter. What the
        // queue answers, it answers after that.
        let name = format!("{}.work", self.prefix);
        channel.queue_purge(name.as_str().into(), QueuePurgeOptions::default()).await.unwrap();
        for queue in ["work", "dead-letters", "feed-listeners"] {
            let name = format!("{}.{queue}", self.prefix);
            channel.queue_delete(name.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
        }
        for exchange in ["events", "dead"] {
            let name = format!("{}.{exchange}", self.prefix);
            channel.exchange_delete(name.as_str().into(), ExchangeDeleteOptions::default()).await.unwrap();
        }
        connection.close(200, "done".into()).await.unwrap();
    }
}

/// Tests share the broker, but for those that stop it.
static BROKER: RwLock<()> = RwLock::const_new(());

/// Runs a test with names of its own, and removes them however it ends.
pub(crate) async fn in_lab(test: impl AsyncFnOnce(&Lab)) {
    let _shared = BROKER.read().await;
    with_names(test, async || {}).await;
}

/// The same, while no other test uses the broker. `mend` is called when it has failed.
pub(crate) async fn alone_in_lab(test: impl AsyncFnOnce(&Lab), mend: impl AsyncFnOnce()) {
    let _alone = BROKER.write().await;
    with_names(test, mend).await;
}

async fn with_names(test: impl AsyncFnOnce(&Lab), mend: impl AsyncFnOnce()) {
    let lab = Lab::with_own_names();
    let outcome = AssertUnwindSafe(test(&lab)).catch_unwind().await;
    if outcome.is_err() {
        mend().await;
    }
    lab.remove().await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
    // Those of the client library too: each test has a runtime of its own.
    until("every task has ended", || Handle::current().metrics().num_alive_tasks() == 0).await;
}

/// Waits for something that comes soon, without saying when.
pub(crate) async fn until(what: &str, seen: impl FnMut() -> bool) {
    let mut seen = seen;
    super::contract::soon(what, async || seen()).await;
}
