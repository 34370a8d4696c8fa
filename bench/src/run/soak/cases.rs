//! Tries the use cases on the platform, by the program that everybody tries them with.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use stoker_e2e::Services;
use tokio::time::sleep;

/// The longest that a round may take: the program tries eight cases at once and gives each up after 210 s, so that all of
/// some fifty have failed by then.
const ROUND_WITHIN: Duration = Duration::from_secs(25 * 60);
/// Between two looks whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Characters of what it said last that an error shows.
const SAID: usize = 500;

/// What came of one case.
#[derive(Debug, Clone, Deserialize)]
struct Tried {
    case: String,
    verdict: String,
    /// What there is to say of one that did not hold.
    said: Option<String>,
    /// What it made and could not remove.
    left: Vec<String>,
}

impl Tried {
    fn holds(&self) -> bool {
        self.verdict == "held" && self.left.is_empty()
    }
}

#[derive(Deserialize)]
struct Said {
    cases: Vec<Tried>,
}

/// All cases, tried once, and what failed perhaps once more.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Round {
    pub(super) name: String,
    /// When it began, since the run's clock was started; zero before.
    pub(super) at: Duration,
    pub(super) took: Duration,
    /// Cases that held at once.
    pub(super) held: u64,
    /// Those that held when they were tried once more.
    pub(super) retried: u64,
    /// Those that did not hold in the end, each with why.
    pub(super) failed: Vec<String>,
}

impl Round {
    /// What came of all cases, and of those that were tried again, none if there was no other try.
    fn of(first: &[Tried], again: &[Tried]) -> Self {
        let mut round = Self::default();
        for tried in first {
            let then = again.iter().find(|then| then.case == tried.case);
            match (tried.holds(), then) {
                (true, _) => round.held += 1,
                (false, Some(then)) if then.holds() => round.retried += 1,
                (false, then) => round.failed.push(why(then.unwrap_or(tried))),
            }
        }
        round
    }

    pub(super) fn cases(&self) -> u64 {
        self.held + self.retried + u64::try_from(self.failed.len()).unwrap_or(u64::MAX)
    }
}

fn why(tried: &Tried) -> String {
    let Tried { case, verdict, said, left } = tried;
    let said = said.as_deref().unwrap_or_default().trim_end();
    let left = left.join("; ");
    let lines: Vec<&str> = [said, &left].into_iter().filter(|part| !part.is_empty()).collect();
    format!("{case}: {verdict}\n{}", lines.join("\n"))
}

/// The program, and where it tries them.
pub(super) struct Cases {
    program: PathBuf,
    /// What it says is kept here, beside the logs of the platform.
    folder: PathBuf,
    words: Vec<String>,
}

/// The program at work, and the clients that it has started. Neither outlives this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.0);
        // These fail only when all of them have ended already.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.0.wait();
    }
}

impl Running {
    async fn ended(&mut self) -> Result<ExitStatus> {
        let by = Instant::now() + ROUND_WITHIN;
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            ensure!(
                Instant::now() < by,
                "the use cases have not come to an end within {} s",
                ROUND_WITHIN.as_secs()
            );
            sleep(LOOK_EVERY).await;
        }
    }
}

/// Says where the program is, before anything is started that would wait for it.
pub(super) fn program(path: &Path) -> Result<PathBuf> {
    fs::canonicalize(path).with_context(|| {
        let shown = path.display();
        format!(
            "there is no {shown}: build it by `cargo build --release -p stoker-usecases`, or give --usecases"
        )
    })
}

fn last(text: &str) -> String {
    let from = text.char_indices().rev().nth(SAID).map_or(0, |(at, _)| at);
    text.get(from..).unwrap_or_default().trim().to_owned()
}

impl Cases {
    pub(super) fn new(program: PathBuf, folder: &Path, mqtt: SocketAddr, http: SocketAddr) -> Self {
        let (server, mqtt) = (format!("http://{http}"), format!("mqtt://{mqtt}"));
        let words = ["run", "--json", "--server", &server, "--mqtt", &mqtt].map(ToOwned::to_owned);
        Self { program, folder: folder.to_owned(), words: words.to_vec() }
    }

