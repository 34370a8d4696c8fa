//! Waiting for a condition.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// The deadline for what is to happen soon: generous, since it only ends what hangs.
pub const WITHIN: Duration = Duration::from_secs(90);

/// Asks until there is an answer.
///
/// # Errors
/// That of the question, or that there was no answer in time.
pub async fn eventually<T, F>(what: &str, mut ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let by = Instant::now() + WITHIN;
    let mut pause = Duration::from_millis(10);
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        if Instant::now() > by {
            bail!("not within {} s: {what}", WITHIN.as_secs());
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}
