//! Where the broker is, and the bounds of the adapter.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use lapin::uri::AMQPUri;
use url::{Host, Url};

use super::envelope::{SpanCarrier, TraceCarrier};
use super::error::RabbitError;
use super::names::Prefix;

/// What one connection's buffers are made of; lapin keeps 32 of them each way.
const FRAME_MAX: u32 = 32 * 1024;

/// The address of a broker, `amqp://user:password@host:port/vhost` or `amqps://…`. Its password is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUrl(Arc<AMQPUri>);

impl BrokerUrl {
    pub(super) fn host(&self) -> &str {
        &self.0.authority.host
    }

    /// True for `amqps://…`.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.0.scheme == lapin::uri::AMQPScheme::AMQPS
    }

    /// What lapin is to use. What the address says itself stays.
    pub(super) fn to_uri(&self, limits: &RabbitLimits) -> AMQPUri {
        let mut uri = AMQPUri::clone(&self.0);
        // Not none at all: nobody would learn that the other side has gone without a word.
        let heartbeat = uri.query.heartbeat.filter(|seconds| *seconds > 0);
        uri.query.heartbeat = Some(heartbeat.unwrap_or(limits.heartbeat_s.max(1)));
        uri.query.frame_max.get_or_insert(FRAME_MAX);
        uri
    }
}

impl FromStr for BrokerUrl {
    type Err = RabbitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Never the text itself: there is a password in it.
        let url = Url::parse(text).map_err(|error| RabbitError::Url(error.to_string()))?;
        if !matches!(url.scheme(), "amqp" | "amqps") {
            return Err(RabbitError::Url(format!("its scheme is {}, not amqp or amqps", url.scheme())));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(RabbitError::Url("it names no host".into()));
        }
        let mut uri: AMQPUri =
            text.parse().map_err(|_| RabbitError::Url("a part of it cannot be read".into()))?;
        if let Some(Host::Ipv6(address)) = url.host() {
            // The parser takes such an address for no host at all, and so for localhost.
            uri.authority.host = address.to_string();
        }
        if uri.vhost.is_empty() {
            // By the letter "…:5672/" means a virtual host without a name. Nobody has one; everybody writes this.
            uri.vhost = "/".into();
        }
        Ok(Self(Arc::new(uri)))
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AMQPUri { scheme, authority, vhost, .. } = &*self.0;
        let user = &authority.userinfo.username;
        write!(f, "{scheme}://{user}:***@{}:{}/{}", authority.host, authority.port, vhost.replace('/', "%2f"))
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What a process needs to know to join the bus.
#[derive(Debug, Clone)]
pub struct RabbitConfig {
    /// The broker.
    pub url: BrokerUrl,
    /// What the names of all exchanges and queues begin with: several platforms may share a virtual host.
    pub prefix: Prefix,
    /// What the connections are called in the broker's own lists, for instance `core 3f9a`.
    pub name: String,
    /// Whom to trust with `amqps://`, and what to show of ourselves; such an address needs it.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The bounds. Those of the queues must be the same in all processes of a platform.
    pub limits: RabbitLimits,
    /// Carries the trace context of a message; none: no context travels.
    pub trace: Option<Arc<dyn TraceCarrier>>,
    /// Declares nothing, and does not join where the platform's exchanges and queues are not there: for tools, which
    /// are not to make a platform out of a mistyped prefix.
    pub guest: bool,
}

impl RabbitConfig {
    /// A platform of the default prefix at this address.
    #[must_use]
    pub fn new(url: BrokerUrl, name: impl Into<String>) -> Self {
        Self {
            url,
            prefix: Prefix::default(),
            name: name.into(),
            tls: None,
            limits: RabbitLimits::default(),
            trace: Some(Arc::new(SpanCarrier)),
            guest: false,
        }
    }
}

/// The bounds of a [`RabbitBus`](super::RabbitBus).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RabbitLimits {
    /// How much notification work may wait in the broker; then publishers are told
    /// [`Full`](stoker_domain::ports::bus::BusError::Full). At about 2 KiB each the default is 128 MiB, on its disk.
    pub work: u32,
    /// How often a piece of work is delivered without being acknowledged before it is taken for poison.
    pub work_deliveries: u32,
    /// Older work is dropped instead of delivered. Shorter than the time after which core hands an attempt out again
    /// (120 s), so that no message outlives its attempt and nobody gets a mail for each copy after an outage.
    pub work_fresh_for: Duration,
    /// How many dead letters are kept; then the oldest goes.
    pub dead_letters: u32,
    /// How many messages wait for one gateway in the broker; then publishers are told that it is full.
    pub gateway: u32,
    /// How many of them a gateway has with it, read ahead.
    pub gateway_prefetch: u16,
    /// How many items wait for one listener in the broker; then the oldest go.
    pub feed: u32,
    /// How many of them a listener has with it, read ahead.
    pub feed_prefetch: u16,
    /// How many messages may be published and not confirmed yet: of work, and of orders to gateways, each. Eight times
    /// as many wait for that.
    pub publishing: usize,
    /// How many items of the live feed may wait to be written to the broker; then the newest are dropped.
    pub activities: usize,
    /// How many bytes of them.
    pub activity_bytes: usize,
    /// How long a publisher waits for room, and one of work also for the broker to come back.
    pub room_within: Duration,
    /// How long it waits for the confirmation.
    pub confirm_within: Duration,
    /// How long the broker may take for anything else that it is asked.
    pub answer_within: Duration,
    /// How long a connection may take to come up, from the name's resolution to the broker's welcome.
    pub connect_within: Duration,
    /// How long the first connection is tried for; zero: once.
    pub start_within: Duration,
    /// A broker that says nothing for twice this long is taken for dead. In seconds, as the protocol has it.
    pub heartbeat_s: u16,
    /// How often a publisher asks whether anybody listens to the live feed. Whoever begins to listen waits this long.
    pub listeners_every: Duration,
}

