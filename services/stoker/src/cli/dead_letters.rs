//! `stoker bus dead-letters`: what the bus could not deliver. Asks the broker itself; no service need run.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};
use stoker_bus::{DeadLetter, DeadLetters as Letters, RabbitBus, RabbitError, Settled, Which};

use super::Form;
use super::failure::Failure;
use super::output::Output;
use super::table::{Rows, plain, time};
use crate::config::Configuration;
use crate::parts::rabbit_config;

/// The queue of them is not longer, unless somebody has made it so.
const MOST: usize = 100_000;

const LIST_EXAMPLES: &str = "\
Examples:
  stoker bus dead-letters list --config stoker.yaml
  stoker bus dead-letters list --config stoker.yaml --output json | jq -r '.items[].id'

They stay where they are. Losing one loses no notification: core hands the attempt out again.";

const REPLAY_EXAMPLES: &str = "\
Examples:
  stoker bus dead-letters replay 4f1c9d20a7b3e581-w-17 --config stoker.yaml
  stoker bus dead-letters replay --all --config stoker.yaml

A letter leaves once the broker has confirmed its message, which counts as published anew.";

const DROP_EXAMPLES: &str = "\
Examples:
  stoker bus dead-letters drop unnamed-94f1c9d20a7b3e58 --config stoker.yaml
  stoker bus dead-letters drop --all --config stoker.yaml";

/// What can be done with dead letters.
#[derive(Debug, Subcommand)]
pub(crate) enum DeadLetters {
    /// List the oldest ones
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// How many at most
        #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = super::input::at_least_one)]
        limit: u32,
        #[command(flatten)]
        broker: Broker,
    },
    /// Show one: where it was going, why it died, what it is
    Show {
        /// Its id, as `list` shows it
        id: String,
        #[command(flatten)]
        broker: Broker,
    },
    /// Send them back to where they were going
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay {
        #[command(flatten)]
        which: Chosen,
        #[command(flatten)]
        broker: Broker,
    },
    /// Drop them for good
    #[command(after_help = DROP_EXAMPLES)]
    Drop {
        #[command(flatten)]
        which: Chosen,
        #[command(flatten)]
        broker: Broker,
    },
}

/// Which of them.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Chosen {
    /// Their ids, as `list` shows them
    ids: Vec<String>,
    /// All that are there now
    #[arg(long)]
    all: bool,
}

/// Which broker, and how to show what it says.
#[derive(Debug, Args)]
pub(crate) struct Broker {
    /// The configuration, of which bus.… is needed; the environment (STOKER__SECTION__KEY) stands over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Tables for people, or JSON for scripts
    #[arg(long, short, value_name = "FORM", value_enum, default_value_t = Form::Table)]
    output: Form,
}

impl DeadLetters {
    fn broker(&self) -> &Broker {
        match self {
            Self::List { broker, .. }
            | Self::Show { broker, .. }
            | Self::Replay { broker, .. }
            | Self::Drop { broker, .. } => broker,
        }
    }

    async fn carry_out(&self, letters: &Letters, output: &Output) -> Result<(), Failure> {
        match self {
            Self::List { limit, .. } => list(letters, output, *limit as usize).await,
            Self::Show { id, .. } => show(letters, output, id).await,
            Self::Replay { which, .. } => {
                let settled = letters.replay(which.which()).await.map_err(failed)?;
                which.told(output, "replayed", settled)
            }
            Self::Drop { which, .. } => {
                let settled = letters.drop(which.which()).await.map_err(failed)?;
                which.told(output, "dropped", settled)
            }
        }
    }
}

