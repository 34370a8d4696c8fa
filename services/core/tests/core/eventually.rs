//! Waiting for what several processes find out by the passing of time.

use std::future::Future;
use std::time::Duration;

use super::platform::WITHIN;

/// Asks again and again until the answer is some; fails when that takes longer than anything here may.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let found = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    match tokio::time::timeout(WITHIN, found).await {
        Ok(found) => found,
        Err(_) => panic!("it did not come to this in time: {what}"),
    }
}

/// Time in which what is not to be done would be done. A test that needs it can miss a fault, and never finds one where there
/// is none.
pub(crate) async fn for_a_while() {
    tokio::time::sleep(Duration::from_millis(700)).await;
}
