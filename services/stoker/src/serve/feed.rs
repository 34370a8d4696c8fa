//! The way from the bus to a portal's live feed. All else that a portal does works without it, so nothing waits for it.

use std::sync::Arc;
use std::time::Duration;

use stoker_bus::{RabbitBus, RabbitConfig, RabbitDriver, RabbitError};
use stoker_domain::pause::Backoff;
use stoker_portal::LateBus;
use stoker_telemetry::{Health, chain};
use tokio_util::sync::CancellationToken;

use super::{BUS, tell_of_bus};

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);

/// Joins the bus whenever the broker is there, and keeps it until `end`.
///
/// # Errors
/// When the bus has died.
pub(super) async fn keep(
    config: RabbitConfig,
    late: LateBus,
    health: Health,
    end: CancellationToken,
) -> Result<(), RabbitError> {
    let joined = tokio::select! {
        () = end.cancelled() => return Ok(()),
        joined = join(&config, &health) => joined,
    };
    let Some((bus, driver)) = joined else {
        end.cancelled().await;
        return Ok(());
    };
    health.ready(BUS);
    drop(late.set(Arc::new(bus.clone())));
    let running = driver.run();
    tokio::pin!(running);
    tokio::select! {
        ended = &mut running => return ended,
        () = tell_of_bus(&bus, &health) => {}
        () = end.cancelled() => bus.close(),
    }
    running.await
}

/// None when no waiting will bring it.
async fn join(config: &RabbitConfig, health: &Health) -> Option<(RabbitBus, RabbitDriver)> {
    let mut backoff = Backoff::new(FIRST, LONGEST);
    loop {
        let error = match Box::pin(RabbitBus::connect(config.clone())).await {
            Ok(joined) => return Some(joined),
            Err(error) => error,
        };
        let why = chain(&error);
        if error.is_final() {
            tracing::error!(error = why, "the live feed cannot be heard: the bus does not take this portal");
            health.degraded(BUS, why);
            return None;
        }
        tracing::debug!(error = why, "the live feed cannot be heard yet");
        health.degraded(BUS, why);
        tokio::time::sleep(backoff.next(getrandom::u32().unwrap_or(u32::MAX))).await;
    }
}
