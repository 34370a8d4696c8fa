//! Exchanges and durable queues. Every process declares all of them, so none depends on another's having been there;
//! declaring what exists already changes nothing.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ErrorKind, ExchangeKind};

use super::config::RabbitConfig;
use super::error::RabbitError;
use super::link::Link;
use super::names::ALL_WORK;

/// The broker's code for "it exists and is another".
const PRECONDITION_FAILED: u16 = 406;
/// More looks than anybody takes.
const LOOKS: u32 = 1_000_000_000;
/// A queue that goes with its consumer never had one where subscribing was given up halfway; it goes after this time.
pub(super) const UNREAD_MS: u32 = 60_000;

pub(super) async fn declare(link: &Link, config: &RabbitConfig) -> Result<(), RabbitError> {
    let (prefix, limits) = (&config.prefix, &config.limits);
    let channel = link.channel().await?;
    let step = Step { link, channel: &channel };
    step.exchange(prefix.events(), ExchangeKind::Topic).await?;
    step.exchange(prefix.dead_exchange(), ExchangeKind::Fanout).await?;

    let mut dead = quorum(limits.dead_letters);
    dead.insert("x-overflow".into(), text("drop-head"));
    // Each look at a letter is a delivery. RabbitMQ 4 throws away after twenty what has no limit of its own.
    dead.insert("x-delivery-limit".into(), AMQPValue::LongUInt(LOOKS));
    step.queue(prefix.dead_letters(), dead).await?;
    step.bind(prefix.dead_letters(), prefix.dead_exchange(), "").await?;

    let mut work = quorum(limits.work);
    work.insert("x-overflow".into(), text("reject-publish"));
    work.insert("x-delivery-limit".into(), AMQPValue::LongUInt(limits.work_deliveries));
    work.insert("x-dead-letter-exchange".into(), text(&prefix.dead_exchange()));
    // The broker keeps a dead letter until the queue of dead letters has confirmed it.
    work.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    step.queue(prefix.work(), work).await?;
    step.bind(prefix.work(), prefix.events(), ALL_WORK).await?;

    // Never holds a message: who listens to the live feed consumes from it, and the broker counts.
    let mut listeners = FieldTable::default();
    listeners.insert("x-max-length".into(), AMQPValue::LongUInt(1));
    step.queue(prefix.listeners(), listeners).await
}

fn quorum(max_length: u32) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments.insert("x-max-length".into(), AMQPValue::LongUInt(max_length));
    arguments
}

pub(super) fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

struct Step<'a> {
    link: &'a Link,
    channel: &'a Channel,
}

impl Step<'_> {
    async fn exchange(&self, name: String, kind: ExchangeKind) -> Result<(), RabbitError> {
        let what = format!("exchange {name}");
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let declared = self.channel.exchange_declare(name.into(), kind, options, FieldTable::default());
        self.link.ask(&format!("declare {what}"), declared).await.map_err(|error| conflict(what, error))
    }

    async fn queue(&self, name: String, arguments: FieldTable) -> Result<(), RabbitError> {
        let what = format!("queue {name}");
        let declared = self.channel.queue_declare(name.into(), QueueDeclareOptions::durable(), arguments);
        let asked = self.link.ask(&format!("declare {what}"), declared).await;
        asked.map(drop).map_err(|error| conflict(what, error))
    }

    async fn bind(&self, queue: String, exchange: String, key: &str) -> Result<(), RabbitError> {
        let doing = format!("bind queue {queue}");
        let options = QueueBindOptions::default();
        let bound = self.channel.queue_bind(
            queue.into(),
            exchange.into(),
            key.into(),
            options,
            FieldTable::default(),
        );
        self.link.ask(&doing, bound).await
    }
}

fn conflict(what: String, error: RabbitError) -> RabbitError {
    if let RabbitError::Broker { source, .. } = &error
        && let ErrorKind::ProtocolError(said) = source.kind()
        && said.get_id() == PRECONDITION_FAILED
    {
        return RabbitError::Conflict { what, said: said.get_message().to_string() };
    }
    error
}