/// Does it. The exit code is 0 when it was done, 1 when it failed or was not done with all of them.
pub(crate) async fn run(command: DeadLetters) -> ExitCode {
    match perform(command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn failed(error: RabbitError) -> Failure {
    Failure::failed(format!("{:#}", anyhow::Error::from(error)))
}

async fn perform(command: DeadLetters) -> Result<(), Failure> {
    let broker = command.broker();
    let output = Output::new(broker.output);
    let wrong = |error: anyhow::Error| Failure::failed(format!("{error:#}"));
    let configuration = Configuration::read(broker.config.as_deref()).map_err(wrong)?;
    let mut config =
        rabbit_config(&configuration.bus, "stoker bus dead-letters".to_owned()).map_err(wrong)?;
    config.guest = true;
    // Whoever waits for the answer tries again better than we do.
    config.limits.start_within = std::time::Duration::ZERO;
    let (bus, driver) = Box::pin(RabbitBus::connect(config)).await.map_err(failed)?;
    let driver = tokio::spawn(driver.run());
    let done = command.carry_out(&bus.dead_letters(), &output).await;
    bus.close();
    // What it has to say came out above, as an answer that did not come.
    drop(driver.await);
    done
}

async fn list(letters: &Letters, output: &Output, limit: usize) -> Result<(), Failure> {
    // Counted first: those that were looked at are back in their places a moment later.
    let waiting = letters.count().await.map_err(failed)?;
    let found = letters.peek(limit).await.map_err(failed)?;
    if output.is_json() {
        let items: Vec<Value> = found.iter().map(as_json).collect();
        return output.print(&json!({"items": items, "waiting": waiting}).to_string());
    }
    if found.is_empty() {
        eprintln!("no dead letters");
        return Ok(());
    }
    let mut rows = Rows::new(&["ID", "DIED", "REASON", "BYTES", "WHAT"]);
    for letter in &found {
        rows.push(vec![
            letter.id.clone(),
            died(letter).map_or_else(|| "-".to_owned(), |at| time(&at)),
            letter.reason.clone(),
            letter.bytes.to_string(),
            what(letter),
        ]);
    }
    output.rows(&mut rows)?;
    if waiting > found.len() {
        eprintln!("there are more: --limit COUNT shows so many");
    }
    Ok(())
}

async fn show(letters: &Letters, output: &Output, id: &str) -> Result<(), Failure> {
    let found = letters.peek(MOST).await.map_err(failed)?;
    let Some(letter) = found.iter().find(|letter| letter.id == id) else { return Err(unknown(&[id])) };
    output.one(&as_json(letter).to_string(), |_: Value| {
        vec![
            ("Id", letter.id.clone()),
            ("What", what(letter)),
            ("Going to", letter.routing_key.clone()),
            ("Died in", letter.queue.clone()),
            ("Reason", letter.reason.clone()),
            ("Died", died(letter).map_or_else(String::new, |at| time(&at))),
            ("Bytes", letter.bytes.to_string()),
        ]
    })
}

fn unknown(ids: &[&str]) -> Failure {
    let what = format!("no dead letter has the id {}", plain(&ids.join(", ")));
    Failure::with_hint(what, "`stoker bus dead-letters list` shows those that there are")
}

fn died(letter: &DeadLetter) -> Option<String> {
    let seconds = i64::try_from(letter.died_at?).ok()?;
    Some(Timestamp::from_second(seconds).ok()?.to_string())
}

fn what(letter: &DeadLetter) -> String {
    match &letter.content {
        Ok(content) => content.clone(),
        Err(why) => format!("unreadable: {why}"),
    }
}

fn as_json(letter: &DeadLetter) -> Value {
    json!({
        "id": letter.id,
        "routing_key": letter.routing_key,
        "queue": letter.queue,
        "reason": letter.reason,
        "died_at": died(letter),
        "bytes": letter.bytes,
        "content": letter.content.as_ref().ok(),
        "unreadable": letter.content.as_ref().err(),
    })
}

impl Chosen {
    fn which(&self) -> Which<'_> {
        if self.all { Which::All } else { Which::These(&self.ids) }
    }

    /// Says what became of each, and fails when not all of it was done.
    fn told(&self, output: &Output, word: &str, settled: Settled) -> Result<(), Failure> {
        let Settled { done, kept } = settled;
        let met = |id: &str| done.iter().chain(kept.iter().map(|(id, _)| id)).any(|it| it == id);
        let missing: Vec<&str> = self.ids.iter().map(String::as_str).filter(|id| !met(id)).collect();
        if output.is_json() {
            let kept: Vec<Value> = kept.iter().map(|(id, why)| json!({"id": id, "reason": why})).collect();
            output.print(&json!({"done": done, "kept": kept, "unknown": missing}).to_string())?;
        } else {
            for id in &done {
                output.print(&format!("{word} {}", plain(id)))?;
            }
        }
        for (id, why) in &kept {
            eprintln!("{}: {}", plain(id), plain(why));
        }
        if !missing.is_empty() {
            return Err(unknown(&missing));
        }
        if !kept.is_empty() {
            let what = format!("{} of {} stay where they are", kept.len(), kept.len() + done.len());
            return Err(Failure::with_hint(what, "`stoker bus dead-letters drop ID` drops one for good"));
        }
        if done.is_empty() {
            eprintln!("no dead letters");
        }
        Ok(())
    }
}
