//! Exchanges and durable queues. Every process declares all of them, so none depends on another's having been there;
//! declaring what exists already changes nothing.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::protocol::AMQPError;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ErrorKind, ExchangeKind};

use super::config::RabbitConfig;
use super::error::RabbitError;
use super::link::Link;
use super::names::ALL_WORK;

/// The broker's code for "it exists and is another".
const PRECONDITION_FAILED: u16 = 406;
/// And the one for "there is none".
const NOT_FOUND: u16 = 404;
/// More looks than anybody takes.
const LOOKS: u32 = 1_000_000_000;
/// A queue that goes with its consumer never had one where subscribing was given up halfway; it goes after this time.
const UNREAD_MS: u32 = 60_000;

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
    step.queue(prefix.dead_letters(), QueueDeclareOptions::durable(), dead).await?;
    step.bind(prefix.dead_letters(), prefix.dead_exchange(), "").await?;

    let mut work = quorum(limits.work);
    work.insert("x-overflow".into(), text("reject-publish"));
    work.insert("x-delivery-limit".into(), AMQPValue::LongUInt(limits.work_deliveries));
    work.insert("x-dead-letter-exchange".into(), text(&prefix.dead_exchange()));
    // The broker keeps a dead letter until the queue of dead letters has confirmed it.
    work.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    step.queue(prefix.work(), QueueDeclareOptions::durable(), work).await?;
    step.bind(prefix.work(), prefix.events(), ALL_WORK).await?;

    // Never holds a message: who listens to the live feed consumes from it, and the broker counts.
    let mut listeners = FieldTable::default();
    listeners.insert("x-max-length".into(), AMQPValue::LongUInt(1));
    step.queue(prefix.listeners(), QueueDeclareOptions::durable(), listeners).await
}

/// Sees that a platform is there, and makes nothing.
pub(super) async fn look(link: &Link, config: &RabbitConfig) -> Result<(), RabbitError> {
    let channel = link.channel().await?;
    let prefix = &config.prefix;
    for queue in [prefix.work(), prefix.dead_letters(), prefix.listeners()] {
        let what = format!("queue {queue}");
        let options = QueueDeclareOptions::default().passive();
        let asked = channel.queue_declare(queue.into(), options, FieldTable::default());
        let found = link.ask(&format!("look for {what}"), asked).await;
        found.map_err(|error| match said(&error) {
            Some(said) if said.get_id() == NOT_FOUND => {
                RabbitError::Absent { what, broker: config.url.clone() }
            }
            _ => error,
        })?;
    }
    Ok(())
}

/// What the broker said, when it closed a channel over a request.
fn said(error: &RabbitError) -> Option<&AMQPError> {
    match error {
        RabbitError::Broker { source, .. } => match source.kind() {
            ErrorKind::ProtocolError(said) => Some(said),
            _ => None,
        },
        _ => None,
    }
}

fn quorum(max_length: u32) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments.insert("x-max-length".into(), AMQPValue::LongUInt(max_length));
    arguments
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

/// What an exclusive queue does when it is full.
#[derive(Debug, Clone, Copy)]
pub(super) enum WhenFull {
    /// The publisher is told; what nobody can read goes to the dead letters.
    Refuse,
    /// The oldest goes.
    DropOldest,
}

/// Declares and binds, each with the error that names it.
pub(super) struct Step<'a> {
    pub(super) link: &'a Link,
    pub(super) channel: &'a Channel,
}

impl Step<'_> {
    /// A queue of this connection alone, which goes with its consumer, bound to the platform's exchange.
    pub(super) async fn own_queue(
        &self,
        config: &RabbitConfig,
        name: &str,
        key: &str,
        most: u32,
        full: WhenFull,
    ) -> Result<(), RabbitError> {
        let mut arguments = FieldTable::default();
        arguments.insert("x-max-length".into(), AMQPValue::LongUInt(most.max(1)));
        arguments.insert("x-expires".into(), AMQPValue::LongUInt(UNREAD_MS));
        match full {
            WhenFull::Refuse => {
                arguments.insert("x-overflow".into(), text("reject-publish"));
                arguments.insert("x-dead-letter-exchange".into(), text(&config.prefix.dead_exchange()));
            }
            WhenFull::DropOldest => {
                arguments.insert("x-overflow".into(), text("drop-head"));
            }
        }
        self.queue(name.to_owned(), QueueDeclareOptions::exclusive().auto_delete(), arguments).await?;
        self.bind(name.to_owned(), config.prefix.events(), key).await
    }

    async fn exchange(&self, name: String, kind: ExchangeKind) -> Result<(), RabbitError> {
        let what = format!("exchange {name}");
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let declared = self.channel.exchange_declare(name.into(), kind, options, FieldTable::default());
        self.link.ask(&format!("declare {what}"), declared).await.map_err(|error| conflict(what, error))
    }

    async fn queue(
        &self,
        name: String,
        options: QueueDeclareOptions,
        arguments: FieldTable,
    ) -> Result<(), RabbitError> {
        let what = format!("queue {name}");
        let declared = self.channel.queue_declare(name.into(), options, arguments);
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
    match said(&error) {
        Some(said) if said.get_id() == PRECONDITION_FAILED => {
            RabbitError::Conflict { what, said: said.get_message().to_string() }
        }
        _ => error,
    }
}
