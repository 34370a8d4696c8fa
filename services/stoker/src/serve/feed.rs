//! The way from the bus to a portal's live feed. All else that a portal does works without it, so nothing waits for it.

use std::sync::Arc;
use std::time::Duration;

use stoker_bus::{RabbitBus, RabbitConfig, RabbitError};
use stoker_domain::pause::Backoff;
use stoker_portal::LateBus;
use stoker_telemetry::{Health, chain};
use tokio_util::sync::CancellationToken;

use super::{BUS, tell_of_bus};

const FIRST: Duration = Duration::from_millis(200);
/// While the broker is away.
const LONGEST: Duration = Duration::from_secs(10);
/// While it refuses this portal: somebody has to change something, and each try is a line in the broker's log.
const REFUSED_LONGEST: Duration = Duration::from_secs(60);

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
    let (bus, driver) = tokio::select! {
        () = end.cancelled() => return Ok(()),
        joined = join(&health, || Box::pin(RabbitBus::connect(config.clone()))) => joined,
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

/// Tries for as long as it takes, also where the broker refuses: a password or a queue that is wrong may be put right there,
/// and all else of this portal serves on, so that nobody would restart it for that.
async fn join<T, F>(health: &Health, mut tries: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, RabbitError>>,
{
    let (mut away, mut refused) = (Backoff::new(FIRST, LONGEST), Backoff::new(FIRST, REFUSED_LONGEST));
    let mut said = None;
    loop {
        let error = match tries().await {
            Ok(joined) => return joined,
            Err(error) => error,
        };
        let why = chain(&error);
        let backoff = if error.is_final() {
            // Once for each reason: what has been said is in the health, too.
            if said.as_ref() != Some(&why) {
                tracing::error!(
                    error = why,
                    "the live feed cannot be heard: the bus does not take this portal"
                );
                said = Some(why.clone());
            }
            &mut refused
        } else {
            tracing::debug!(error = why, "the live feed cannot be heard yet");
            refused.reset();
            &mut away
        };
        health.degraded(BUS, why);
        tokio::time::sleep(backoff.next(getrandom::u32().unwrap_or(u32::MAX))).await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    fn refused() -> RabbitError {
        let broker = "amqp://stoker:secret@broker:5672/".parse().unwrap();
        RabbitError::Refused { broker, said: "ACCESS_REFUSED".to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_refuses_is_asked_again_until_it_does_not() {
        let health = Health::default();
        let mut tries = 0;
        let joined = join(&health, || {
            tries += 1;
            let said = health.degradations();
            ready(match tries {
                1 => {
                    assert_eq!(said, "");
                    Err(refused())
                }
                2..=30 => {
                    assert!(said.starts_with("degraded: bus: ") && said.contains("ACCESS_REFUSED"), "{said}");
                    Err(refused())
                }
                31 => Err(RabbitError::NoLink),
                _ => {
                    assert!(said.contains("there is no connection"), "{said}");
                    Ok("joined")
                }
            })
        });
        assert_eq!(joined.await, "joined");
        assert_eq!(tries, 32);
    }
}
