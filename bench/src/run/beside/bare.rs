//! The bare drivers: what they would do if nobody had to be told anything but *written*.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer};
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::serialize::row::SerializeRow;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::{Consistency, SerialConsistency};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::histogram::Histogram;
use crate::lab::Lab;

/// The very tables.
const TABLES: &str = concat!(
    include_str!("../../../../services/store/src/cassandra/migrations/0001_tables.cql"),
    include_str!("../../../../services/store/src/cassandra/migrations/0002_newest.cql")
);
/// A message that does not come back by then is lost.
const WITHIN: Duration = Duration::from_secs(30);
/// What a command and its ledger take up, about.
const ORDER_BYTES: usize = 400;
/// Seconds that points are kept for, as by default.
const TTL: i32 = 30 * 24 * 3_600;

/// Connections to both, with a keyspace and a queue of its own.
pub(super) struct Bare {
    session: Arc<Session>,
    keyspace: String,
    point: PreparedStatement,
    newest: PreparedStatement,
    guard: PreparedStatement,
    put: PreparedStatement,
    /// Where messages go, and where their answers come.
    channels: [Channel; 2],
    queues: [String; 2],
    _connection: Connection,
}

/// One message's rows, as the platform would write them.
struct Rows {
    device: String,
    day: i64,
    ts: i64,
    keys: [&'static str; 2],
}

impl Bare {
    pub(super) async fn connect(lab: &Lab) -> Result<Self> {
        let profile = ExecutionProfile::builder()
            .consistency(Consistency::LocalQuorum)
            .serial_consistency(Some(SerialConsistency::LocalSerial))
            .build();
        let builder = SessionBuilder::new().known_nodes(lab.cassandra.iter().map(ToString::to_string));
        let session =
            Box::pin(builder.default_execution_profile_handle(profile.into_handle()).build()).await?;
        let keyspace = format!("bare_{}", std::process::id());
        let replicas = lab.replicas();
        let make = format!(
            "CREATE KEYSPACE {keyspace} WITH replication = {{'class': 'NetworkTopologyStrategy', 'replication_factor': {replicas}}}"
        );
        session.query_unpaged(make, ()).await.context("failed to make a keyspace")?;
        session.use_keyspace(&keyspace, true).await?;
        let lines = TABLES.lines().filter(|line| !line.trim_start().starts_with("--"));
        let tables = lines.collect::<Vec<_>>().join("\n");
        for table in tables.split(';').filter(|table| !table.trim().is_empty()) {
            session.query_unpaged(table, ()).await.context("failed to make a table")?;
        }
        let point = "INSERT INTO points (organization, device, day, key, ts, value) VALUES (?, ?, ?, ?, ?, ?) USING TTL ?";
        let newest = "INSERT INTO newest (organization, device, day, key, week, value) VALUES (?, ?, ?, ?, ?, ?) \
                      USING TTL ? AND TIMESTAMP ?";
        let (point, newest) = (session.prepare(point).await?, session.prepare(newest).await?);
        let guard = session.prepare("UPDATE slots SET epoch = ? WHERE slot = ? IF epoch = ?").await?;
        let put = session.prepare("INSERT INTO slots (slot, kind, key, value) VALUES (?, ?, ?, ?)").await?;
        let first = "UPDATE slots SET epoch = 1, owner = 'bare' WHERE slot = 7 IF epoch = null";
        session.query_unpaged(first, ()).await?;

        let connection = Connection::connect(&lab.amqp, ConnectionProperties::default()).await?;
        let channels = [connection.create_channel().await?, connection.create_channel().await?];
        let queues = ["there", "back"].map(|way| format!("{keyspace}.{way}"));
        for (channel, queue) in channels.iter().zip(&queues) {
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            let options = QueueDeclareOptions { exclusive: true, ..Default::default() };
            channel.queue_declare(queue.as_str().into(), options, FieldTable::default()).await?;
        }
        let session = Arc::new(session);
        Ok(Self { session, keyspace, point, newest, guard, put, channels, queues, _connection: connection })
    }

    /// Removes what it has made.
    pub(super) async fn leave(&self) -> Result<()> {
        self.session.query_unpaged(format!("DROP KEYSPACE {}", self.keyspace), ()).await?;
        Ok(())
    }

