//! Waiting for a time that may not be set.

use tokio::time::{Instant, sleep_until};

/// Returns at that time; never when there is none.
pub(crate) async fn due(time: Option<impl Into<Instant>>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
