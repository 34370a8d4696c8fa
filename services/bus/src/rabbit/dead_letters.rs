//! Dead letters: what could not be read, or was delivered too often. For an operator to look at, send back or drop.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use lapin::Channel;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicGetOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use stoker_proto::bus::v1 as bus;
use stoker_proto::convert::bus::{to_gateway_from_bus, work_from_bus};

use super::Parts;
use super::envelope::{Incoming, Kind, Outgoing, Unreadable};
use super::error::RabbitError;
use super::link::Link;

/// A message that nobody could do anything with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its own, for [`Which::These`].
    pub id: String,
    /// Where it was going.
    pub routing_key: String,
    /// Why it is here: `delivery_limit` or `rejected`.
    pub reason: String,
    /// The queue it died in.
    pub queue: String,
    /// When, in seconds since the epoch.
    pub died_at: Option<u64>,
    /// Its size.
    pub bytes: usize,
    /// What it is, without secrets; or why it cannot be read.
    pub content: Result<String, String>,
}

/// Which dead letters are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which<'a> {
    /// All that are there now.
    All,
    /// Those with these ids.
    These(&'a [String]),
}

impl Which<'_> {
    fn means(self, id: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(ids) => ids.iter().any(|it| it == id),
        }
    }
}

/// What became of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settled {
    /// Those that were sent back, or dropped.
    pub done: Vec<String>,
    /// Those that stay, and why.
    pub kept: Vec<(String, String)>,
}

/// The queue of dead letters.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    parts: Arc<Parts>,
}

impl DeadLetters {
    pub(super) fn new(parts: Arc<Parts>) -> Self {
        Self { parts }
    }

    /// How many there are.
    ///
    /// # Errors
    /// When the broker cannot be asked.
    pub async fn count(&self) -> Result<usize, RabbitError> {
        self.with_channel(async |link, channel| self.waiting(link, channel).await).await
    }

    /// The oldest ones, at most `limit`. They stay where they are.
    ///
    /// # Errors
    /// When the broker cannot be asked.
    pub async fn peek(&self, limit: usize) -> Result<Vec<DeadLetter>, RabbitError> {
        self.with_channel(async |link, channel| {
            let mut letters = Vec::new();
            while letters.len() < limit {
                match self.get(link, channel).await? {
                    Some(delivery) => letters.push(describe(&delivery)),
                    None => break,
                }
            }
            Ok(letters)
        })
        .await
    }

    /// Sends them back to where they were going, as if published now. A letter leaves only when the broker has
    /// confirmed the message.
    ///
    /// # Errors
    /// When the broker cannot be asked. What was sent back by then has left.
    pub async fn replay(&self, which: Which<'_>) -> Result<Settled, RabbitError> {
        self.with_channel(async |link, channel| {
            let mut settled = Settled::default();
            for _ in 0..self.waiting(link, channel).await? {
                let Some(delivery) = self.get(link, channel).await? else { break };
                let id = id_of(&delivery);
                if !which.means(&id) {
                    continue;
                }
                match self.send_back(&delivery).await {
                    Ok(()) => {
                        remove(link, &delivery).await?;
                        settled.done.push(id);
                    }
                    Err(why) => settled.kept.push((id, why)),
                }
            }
            Ok(settled)
        })
        .await
    }

    /// Drops them, for good.
    ///
    /// # Errors
    /// When the broker cannot be asked. What was dropped by then is gone.
    pub async fn drop(&self, which: Which<'_>) -> Result<Settled, RabbitError> {
        self.with_channel(async |link, channel| {
            let mut settled = Settled::default();
            for _ in 0..self.waiting(link, channel).await? {
                let Some(delivery) = self.get(link, channel).await? else { break };
                let id = id_of(&delivery);
                if which.means(&id) {
                    remove(link, &delivery).await?;
                    settled.done.push(id);
                }
            }
            Ok(settled)
        })
        .await
    }