    async fn write(&self, rows: &Rows) -> Result<()> {
        let Rows { device, day, ts, keys } = rows;
        let value = vec![7_u8; 11];
        let mut batch = Batch::new(BatchType::Unlogged);
        let mut values: Vec<Box<dyn SerializeRow + Send + Sync + '_>> = Vec::new();
        for key in keys {
            batch.append_statement(self.point.clone());
            values.push(Box::new(("default", device.as_str(), *day, *key, *ts, &value, TTL)));
            batch.append_statement(self.newest.clone());
            values.push(Box::new(("default", device.as_str(), *day, *key, 1, &value, TTL, *ts)));
        }
        let written = self.session.batch(&batch, values).await;
        written.map(drop).context("the bare driver could not write")
    }

    /// Writes readings of two points, `at_once` at a time, for that long: how many.
    pub(super) async fn rows(self: &Arc<Self>, devices: u32, at_once: u32, lasts: Duration) -> Result<u64> {
        let (until, next, written) = (Instant::now() + lasts, AtomicU64::new(0), AtomicU64::new(0));
        let shared = Arc::new((next, written));
        let begun = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis();
        let begun = i64::try_from(begun)?;
        let mut writers = JoinSet::new();
        for _ in 0..at_once {
            let (bare, shared) = (Arc::clone(self), Arc::clone(&shared));
            writers.spawn(async move {
                while Instant::now() < until {
                    let number = shared.0.fetch_add(1, Relaxed);
                    let rows = Rows {
                        device: format!("bench-{}", number % u64::from(devices)),
                        day: begun / 86_400_000,
                        ts: begun + i64::try_from(number)?,
                        keys: ["t_supply", "p"],
                    };
                    bare.write(&rows).await?;
                    shared.1.fetch_add(1, Relaxed);
                }
                anyhow::Ok(())
            });
        }
        while let Some(ended) = writers.join_next().await {
            ended??;
        }
        Ok(shared.1.load(Relaxed))
    }

    /// One conditional batch, as a slot's owner writes it.
    pub(super) async fn commit(&self, number: u32) -> Result<()> {
        let mut batch = Batch::new(BatchType::Unlogged);
        batch.append_statement(self.guard.clone());
        batch.append_statement(self.put.clone());
        let key = number.to_be_bytes().to_vec();
        let values = ((1_i64, 7_i16, 1_i64), (7_i16, 1_i8, key, vec![7_u8; ORDER_BYTES]));
        let rows = self.session.batch(&batch, values).await?.into_rows_result()?;
        ensure!(rows.rows_num() > 0, "a conditional write was not answered");
        Ok(())
    }

    /// A message there, and its answer back, each confirmed: as often as asked, one after the other.
    pub(super) async fn round_trips(&self, count: u32) -> Result<Histogram> {
        let [there, back] = &self.queues;
        let [out, home] = &self.channels;
        let mut asked = consume(out, there).await?;
        let mut answered = consume(home, back).await?;
        let mut times = Histogram::default();
        for _ in 0..count {
            let begun = Instant::now();
            publish(out, there).await?;
            take(&mut asked).await?;
            publish(home, back).await?;
            take(&mut answered).await?;
            times.record(begun.elapsed());
        }
        for (channel, consumer) in [(out, &asked), (home, &answered)] {
            channel.basic_cancel(consumer.tag(), Default::default()).await?;
        }
        Ok(times)
    }
}

async fn consume(channel: &Channel, queue: &str) -> Result<Consumer> {
    let options = BasicConsumeOptions::default();
    Ok(channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await?)
}

async fn publish(channel: &Channel, queue: &str) -> Result<()> {
    let payload = [7_u8; ORDER_BYTES];
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let sent = channel.basic_publish("".into(), queue.into(), options, &payload, BasicProperties::default());
    let confirmed = timeout(WITHIN, async { sent.await?.await }).await.context("no confirm came")??;
    ensure!(confirmed.is_ack(), "RabbitMQ did not take a message");
    Ok(())
}

async fn take(consumer: &mut Consumer) -> Result<()> {
    let delivery = timeout(WITHIN, consumer.next()).await.context("no message came")?;
    let delivery = delivery.context("the consumer was ended")??;
    delivery.ack(BasicAckOptions::default()).await?;
    Ok(())
}