impl Default for RabbitLimits {
    fn default() -> Self {
        Self {
            work: 65_536,
            work_deliveries: 20,
            work_fresh_for: Duration::from_secs(110),
            dead_letters: 10_000,
            gateway: 1_024,
            gateway_prefetch: 64,
            feed: 4_096,
            feed_prefetch: 256,
            publishing: 1_024,
            activities: 4_096,
            activity_bytes: 16 * 1024 * 1024,
            room_within: Duration::from_secs(5),
            confirm_within: Duration::from_secs(20),
            answer_within: Duration::from_secs(10),
            connect_within: Duration::from_secs(10),
            start_within: Duration::from_secs(30),
            heartbeat_s: 10,
            listeners_every: Duration::from_millis(500),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> AMQPUri {
        text.parse::<BrokerUrl>().unwrap().to_uri(&RabbitLimits::default())
    }

    #[test]
    fn a_password_is_shown_nowhere() {
        let url: BrokerUrl = "amqps://ann:s3%2Fcret@mq.example.com/plant".parse().unwrap();
        let config = RabbitConfig::new(url.clone(), "core");
        for shown in [url.to_string(), format!("{url:?}"), format!("{config:?}")] {
            assert!(!shown.contains("s3"), "{shown}");
            assert!(shown.contains("amqps://ann:***@mq.example.com:5671/plant"), "{shown}");
        }
        assert_eq!(url.to_uri(&config.limits).authority.userinfo.password, "s3/cret");
    }

    #[test]
    fn an_address_that_cannot_be_is_refused_without_repeating_it() {
        for bad in ["ann:s3cret", "http://ann:s3cret@mq/", "amqp://ann:s3cret@/", "amqp://a:s3cret@mq:x/", ""]
        {
            let error = bad.parse::<BrokerUrl>().unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn hosts_and_virtual_hosts_are_what_people_mean() {
        for (text, host, vhost) in [
            ("amqp://mq", "mq", "/"),
            ("amqp://mq/", "mq", "/"),
            ("amqp://mq/%2f", "mq", "/"),
            ("amqp://127.0.0.1:5672/plant", "127.0.0.1", "plant"),
            ("amqp://[::1]:5672/plant", "::1", "plant"),
        ] {
            let uri = parsed(text);
            assert_eq!((uri.authority.host.as_str(), uri.vhost.as_str()), (host, vhost), "{text}");
        }
    }

    #[test]
    fn the_address_may_set_the_heartbeat_itself() {
        assert_eq!(parsed("amqp://mq/").query.heartbeat, Some(10));
        assert_eq!(parsed("amqp://mq/?heartbeat=3").query.heartbeat, Some(3));
        assert_eq!(parsed("amqp://mq/?heartbeat=0").query.heartbeat, Some(10), "there is always one");
    }
}
