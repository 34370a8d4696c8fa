//! What all connections share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use stoker_domain::model::{EventId, MemberId, Millis};
use stoker_domain::payload::PayloadLimits;
use stoker_link::{Channel, Turns};
use stoker_proto::core::v1::gateway_service_client::GatewayServiceClient;
use stoker_protocol::session::Limits;
use stoker_telemetry::{Clock, Health};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::GatewayConfig;
use crate::announce::Announced;
use crate::beats::Beats;
use crate::core::{OPENINGS, SESSION_CALLS};
use crate::pulse::Pulse;
use crate::refusals::Refusals;
use crate::registry::Registry;
use crate::rejections::Rejections;
use crate::stats::GatewayStats;
use crate::uplink::Uplink;

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) core: GatewayServiceClient<Channel>,
    pub(crate) readings: GatewayServiceClient<Channel>,
    pub(crate) clock: Clock,
    pub(crate) health: Health,
    pub(crate) member: MemberId,
    pub(crate) limits: Arc<Limits>,
    pub(crate) payload_limits: PayloadLimits,
    pub(crate) max_connections: usize,
    pub(crate) registry: Registry,
    pub(crate) announced: Announced,
    pub(crate) started_at: Millis,
    pub(crate) pulse: Pulse,
    pub(crate) handover_grace_ms: Option<u64>,
    pub(crate) uplink: Arc<Uplink>,
    pub(crate) refusals: Refusals,
    pub(crate) rejections: Rejections,
    pub(crate) connections: TaskTracker,
    pub(crate) opening_sessions: Turns,
    pub(crate) telling_sessions: Semaphore,
    pub(crate) ending_sessions: Semaphore,
    pub(crate) stats: Arc<GatewayStats>,
    /// There may be several cores, and they come and go.
    pub(crate) several_cores: bool,
    made_ids: AtomicU64,
    arrivals: AtomicU64,
}

impl Shared {
    pub(crate) fn new(config: GatewayConfig, stats: Arc<GatewayStats>) -> (Self, Option<Beats>) {
        let uplink = Arc::clone(stats.uplink.get_or_init(Arc::default));
        let shared = Self {
            core: config.core,
            readings: config.readings,
            clock: config.clock,
            health: config.health,
            member: config.member,
            limits: Arc::new(config.limits),
            payload_limits: config.payload_limits,
            max_connections: config.max_connections,
            registry: Registry::default(),
            announced: Announced::default(),
            started_at: config.clock.now_ms(),
            pulse: Pulse::default(),
            handover_grace_ms: config
                .drain
                .handover_grace
                .map(|grace| u64::try_from(grace.as_millis()).unwrap_or(u64::MAX)),
            uplink,
            refusals: Refusals::default(),
            rejections: Rejections::default(),
            connections: TaskTracker::new(),
            opening_sessions: Turns::new(OPENINGS),
            telling_sessions: Semaphore::new(SESSION_CALLS),
            ending_sessions: Semaphore::new(SESSION_CALLS),
            stats,
            several_cores: config.beats.is_some(),
            made_ids: AtomicU64::new(0),
            arrivals: AtomicU64::new(0),
        };
        (shared, config.beats)
    }

    /// Now, in milliseconds since the epoch, never going back.
    pub(crate) fn now(&self) -> Millis {
        self.clock.now_ms()
    }

    /// Where a CONNECT that was just read stands among all of this gateway.
    pub(crate) fn next_arrival(&self) -> u64 {
        self.arrivals.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// An id for an event that came without: this process is fresh and random, so a count is unique.
    pub(crate) fn make_event_id(&self) -> EventId {
        let count = self.made_ids.fetch_add(1, Ordering::Relaxed);
        let text = format!("evt-{}-{count:x}", self.member);
        // A member id is short; should it not be, an event without its own id is better than none.
        EventId::new(&text)
            .or_else(|_| EventId::new(&format!("evt-{count:x}")))
            .unwrap_or_else(|_| unreachable!())
    }
}
