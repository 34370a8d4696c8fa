//! Whether the store still works. Once it has failed it stays so: only opening anew can tell what is there.

use tokio::sync::watch;

#[derive(Debug)]
pub(super) struct Health {
    failure: watch::Sender<Option<String>>,
}

impl Health {
    pub(super) fn new() -> Self {
        Self { failure: watch::Sender::new(None) }
    }

    /// Says that the store has failed. The first reason stays.
    pub(super) fn fail(&self, why: String) {
        let first = self.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            failure.get_or_insert_with(|| why.clone());
            first
        });
        if first {
            tracing::error!(why, "the embedded store failed");
        }
    }

    /// Why it has failed, if it has.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.borrow().clone()
    }

    /// Waits until it fails.
    pub(super) async fn failed(&self) -> String {
        let mut failure = self.failure.subscribe();
        let why = failure.wait_for(Option::is_some).await.map(|why| why.clone());
        match why {
            Ok(why) => why.unwrap_or_default(),
            // Cannot be: the sender is this very value.
            Err(_) => std::future::pending().await,
        }
    }
}
