//! A gateway's own queue.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use lapin::message::Delivery;
use lapin::options::BasicAckOptions;
use stoker_domain::MemberId;
use stoker_domain::ports::bus::{BusError, GatewayConsumer, GatewayItem, ToGateway};
use stoker_proto::convert::bus::to_gateway_from_bus;

use super::Parts;
use super::config::RabbitConfig;
use super::envelope::{Incoming, Kind, Unreadable, nonce};
use super::error::RabbitError;
use super::link::Link;
use super::names::gateway_key;
use super::pull::{Attach, Pulled, Puller, Subscription};
use super::stats::{Open, count};
use super::topology::{Step, WhenFull};
use super::work::unreadable;

pub(super) struct Consumer {
    puller: Puller,
    parts: Arc<Parts>,
    _open: Open,
}

impl Consumer {
    pub(super) async fn start(parts: &Arc<Parts>, gateway: &MemberId) -> Result<Self, BusError> {
        let (config, gateway) = (Arc::clone(&parts.config), gateway.clone());
        let attach: Attach = Arc::new(move |link| attach(Arc::clone(&config), gateway.clone(), link).boxed());
        let (limits, closing) = (&parts.config.limits, parts.closing.clone());
        let puller = Puller::start(parts.consuming.clone(), limits, closing, attach).await?;
        Ok(Self { puller, parts: Arc::clone(parts), _open: Open::new(&parts.counters) })
    }

    fn take(&self, delivery: &Delivery) -> Option<ToGateway> {
        match read(delivery) {
            Ok(message) => {
                // It is ours from here on: the queue is gone with the connection in any case.
                let _queued = delivery.acker.ack(BasicAckOptions::default()).now_or_never();
                self.parts.extract(delivery);
                Some(message)
            }
            Err(error) => {
                unreadable(&self.parts.counters, delivery, &error);
                None
            }
        }
    }
}

async fn attach(
    config: Arc<RabbitConfig>,
    gateway: MemberId,
    link: Arc<Link>,
) -> Result<Subscription, RabbitError> {
    let (prefix, limits) = (&config.prefix, &config.limits);
    let queue = prefix.gateway(&gateway, &nonce()?);
    let channel = link.channel().await?;
    let step = Step { link: &link, channel: &channel };
    step.own_queue(&config, &queue, &gateway_key(&gateway), limits.gateway, WhenFull::Refuse).await?;
    Subscription::open(link, channel, queue, limits.gateway_prefetch, None).await
}

fn read(delivery: &Delivery) -> Result<ToGateway, Unreadable> {
    Ok(to_gateway_from_bus(Incoming::of(delivery)?.read(Kind::Order)?)?)
}

#[async_trait]
impl GatewayConsumer for Consumer {
    async fn next(&mut self) -> Option<GatewayItem> {
        loop {
            match self.puller.next().await? {
                Pulled::Attached => {
                    count(&self.parts.counters.gateway_resumed);
                    return Some(GatewayItem::Resumed);
                }
                Pulled::Delivery(delivery) => {
                    if let Some(message) = self.take(&delivery) {
                        return Some(GatewayItem::Message(message));
                    }
                }
            }
        }
    }
}
