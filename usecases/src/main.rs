//! `cargo xtask usecases`: prints the use cases, says what of everything public they do not touch, and tries them on a
//! platform.

use std::io::IsTerminal;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use stoker_e2e::Api;
use stoker_usecases::print::Paint;
use stoker_usecases::run::{Broker, Platform};
use stoker_usecases::{Coverage, Story, Surface, graph, print, read_all, run, shipped};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use url::Url;

/// The use cases of the platform, as data
#[derive(Debug, Parser)]
#[command(name = "cargo xtask usecases", bin_name = "cargo xtask usecases")]
struct Arguments {
    /// The folder of the stories; the project's own unless given
    #[arg(long, global = true, value_name = "DIR")]
    stories: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print stories in Given, When and Then; all unless named
    Story {
        /// By the names of their files, without .yaml
        names: Vec<String>,
    },
    /// Count the cases, and what of everything public they touch; what none touches is red
    Summary {
        /// Fail when something is not touched
        #[arg(long)]
        check: bool,
    },
    /// Print stories and what they touch as a graph for Mermaid; what none touches is red
    Graph,
    /// Try the cases on a platform, by its public interface alone
    Run(Box<Run>),
}

/// Where the platform is, and what is tried. Each case makes devices of its own and removes them.
#[derive(Debug, clap::Args)]
struct Run {
    /// Its HTTP API
    #[arg(long, env = "STOKER_SERVER", default_value = "http://127.0.0.1:8080")]
    server: Url,
    /// A file with the administrator's token; else STOKER_TOKEN has it
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Where devices connect: mqtt, mqtts, ws or wss
    #[arg(long, default_value = "mqtt://127.0.0.1:1883")]
    mqtt: Url,
    /// With mqtts and wss: what the certificate of the platform comes from, in PEM. It names the address
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// An address of this machine that the platform reaches and `notifier.webhook.allow` lists; loopback for a
    /// platform on this machine
    #[arg(long, value_name = "ADDRESS")]
    receive: Option<IpAddr>,
    /// Try these stories only
    #[arg(long, value_name = "STORY")]
    only: Vec<String>,
    /// Leave these stories out
    #[arg(long, value_name = "STORY")]
    exclude: Vec<String>,
    /// Try these cases only, as they are called at the beginning of a line of the report
    #[arg(long, value_name = "STORY: CASE")]
    case: Vec<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match act(Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(arguments: Arguments) -> Result<bool> {
    let terminal =
        std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    let paint = if terminal { Paint::Terminal } else { Paint::None };
    let stories = read_all(&arguments.stories.unwrap_or_else(shipped))?;
    match arguments.command {
        Command::Story { names } => {
            known(&names, &stories)?;
            let chosen = stories.iter().filter(|story| names.is_empty() || names.contains(&story.id));
            print!("{}", print::story(&chosen.collect::<Vec<_>>()));
            Ok(true)
        }
        Command::Summary { check } => {
            let coverage = Coverage::of(&Surface::derive()?, &stories);
            print!("{}", print::summary(&stories, &coverage, paint));
            Ok(!check || coverage.is_whole())
        }
        Command::Graph => {
            print!("{}", graph::mermaid(&stories, &Coverage::of(&Surface::derive()?, &stories)));
            Ok(true)
        }
        Command::Run(run) => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(run.act(stories, paint))
        }
    }
}

/// Whether there are stories of these names.
fn known(names: &[String], stories: &[Story]) -> Result<()> {
    let there = || stories.iter().map(|story| story.id.as_str()).collect::<Vec<_>>().join(", ");
    match names.iter().find(|name| !stories.iter().any(|story| story.id == **name)) {
        Some(name) => bail!("there is no story {name:?}; there are {}", there()),
        None => Ok(()),
    }
}

/// Leaves those cases that are named; all of them when none is.
fn only_cases(names: &[String], stories: &mut Vec<Story>) -> Result<()> {
    let there =
        |name: &str| stories.iter().any(|story| story.cases.iter().any(|case| story.calls(case) == name));
    if let Some(name) = names.iter().find(|name| !there(name)) {
        bail!("there is no case {name:?} among those to be tried; `run` prints how each is called");
    }
    if !names.is_empty() {
        for story in stories.iter_mut() {
            let chosen: Vec<_> =
                story.cases.iter().filter(|case| names.contains(&story.calls(case))).cloned().collect();
            story.cases = chosen;
        }
        stories.retain(|story| !story.cases.is_empty());
    }
    Ok(())
}

impl Run {
    async fn act(self, mut stories: Vec<Story>, paint: Paint) -> Result<bool> {
        known(&self.only, &stories)?;
        known(&self.exclude, &stories)?;
        stories.retain(|story| self.only.is_empty() || self.only.contains(&story.id));
        stories.retain(|story| !self.exclude.contains(&story.id));
        only_cases(&self.case, &mut stories)?;
        let stop = CancellationToken::new();
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let platform = self.platform().await?;
        let tried = run::run(&platform, &stories, &stop);
        tokio::pin!(tried);
        // Told to stop, it still removes what it made.
        let report = tokio::select! {
            report = &mut tried => report?,
            _ = terminate.recv() => { stop.cancel(); tried.await? }
            _ = interrupt.recv() => { stop.cancel(); tried.await? }
        };
        if self.json {
            println!("{}", report.json());
        } else {
            print!("{}", report.text(paint));
        }
        Ok(report.holds())
    }

    async fn platform(&self) -> Result<Platform> {
        let token = match &self.token_file {
            Some(file) => {
                std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?
            }
            None => std::env::var("STOKER_TOKEN").context("name --token-file, or set STOKER_TOKEN")?,
        };
        let api = Api::new(self.server.as_str().trim_end_matches('/'), token.trim())?;
        let broker = Broker::of(&self.mqtt, self.ca.clone()).await?;
        // A platform on this machine reaches what is on it.
        let here = broker.address.ip().is_loopback().then_some(broker.address.ip());
        Ok(Platform { api, broker, receive: self.receive.or(here) })
    }
}
