//! What can be configured.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use stoker_domain::OrganizationId;
use stoker_domain::ports::bus::Bus;
use stoker_link::ServerTls;

use crate::{MqttAddress, PortalStats};

/// A bus that may be joined later than the portal begins.
pub type LateBus = Arc<OnceLock<Arc<dyn Bus>>>;

/// What a portal needs to know.
#[derive(Clone)]
pub struct PortalConfig {
    /// The token that lets people and scripts in, at least 16 characters.
    pub admin_token: String,
    /// Whose devices are shown.
    pub organization: OrganizationId,
    /// The name under which people reach this portal, such as `stoker.example.com`. When it is given, forms are taken only
    /// from pages of that name, and of this machine's own.
    pub hostname: Option<String>,
    /// What it shows; without it plain HTTP is spoken.
    pub tls: Option<ServerTls>,
    /// Whether people reach it by HTTPS: cookies are then kept off plain connections.
    pub https: bool,
    /// Where devices connect.
    pub mqtt: MqttAddress,
    /// Where the live feed is heard, as soon as it is there; without it nobody can listen.
    pub bus: Option<LateBus>,
    /// Bounds.
    pub limits: PortalLimits,
    /// Where to count.
    pub stats: PortalStats,
}

/// How much at once, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortalLimits {
    /// Open connections; a further one is told so and closed.
    pub connections: usize,
    /// Requests under way, waiting ones included; a further one gets 503. As many more may ask what became of an order.
    pub requests: usize,
    /// Imports under way. Each keeps a few dozen calls to core busy.
    pub imports: usize,
    /// Who may listen to the live feed at once; a further one gets 503.
    pub listeners: usize,
    /// How long a call to core may take, besides the time that was asked to wait.
    pub core_deadline: Duration,
    /// How long open requests may take to end at shutdown.
    pub drain: Duration,
}

impl Default for PortalLimits {
    fn default() -> Self {
        Self {
            // A process raises its limit of files when it starts. A browser takes a connection for the page, and one for the feed.
            connections: 2_048,
            requests: 512,
            imports: 4,
            listeners: 1_024,
            core_deadline: Duration::from_secs(10),
            drain: Duration::from_secs(15),
        }
    }
}

impl PortalConfig {
    /// The defaults, for whoever has this token.
    #[must_use]
    pub fn new(admin_token: impl Into<String>) -> Self {
        Self {
            admin_token: admin_token.into(),
            organization: OrganizationId::default_organization(),
            hostname: None,
            tls: None,
            https: false,
            mqtt: MqttAddress::default(),
            bus: None,
            limits: PortalLimits::default(),
            stats: PortalStats::default(),
        }
    }
}

impl fmt::Debug for PortalConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortalConfig")
            .field("organization", &self.organization)
            .field("hostname", &self.hostname)
            .field("tls", &self.tls)
            .field("https", &self.https)
            .field("mqtt", &self.mqtt)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
