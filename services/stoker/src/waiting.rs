//! Waiting at the start for what is away: a database or a broker that is restarted takes nobody with it who was just about
//! to begin.

use std::error::Error;
use std::time::{Duration, Instant};

use stoker_domain::pause::Backoff;
use stoker_telemetry::{Health, chain};

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(5);
/// How often it is said that it is still waited for.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// What is waited for.
pub(crate) struct Wanted<'a> {
    /// What health calls it.
    pub(crate) thing: &'a str,
    /// What it is, and where.
    pub(crate) what: String,
}

/// Tries until it succeeds, or fails in a way that `may_come` says no waiting will mend.
pub(crate) async fn for_it<T, E: Error>(
    wanted: Wanted<'_>,
    health: &Health,
    may_come: impl Fn(&E) -> bool,
    mut tries: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, E> {
    let Wanted { thing, what } = wanted;
    let (began, mut said): (Instant, Option<Instant>) = (Instant::now(), None);
    let mut backoff = Backoff::new(FIRST, LONGEST);
    health.waiting(thing, format!("{what} is being connected to"));
    loop {
        let error = match tries().await {
            Ok(there) => {
                if said.is_some() {
                    tracing::info!("{what} is there after {} s", began.elapsed().as_secs());
                }
                health.ready(thing);
                return Ok(there);
            }
            Err(error) if !may_come(&error) => return Err(error),
            Err(error) => chain(&error),
        };
        health.waiting(thing, error.as_str());
        if said.is_none_or(|said| said.elapsed() >= SAID_EVERY) {
            said = Some(Instant::now());
            tracing::warn!(
                error,
                waited_s = began.elapsed().as_secs(),
                "{what} is away: waiting for it, and beginning once it is there"
            );
        }
        tokio::time::sleep(backoff.next(getrandom::u32().unwrap_or(u32::MAX))).await;
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn wanted() -> Wanted<'static> {
        Wanted { thing: "store", what: "Cassandra at db:9042".to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_late_is_waited_for_and_said_to_be_away_meanwhile() {
        let health = Health::new();
        let mut tries = 0;
        let mut meanwhile = Vec::new();
        let there = for_it(
            wanted(),
            &health,
            |_: &io::Error| true,
            async || {
                meanwhile.push(health.check_ready().unwrap_err());
                tries += 1;
                if tries > 6 { Ok(tries) } else { Err(io::Error::other(format!("refused {tries}"))) }
            },
        );
        assert_eq!(there.await.unwrap(), 7);
        assert_eq!(health.check_ready(), Ok(()));
        assert_eq!(meanwhile[0], "store: Cassandra at db:9042 is being connected to\n");
        assert_eq!(meanwhile[6], "store: refused 6\n");
    }

    #[tokio::test]
    async fn what_no_waiting_mends_ends_it_at_once() {
        let health = Health::new();
        let mut tries = 0;
        let there = for_it(
            wanted(),
            &health,
            |error: &io::Error| error.to_string() != "wrong password",
            async || {
                tries += 1;
                Err::<(), _>(io::Error::other(if tries == 2 { "wrong password" } else { "refused" }))
            },
        );
        assert_eq!(there.await.unwrap_err().to_string(), "wrong password");
        assert_eq!(tries, 2);
        assert!(health.check_ready().is_err(), "it never was there");
    }
}