    /// Tries all cases and, if there may be a retry, once more those that failed.
    pub(super) async fn round(&self, name: &str, since: Duration, retry: bool) -> Result<Round> {
        let begun = Instant::now();
        let first = self.tried(name, &[]).await?;
        ensure!(!first.is_empty(), "there are no use cases");
        let failed: Vec<&Tried> = first.iter().filter(|tried| !tried.holds()).collect();
        for tried in failed.iter().take(crate::report::EXAMPLES) {
            eprintln!("use case {}", why(tried));
        }
        let again = if retry && !failed.is_empty() {
            let names: Vec<&str> = failed.iter().map(|tried| tried.case.as_str()).collect();
            self.tried(&format!("{name}, again"), &names).await?
        } else {
            Vec::new()
        };
        let round =
            Round { name: name.to_owned(), at: since, took: begun.elapsed(), ..Round::of(&first, &again) };
        eprintln!(
            "use cases {name}: {} held, {} held when tried again, {} failed, in {:.1} s",
            round.held,
            round.retried,
            round.failed.len(),
            round.took.as_secs_f64()
        );
        Ok(round)
    }

    /// Tries these, or all when none is named.
    async fn tried(&self, name: &str, only: &[&str]) -> Result<Vec<Tried>> {
        let name = name.replace([' ', ','], "-");
        let file = |ending: &str| self.folder.join(format!("usecases-{name}.{ending}"));
        let (output, errors) = (file("json"), file("log"));
        let made =
            |path: &Path| File::create(path).with_context(|| format!("failed to make {}", path.display()));
        let mut command = Command::new(&self.program);
        command.args(&self.words).args(only.iter().flat_map(|case| ["--case", case]));
        command.env("STOKER_TOKEN", Services::TOKEN).stdin(Stdio::null());
        // A group of its own: the clients that it starts end with it, and nobody else.
        command.stdout(made(&output)?).stderr(made(&errors)?).process_group(0);
        let child = command.spawn().with_context(|| format!("failed to start {}", self.program.display()))?;
        let status = Running(child).ended().await?;
        let text = fs::read_to_string(&output)?;
        match serde_json::from_str::<Said>(&text) {
            Ok(said) => Ok(said.cases),
            Err(error) => {
                let errors = fs::read_to_string(&errors).unwrap_or_default();
                bail!("the use cases could not be tried ({status}; {error}): {}", last(&errors))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(case: &str, verdict: &str) -> Tried {
        Tried { case: case.to_owned(), verdict: verdict.to_owned(), said: None, left: Vec::new() }
    }

    #[test]
    fn a_case_that_fails_once_and_holds_then_has_not_failed() {
        let first = [tried("a: 1", "held"), tried("a: 2", "broken"), tried("b: 1", "not_tried")];
        let round = Round::of(&first, &[tried("a: 2", "held"), tried("b: 1", "broken")]);
        assert_eq!((round.held, round.retried, round.cases()), (1, 1, 3));
        assert_eq!(round.failed, ["b: 1: broken\n"]);
    }

    #[test]
    fn without_a_retry_what_fails_has_failed() {
        let mut first = [tried("a: 1", "held"), tried("a: 2", "held")];
        first[1].left.push("/devices/x was not removed: 503".to_owned());
        let round = Round::of(&first, &[]);
        assert_eq!((round.held, round.retried), (1, 0));
        assert_eq!(round.failed, ["a: 2: held\n/devices/x was not removed: 503"]);
    }

    #[test]
    fn what_was_to_be_tried_again_and_was_not_has_failed() {
        let round = Round::of(&[tried("a: 1", "broken")], &[tried("a: 2", "held")]);
        assert_eq!((round.retried, round.failed.len()), (0, 1));
    }

    #[test]
    fn the_end_of_what_was_said_is_shown() {
        assert_eq!(last(&format!("{}the end\n", "ä".repeat(2 * SAID))).len(), 2 * (SAID - 7) + 7);
        assert_eq!(last("short"), "short");
    }
}
