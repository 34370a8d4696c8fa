//! Files that may be replaced while they are in use, such as certificates.

use std::fmt::Display;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// What is made of files. They are looked at again when it is wanted, at most so often; one that cannot be used is
/// complained of once, and what was made before stays.
pub struct Reread<Texts, Made> {
    what: String,
    every: Duration,
    state: Mutex<State<Texts, Made>>,
}

struct State<Texts, Made> {
    looked: Instant,
    texts: Texts,
    /// What was last found in place of files that fit.
    complaint: Option<String>,
    made: Made,
}

impl<Texts: PartialEq + Send + 'static, Made: Clone> Reread<Texts, Made> {
    /// `what` they are, for people; what was read and made of it.
    pub fn new(what: impl Into<String>, every: Duration, texts: Texts, made: Made) -> Self {
        let state = State { looked: Instant::now(), texts, complaint: None, made };
        Self { what: what.into(), every, state: Mutex::new(state) }
    }

    /// What holds now. `read` may block.
    pub async fn now<E: Display + Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<Texts, E> + Send + 'static,
        make: impl FnOnce(&Texts) -> Result<Made, E>,
    ) -> Made {
        {
            let mut state = self.state.lock();
            if state.looked.elapsed() < self.every {
                return state.made.clone();
            }
            // Others that come meanwhile take what there is.
            state.looked = Instant::now();
        }
        let read = tokio::task::spawn_blocking(read).await;
        let mut state = self.state.lock();
        // The runtime is ending.
        let Ok(read) = read else { return state.made.clone() };
        let changed = match read {
            Ok(texts) if texts == state.texts => Ok(None),
            Ok(texts) => make(&texts).map(|made| Some((texts, made))),
            Err(error) => Err(error),
        };
        match changed {
            Ok(None) => state.complaint = None,
            Ok(Some((texts, made))) => {
                tracing::info!("{} have changed", self.what);
                (state.texts, state.made, state.complaint) = (texts, made, None);
            }
            // Half of them are replaced, perhaps.
            Err(error) => {
                let complaint = error.to_string();
                if state.complaint.as_ref() != Some(&complaint) {
                    tracing::warn!("{}: {complaint}; what was read before is used further on", self.what);
                    state.complaint = Some(complaint);
                }
            }
        }
        state.made.clone()
    }
}
