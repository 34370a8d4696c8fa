//! Retention, from time to time.

use std::sync::Arc;
use std::time::Duration;

use super::EmbeddedStore;

/// Carries out retention at once and then `every` so often, until `shutdown` is done. A failure is logged and tried
/// again at the next turn; one that is the store's end shows in [`EmbeddedStore::failed`].
pub async fn maintain(store: Arc<EmbeddedStore>, every: Duration, shutdown: impl Future<Output = ()> + Send) {
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let purge = store.purge(store.now());
        tokio::select! {
            biased;
            () = &mut shutdown => return,
            result = purge => match result {
                Ok(report) if report.rows > 0 => {
                    tracing::info!(rows = report.rows, days = report.days, "retention removed what was due");
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "retention failed and is tried again later"),
            },
        }
        tokio::select! {
            biased;
            () = &mut shutdown => return,
            () = tokio::time::sleep(every) => {}
        }
    }
}
