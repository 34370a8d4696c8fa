//! The portal: the HTTP API with its OpenAPI description, and the page that shows the fleet.
//!
//! It keeps nothing. Whatever it shows it asks core for, over [`PortalServiceClient`], with a deadline on every call.
//! Refusals are `application/problem+json` everywhere, also where no handler was reached.

mod alarms;
mod api;
mod attributes;
mod auth;
mod commands;
mod config;
mod core;
mod devices;
mod events;
mod extract;
mod import;
mod json;
mod layers;
mod list;
mod live;
mod mqtt;
mod notifications;
mod orders;
mod page;
mod problem;
mod server;
mod stats;
mod status;
mod subscriptions;
mod telemetry;
mod time;

use std::sync::Arc;

use stoker_domain::{DeviceId, OrganizationId};
use stoker_link::Channel;
use stoker_proto::core::v1::DeviceRef;
use stoker_proto::core::v1::portal_service_client::PortalServiceClient;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use api::{Surface, surface};
pub use config::{LateBus, PortalConfig, PortalLimits};
pub use mqtt::MqttAddress;
pub use stats::PortalStats;

/// Why a portal cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum PortalError {
    /// The administrator's token could be guessed.
    #[error("the administrator's token has at least {} characters", MIN_TOKEN)]
    WeakToken,
    /// The OpenAPI description cannot be written.
    #[error("failed to write the OpenAPI description")]
    Description(#[source] serde_json::Error),
    /// The listener has failed for good.
    #[error("failed to accept connections")]
    Accept(#[source] std::io::Error),
}

/// What every handler gets.
#[derive(Debug, Clone)]
pub(crate) struct App {
    core: core::Core,
    auth: auth::Auth,
    organization: OrganizationId,
    hostname: Option<Arc<str>>,
    https: bool,
    mqtt: Arc<MqttAddress>,
    imports: Arc<Semaphore>,
    orders: orders::Orders,
    live: live::Hub,
}

impl App {
    /// A device of the organization that is shown, for core.
    fn device(&self, id: &DeviceId) -> Option<DeviceRef> {
        Some(DeviceRef { organization: self.organization.to_string(), device: id.to_string() })
    }
}

/// Shorter tokens can be guessed; the ones `stoker up` makes have 128 random bits.
const MIN_TOKEN: usize = 16;

/// Everything the portal serves, as a service for tests and for [`run`].
///
/// # Errors
/// [`PortalError::WeakToken`] when the token is too short.
pub fn router(
    config: &PortalConfig,
    core: PortalServiceClient<Channel>,
) -> Result<axum::Router, PortalError> {
    assembled(config, core).map(|(router, _)| router)
}

fn assembled(
    config: &PortalConfig,
    core: PortalServiceClient<Channel>,
) -> Result<(axum::Router, live::Hub), PortalError> {
    if config.admin_token.len() < MIN_TOKEN {
        return Err(PortalError::WeakToken);
    }
    let live = live::Hub::new(config.bus.clone(), config.limits.listeners, config.stats.clone());
    let app = App {
        live: live.clone(),
        core: core::Core::new(core, config.limits.core_deadline),
        auth: auth::Auth::new(&config.admin_token).ok_or(PortalError::WeakToken)?,
        organization: config.organization.clone(),
        hostname: config.hostname.as_deref().map(Arc::from),
        https: config.https,
        mqtt: Arc::new(config.mqtt.clone()),
        imports: Arc::new(Semaphore::new(config.limits.imports)),
        orders: orders::Orders::new(config.limits.requests),
    };
    Ok((api::assemble(app, config.limits, config.stats.clone())?, live))
}

/// Serves HTTP/1.1 on `listener`, by TLS where it is configured, until `shutdown`, then lets open requests end for [`PortalLimits::drain`].
///
/// # Errors
/// [`PortalError`] when it could not begin or the listener failed for good.
pub async fn run(
    config: PortalConfig,
    core: PortalServiceClient<Channel>,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), PortalError> {
    let (router, live) = assembled(&config, core)?;
    // Open WebSockets are no requests that end by themselves: they are told to go first.
    let ended = shutdown.clone();
    let (served, ()) =
        tokio::join!(server::serve(router, listener, config.tls, config.limits, shutdown), live.run(ended));
    served
}
