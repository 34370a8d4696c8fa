//! Trying cases on a platform, by nothing but its public interface.

mod platform;
mod report;
mod world;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::StreamExt;
use serde_json::Value;
use stoker_e2e::{Clients, Foreign};
use tokio_util::sync::CancellationToken;

use crate::expect::Difference;
use crate::model::{Case, Story};
use world::World;

pub use platform::{Broker, Platform};
pub use report::Report;

/// Cases that are tried at once. Most of a case is waiting; each that listens to the live feed is a process.
const AT_ONCE: usize = 8;
/// What one step may take. Silence is raised after ten seconds unless configured otherwise, and the first requests to
/// several processes find their way within twelve.
const STEP_WITHIN: Duration = Duration::from_secs(60);
/// What one case may take.
const CASE_WITHIN: Duration = Duration::from_secs(150);
/// What the removal of what a case made may take.
const CLEARED_WITHIN: Duration = Duration::from_secs(60);

/// Why a step did not come true.
#[derive(Debug)]
pub enum Trouble {
    /// Something else was observed than what was expected.
    Differs {
        /// Where.
        differences: Vec<Difference>,
        /// All that was observed.
        observed: Value,
    },
    /// It could not even be seen.
    Failed(anyhow::Error),
}

/// How a case went.
#[derive(Debug)]
pub enum Verdict {
    /// All of it came true.
    Held,
    /// A step did not come true.
    Broken {
        /// Which, from 0.
        step: usize,
        /// Why.
        trouble: Trouble,
    },
    /// It could not be tried here, or nobody waited for it.
    NotTried(String),
}

/// One case, tried.
#[derive(Debug)]
pub struct Outcome {
    /// Of which story: its place among those that were given.
    pub story: usize,
    /// Which case of it.
    pub case: usize,
    /// How it went.
    pub verdict: Verdict,
    /// What it made and could not remove.
    pub left: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

/// A word for each case that no other run uses.
fn tag() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", since.as_secs(), since.subsec_micros())
}

/// Tries the cases of these stories, several at once, until `stop`. What they make is removed again, also when they
/// fail or are stopped.
///
/// # Errors
/// None could be tried: the foreign clients do not start.
pub async fn run<'a>(
    platform: &Platform,
    stories: &'a [Story],
    stop: &CancellationToken,
) -> Result<Report<'a>> {
    let clients = Clients::start(Foreign::Js).await.context("the foreign clients do not start")?;
    let http = reqwest::Client::new();
    let tag = tag();
    let cases = stories
        .iter()
        .enumerate()
        .flat_map(|(story, told)| told.cases.iter().enumerate().map(move |(case, told)| (story, case, told)));
    let tried = cases.enumerate().map(|(number, (story, case, told))| {
        let name = format!("uc-{tag}-{number}");
        let (clients, http) = (&clients, http.clone());
        async move {
            let begun = Instant::now();
            let mut world = World::new(platform, clients, http, &name);
            let verdict = tokio::select! {
                biased;
                () = stop.cancelled() => Verdict::NotTried("the run was stopped".to_owned()),
                verdict = within(&mut world, told, platform.receive) => verdict,
            };
            let took = begun.elapsed();
            let left = match tokio::time::timeout(CLEARED_WITHIN, world.clear()).await {
                Ok(left) => left,
                Err(_) => vec![format!("what it made was not removed within {} s", CLEARED_WITHIN.as_secs())],
            };
            Outcome { story, case, verdict, left, took }
        }
    });
    let begun = Instant::now();
    let mut outcomes: Vec<Outcome> =
        futures_util::stream::iter(tried).buffer_unordered(AT_ONCE).collect().await;
    outcomes.sort_by_key(|outcome| (outcome.story, outcome.case));
    Ok(Report { stories, outcomes, took: begun.elapsed() })
}

async fn within(world: &mut World<'_>, case: &Case, receive: Option<IpAddr>) -> Verdict {
    let needs_receiver = case.steps().any(|(_, step)| matches!(step, crate::model::Step::Receiver(_)));
    if needs_receiver && receive.is_none() {
        let why = "nobody said by which address of this machine the platform reaches it (--receive)";
        return Verdict::NotTried(why.to_owned());
    }
    let by = tokio::time::Instant::now() + CASE_WITHIN;
    for (index, (_, step)) in case.steps().enumerate() {
        let by = by.min(tokio::time::Instant::now() + STEP_WITHIN);
        if let Err(trouble) = Box::pin(world.take(step, by)).await {
            return Verdict::Broken { step: index, trouble };
        }
    }
    Verdict::Held
}
