//! What can go wrong between us and the broker.

use std::time::Duration;

use stoker_domain::ports::bus::BusError;
use stoker_telemetry::chain;

use super::config::BrokerUrl;

/// Why the bus could not be joined, or a broker did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum RabbitError {
    /// The address is none.
    #[error(
        "the address of the broker (bus.url) is none: {0}; it looks like amqp://USER:PASSWORD@HOST:5672/VHOST"
    )]
    Url(String),
    /// A prefix that cannot begin the name of a queue.
    #[error(
        "\"{0}\" cannot begin the names of queues: a prefix has 1 to 64 of A-Z a-z 0-9 . _ : -, the first a letter or digit"
    )]
    Prefix(String),
    /// `amqps://`, and nobody has said whom to trust.
    #[error("{0} is to be reached by TLS, but no authority was given to trust (bus.ca)")]
    Untrusting(BrokerUrl),
    /// What a guest wanted to find.
    #[error(
        "there is no {what} at {broker}: check bus.prefix and the virtual host; a platform's first process makes them"
    )]
    Absent {
        /// `queue NAME` or `exchange NAME`.
        what: String,
        /// Which broker.
        broker: BrokerUrl,
    },
    /// The broker does not let us in. Trying again helps nothing.
    #[error("{broker} refuses this user, its password or the virtual host: {said}")]
    Refused {
        /// Which broker.
        broker: BrokerUrl,
        /// What it said.
        said: String,
    },
    /// Its certificate is not one that we were told to trust.
    #[error("{broker} shows a certificate that is not trusted: {reason}; bus.ca names its authority")]
    Stranger {
        /// Which broker.
        broker: BrokerUrl,
        /// What is wrong with it.
        reason: String,
    },
    /// No connection.
    #[error("failed to connect to {broker}: {reason}")]
    Unreachable {
        /// Which broker.
        broker: BrokerUrl,
        /// Why.
        reason: String,
    },
    /// A queue or exchange of this name exists and is another.
    #[error(
        "{what} exists with other settings ({said}); once it is empty, delete it (rabbitmqctl delete_queue, or the \
         management page) and it is made anew, or give this platform a prefix of its own (bus.prefix)"
    )]
    Conflict {
        /// `queue NAME` or `exchange NAME`.
        what: String,
        /// What the broker said.
        said: String,
    },
    /// The broker refused, or the connection broke.
    #[error("failed to {doing}")]
    Broker {
        /// What was to be done.
        doing: String,
        /// Why not.
        source: lapin::Error,
    },
    /// The broker did not answer.
    #[error("failed to {doing}: no answer within {within:?}")]
    NoAnswer {
        /// What was to be done.
        doing: String,
        /// How long was waited.
        within: Duration,
    },
    /// There is no connection now.
    #[error("there is no connection to the broker")]
    NoLink,
    /// A task of the bus ended before it was told to.
    #[error("the task \"{task}\" of the bus died: {reason}")]
    TaskDied {
        /// Its name.
        task: &'static str,
        /// Why.
        reason: String,
    },
    /// The system gives no random bytes.
    #[error("failed to read random bytes: {0}")]
    Random(getrandom::Error),
}

impl RabbitError {
    /// True when trying again cannot help: somebody has to change something.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Url(_)
                | Self::Prefix(_)
                | Self::Untrusting(_)
                | Self::Stranger { .. }
                | Self::Absent { .. }
                | Self::Refused { .. }
                | Self::Conflict { .. }
        )
    }
}

impl From<RabbitError> for BusError {
    fn from(error: RabbitError) -> Self {
        Self::Unavailable(chain(&error))
    }
}
