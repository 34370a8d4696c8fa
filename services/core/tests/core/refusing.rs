//! A bus that takes nothing for gateways.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use stoker_bus::InProcessBus;
use stoker_domain::ports::bus::{
    Activity, Bus, BusError, FeedConsumer, GatewayConsumer, GatewayOrder, ToGateway, WorkConsumer,
};
use stoker_domain::{MemberId, NotificationWork};
use tokio::sync::watch;

/// A bus on which no gateway takes anything, and whose refusals wait until they are let go.
pub(crate) struct Refusing {
    inner: InProcessBus,
    pub(crate) held: watch::Sender<bool>,
    /// Commands that were not taken.
    pub(crate) refused: AtomicUsize,
}

impl Refusing {
    /// Nothing is refused yet, and nothing taken.
    pub(crate) fn held() -> Self {
        Self { inner: InProcessBus::default(), held: watch::Sender::new(true), refused: AtomicUsize::new(0) }
    }
}

#[async_trait]
impl Bus for Refusing {
    async fn publish_work(&self, work: NotificationWork) -> Result<(), BusError> {
        self.inner.publish_work(work).await
    }

    async fn publish_to_gateway(&self, gateway: &MemberId, message: ToGateway) -> Result<(), BusError> {
        drop(self.held.subscribe().wait_for(|held| !held).await);
        if matches!(message.order, GatewayOrder::Command { .. }) {
            self.refused.fetch_add(1, Ordering::SeqCst);
        }
        Err(BusError::Full(gateway.to_string()))
    }

    fn publish_activity(&self, activity: Activity) {
        self.inner.publish_activity(activity);
    }

    fn feed_wanted(&self) -> bool {
        self.inner.feed_wanted()
    }

    async fn consume_work(&self, prefetch: usize) -> Result<Box<dyn WorkConsumer>, BusError> {
        self.inner.consume_work(prefetch).await
    }

    async fn consume_gateway(&self, gateway: &MemberId) -> Result<Box<dyn GatewayConsumer>, BusError> {
        self.inner.consume_gateway(gateway).await
    }

    async fn consume_feed(&self) -> Result<Box<dyn FeedConsumer>, BusError> {
        self.inner.consume_feed().await
    }

    async fn follow_feed(&self) -> Result<Box<dyn FeedConsumer>, BusError> {
        self.inner.follow_feed().await
    }
}