    /// Works on a channel of its own, and closes it: with that, all that was looked at goes back to its place.
    async fn with_channel<T>(
        &self,
        work: impl AsyncFnOnce(&Link, &Channel) -> Result<T, RabbitError>,
    ) -> Result<T, RabbitError> {
        let link = self.parts.consuming.now().map_err(|_| RabbitError::NoLink)?;
        let channel = link.channel().await?;
        let done = work(&link, &channel).await;
        let closed = link.ask("give dead letters back", channel.close(200, "done".into())).await;
        // What failed first is what went wrong.
        done.and_then(|done| closed.map(|()| done))
    }

    async fn waiting(&self, link: &Link, channel: &Channel) -> Result<usize, RabbitError> {
        let (name, options) =
            (self.parts.config.prefix.dead_letters(), QueueDeclareOptions::default().passive());
        let asked = channel.queue_declare(name.into(), options, FieldTable::default());
        let count = link.ask("count the dead letters", asked).await?.message_count();
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    async fn get(&self, link: &Link, channel: &Channel) -> Result<Option<Delivery>, RabbitError> {
        let asked =
            channel.basic_get(self.parts.config.prefix.dead_letters().into(), BasicGetOptions::default());
        Ok(link.ask("read a dead letter", asked).await?.map(|message| message.delivery))
    }

    async fn send_back(&self, delivery: &Delivery) -> Result<(), String> {
        let incoming = Incoming::of(delivery).map_err(|error| error.to_string())?;
        let kind = [Kind::Work, Kind::Order].into_iter().find(|kind| incoming.is(*kind));
        let kind = kind.ok_or("it is neither work nor an order")?;
        let message = Outgoing {
            kind,
            routing_key: delivery.routing_key.to_string(),
            body: delivery.data.clone(),
            sequence: None,
            trace: incoming.trace(),
        };
        let to = format!("{} again", delivery.routing_key);
        self.parts.work.publish(&to, message).await.map_err(|error| error.to_string())
    }
}

async fn remove(link: &Link, delivery: &Delivery) -> Result<(), RabbitError> {
    link.ask("take a dead letter away", delivery.acker.ack(BasicAckOptions::default())).await.map(drop)
}

/// The message's own id, or one made of its content where it has none.
fn id_of(delivery: &Delivery) -> String {
    delivery.properties.message_id().as_ref().map_or_else(
        || {
            let mut hash = DefaultHasher::new();
            (delivery.routing_key.as_str(), &delivery.data).hash(&mut hash);
            format!("unnamed-{:016x}", hash.finish())
        },
        ToString::to_string,
    )
}

fn describe(delivery: &Delivery) -> DeadLetter {
    let headers = delivery.properties.headers().as_ref().map(FieldTable::inner);
    let death = match headers.and_then(|headers| headers.get("x-death")) {
        Some(AMQPValue::FieldArray(deaths)) => match deaths.as_slice().first() {
            Some(AMQPValue::FieldTable(death)) => Some(death.inner()),
            _ => None,
        },
        _ => None,
    };
    let word = |name: &str| match death.and_then(|death| death.get(name)) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        _ => String::new(),
    };
    let died_at = match death.and_then(|death| death.get("time")) {
        Some(AMQPValue::Timestamp(seconds)) => Some(*seconds),
        _ => None,
    };
    DeadLetter {
        id: id_of(delivery),
        routing_key: delivery.routing_key.to_string(),
        reason: word("reason"),
        queue: word("queue"),
        died_at,
        bytes: delivery.data.len(),
        content: summary(delivery).map_err(|error| error.to_string()),
    }
}

fn summary(delivery: &Delivery) -> Result<String, Unreadable> {
    let incoming = Incoming::of(delivery)?;
    if incoming.is(Kind::Order) {
        let order = to_gateway_from_bus(incoming.read::<bus::ToGateway>(Kind::Order)?)?;
        return Ok(format!("an order for {}", order.device));
    }
    let work = work_from_bus(incoming.read::<bus::Work>(Kind::Work)?)?.notification;
    let (channel, attempt) = (work.channel.kind().as_str(), work.tried.saturating_add(1));
    Ok(format!("attempt {attempt} of notification {} by {channel} about {}", work.id, work.device))
}
