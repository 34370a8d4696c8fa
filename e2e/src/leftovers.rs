//! What a platform leaves in the lab, a keyspace and queues, and how it is looked at and removed.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, BasicRejectOptions, ExchangeDeleteOptions, QueueDeleteOptions,
    QueuePurgeOptions,
};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use scylla::client::session_builder::SessionBuilder;
use serde_json::Value;

use crate::lab::Lab;
use crate::wait::eventually;

/// How long the lab may take for it.
const WITHIN: Duration = Duration::from_secs(20);

/// What processes that were killed have written is done by then: Cassandra gives up a write after 2 s.
const WRITES_WITHIN: Duration = Duration::from_secs(3);

/// The broker, past the platform.
#[derive(Debug)]
pub struct Broker {
    prefix: String,
    /// Goes with its last channel, and must not before.
    _connection: Connection,
    channel: Channel,
}

impl Broker {
    /// Where the queues of a configuration are.
    ///
    /// # Errors
    /// It is not there.
    pub async fn of(config: &Path) -> Result<Self> {
        let prefix = text(&read(config)?, "/bus/prefix")?;
        let connection = Connection::connect(&Lab::of(config)?.amqp, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        Ok(Self { prefix, _connection: connection, channel })
    }

    fn name(&self, what: &str) -> String {
        format!("{}.{what}", self.prefix)
    }

    /// Puts bytes into the queue of work that no service would.
    ///
    /// # Errors
    /// The broker does not take them.
    pub async fn publish_work(&self, body: &[u8]) -> Result<()> {
        let (exchange, options) = (self.name("events"), BasicPublishOptions::default());
        let key = "work.default.email.7".into();
        self.channel
            .basic_publish(exchange.into(), key, options, body, BasicProperties::default())
            .await?
            .await?;
        Ok(())
    }

    /// Takes the next message out of the queue of work and refuses it, as a consumer that cannot read it does.
    ///
    /// # Errors
    /// None comes.
    pub async fn reject_work(&self) -> Result<()> {
        let taken = eventually("there is work", || async {
            let got = self.channel.basic_get(self.name("work").into(), BasicGetOptions::default());
            Ok(got.await?)
        });
        taken.await?.delivery.acker.reject(BasicRejectOptions { requeue: false }).await?;
        Ok(())
    }

    async fn remove(&self) -> Result<()> {
        // RabbitMQ 3.10 breaks down for all such queues when one is deleted before it has begun to dead-letter. What the
        // queue answers, it answers after that.
        self.channel.queue_purge(self.name("work").into(), QueuePurgeOptions::default()).await?;
        for queue in ["work", "dead-letters", "feed-listeners"] {
            self.channel.queue_delete(self.name(queue).into(), QueueDeleteOptions::default()).await?;
        }
        for exchange in ["events", "dead"] {
            self.channel
                .exchange_delete(self.name(exchange).into(), ExchangeDeleteOptions::default())
                .await?;
        }
        Ok(())
    }
}

fn read(config: &Path) -> Result<Value> {
    Ok(serde_json::from_slice(&std::fs::read(config)?)?)
}

fn text(config: &Value, pointer: &str) -> Result<String> {
    let text = config.pointer(pointer).and_then(Value::as_str);
    Ok(text.with_context(|| format!("no {pointer} is configured"))?.to_owned())
}

async fn drop_keyspace(config: &Path) -> Result<()> {
    let keyspace = text(&read(config)?, "/cassandra/keyspace")?;
    // Cassandra breaks down, schema and all, when a write to a table comes after the table has gone.
    tokio::time::sleep(WRITES_WITHIN).await;
    let session = SessionBuilder::new().known_nodes(Lab::of(config)?.cassandra).build().await?;
    session.query_unpaged(format!("DROP KEYSPACE IF EXISTS {keyspace}"), ()).await?;
    Ok(())
}

/// Removes all of it, and says what could not be. A queue that no process has made yet is none.
pub(crate) fn remove(config: &Path) {
    let work = || -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let both = async {
            let queues = async { Broker::of(config).await?.remove().await };
            let (queues, keyspace) = tokio::join!(queues, drop_keyspace(config));
            queues.and(keyspace)
        };
        runtime.block_on(async { tokio::time::timeout(WITHIN, both).await })?
    };
    // On a thread of its own: this may be called within a runtime, which cannot be blocked on.
    let removed = std::thread::scope(|scope| scope.spawn(work).join());
    match removed {
        Ok(Ok(())) => {}
        Ok(Err(error)) => println!("── left in the lab: {error:#}"),
        Err(_) => println!("── left in the lab: its removal died"),
    }
}
