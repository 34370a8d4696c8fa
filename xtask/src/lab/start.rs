//! Starts parts of a lab and waits until they are ready.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::folder::{Folder, State};
use super::settings::Part;
use super::{cassandra, rabbitmq, ready, stop};
use crate::proc::{self, Process};
use crate::process::Runner;
use crate::workspace::Workspace;

/// Several times what two busy cores take.
const READY_LIMIT: Duration = Duration::from_secs(240);
/// What has ended just now may hold its ports a moment longer.
const PORT_LIMIT: Duration = Duration::from_secs(10);
/// A sign of life with what is still missing.
const HEARTBEAT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(250);
/// How much of a log is shown when its part dies.
const LAST_LINES: usize = 15;

/// What starting takes.
pub(super) struct Starter<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) runner: &'a Runner,
    pub(super) folder: &'a Folder,
    pub(super) java: PathBuf,
    pub(super) jars: PathBuf,
    pub(super) rabbitmq: PathBuf,
}

/// A part that was started just now, or found running.
struct Pending {
    part: Part,
    /// Nothing for one that was found.
    child: Option<Child>,
    last: String,
}

impl Starter<'_> {
    /// Sees to it that these parts run and are ready. When one cannot be, those that were started for it are ended.
    pub(super) fn start(&self, state: &mut State, parts: &[Part]) -> Result<()> {
        let missing: Vec<Part> = parts.iter().copied().filter(|part| state.alive(*part).is_none()).collect();
        self.check_room(state, &missing)?;
        for part in &missing {
            self.wait_for_ports(state, *part)?;
        }
        let done = self.start_in_turn(state, parts);
        if done.is_err() && !missing.is_empty() {
            eprintln!("ending what was started; the logs stay in {}", self.folder.path().display());
            // What went wrong first is the error to tell.
            if let Err(error) = stop::stop(self.folder, state, &missing) {
                eprintln!("{error:#}");
            }
        }
        done
    }

    /// The first node of Cassandra must be there before the others can join it.
    fn start_in_turn(&self, state: &mut State, parts: &[Part]) -> Result<()> {
        let later = |part: &Part| matches!(part, Part::Cassandra(number) if *number > 1);
        let (second, first): (Vec<Part>, Vec<Part>) = parts.iter().copied().partition(later);
        let mut pending = self.launch_all(state, &first)?;
        if !second.is_empty() {
            // RabbitMQ may take its time meanwhile.
            self.wait(state, &mut pending, |part| matches!(part, Part::Cassandra(_)))?;
            pending.extend(self.launch_all(state, &second)?);
        }
        self.wait(state, &mut pending, |_| true)?;
        if parts.iter().any(|part| matches!(part, Part::Cassandra(_))) {
            self.wait_for_all_nodes(state)?;
        }
        Ok(())
    }

    fn launch_all(&self, state: &mut State, parts: &[Part]) -> Result<Vec<Pending>> {
        let mut pending = Vec::new();
        for part in parts.iter().copied() {
            let child = match state.alive(part) {
                Some(_) => None,
                None => Some(self.launch(state, part)?),
            };
            if part == Part::RabbitMq && child.is_some() {
                // It starts a register of its own, which nobody would end, where there is none yet.
                let mut register = vec![Pending { part: Part::Epmd, child: None, last: String::new() }];
                self.wait(state, &mut register, |_| true)?;
            }
            pending.push(Pending { part, child, last: String::new() });
        }
        Ok(pending)
    }

    /// Starts one part and writes down that it runs.
    fn launch(&self, state: &mut State, part: Part) -> Result<Child> {
        self.runner.check()?;
        let dir = self.folder.of(part);
        fs::create_dir_all(&dir).with_context(|| format!("failed to make {}", dir.display()))?;
        let settings = &state.settings;
        let mut command = match part {
            Part::Epmd => rabbitmq::epmd(settings),
            Part::RabbitMq => rabbitmq::command(self.workspace, self.folder, settings, &self.rabbitmq)?,
            Part::Cassandra(number) => {
                cassandra::command(self.workspace, self.folder, settings, number, &self.java, &self.jars)?
            }
        };
        let child = spawn(command.current_dir(&dir), &self.folder.console(part))
            .with_context(|| format!("failed to start {part}"))?;
        state.started(part, Process::of(child.id())?);
        self.folder.save(state)?;
        eprintln!("{part}: started as process {}, log {}", child.id(), self.folder.log(part).display());
        Ok(child)
    }

    fn wait_for_ports(&self, state: &State, part: Part) -> Result<()> {
        let until = Instant::now() + PORT_LIMIT;
        loop {
            let taken = state.settings.taken(part);
            let Some(address) = taken.first() else { return Ok(()) };
            if Instant::now() >= until {
                bail!(
                    "{part} cannot listen on {address}: somebody else does (`ss -ltnp 'sport = :{}'` says who). \
                     End that, or take a lab of another --name with another --port-base",
                    address.port()
                );
            }
            self.runner.check()?;
            thread::sleep(POLL);
        }
    }

    /// Waits until all that are `wanted` are ready, and takes them out of `pending`.
    fn wait(&self, state: &State, pending: &mut Vec<Pending>, wanted: impl Fn(Part) -> bool) -> Result<()> {
        let begun = Instant::now();
        let mut next_beat = begun + HEARTBEAT;
        while pending.iter().any(|pending| wanted(pending.part)) {
            self.runner.check()?;
            let mut waiting = Vec::new();
            for mut one in pending.drain(..) {
                let part = one.part;
                self.check_alive(state, &mut one)?;
                match ready::answers(&state.settings, part) {
                    Ok(()) => tell_ready(&one, state, begun),
                    Err(error) => {
                        one.last = format!("{error:#}");
                        waiting.push(one);
                    }
                }
            }
            *pending = waiting;
            let late = begun.elapsed() >= READY_LIMIT;
            if let Some(one) = pending.iter().find(|pending| late && wanted(pending.part)) {
                bail!(
                    "{} is not ready after {} s: {}; its log is {}",
                    one.part,
                    READY_LIMIT.as_secs(),
                    one.last,
                    self.folder.log(one.part).display()
                );
            }
            if Instant::now() >= next_beat {
                next_beat += HEARTBEAT;
                for one in pending.iter() {
                    eprintln!("{}: not ready after {} s: {}", one.part, begun.elapsed().as_secs(), one.last);
                }
            }
            if !pending.is_empty() {
                thread::sleep(POLL);
            }
        }
        Ok(())
    }

    /// Fails with the end of its log when a part has died.
    fn check_alive(&self, state: &State, one: &mut Pending) -> Result<()> {
        let part = one.part;
        let how = match &mut one.child {
            Some(child) => child.try_wait().context("failed to wait for a child")?.map(|end| end.to_string()),
            None if state.alive(part).is_none() => Some("it is gone".to_owned()),
            None => None,
        };
        match how {
            Some(how) => bail!("{part} ended before it was ready ({how}){}", self.last_words(part)),
            None => Ok(()),
        }
    }

    fn last_words(&self, part: Part) -> String {
        let mut text = String::new();
        let mut paths = vec![self.folder.console(part), self.folder.log(part)];
        paths.dedup();
        for path in paths {
            let said = fs::read(&path).unwrap_or_default();
            let said = String::from_utf8_lossy(&said);
            let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
            if !lines.is_empty() {
                text.push_str(&format!("\n   {} ends with", path.display()));
            }
            for line in &lines[lines.len().saturating_sub(LAST_LINES)..] {
                text.push_str(&format!("\n     {line}"));
            }
        }
        text
    }

    /// Waits until each node holds all for up, unless a test keeps another one down or frozen.
    fn wait_for_all_nodes(&self, state: &State) -> Result<()> {
        let nodes = 1..=state.settings.cassandra;
        let runs = |number| {
            let stat = state.alive(Part::Cassandra(number)).and_then(Process::look);
            stat.is_some_and(|stat| !stat.is_frozen())
        };
        if !nodes.clone().all(runs) {
            return Ok(());
        }
        let begun = Instant::now();
        for number in nodes {
            while let Err(error) = cassandra::sees_all(&state.settings, number) {
                self.runner.check()?;
                if begun.elapsed() >= READY_LIMIT {
                    let part = Part::Cassandra(number);
                    let log = self.folder.log(part);
                    return Err(error).with_context(|| {
                        format!(
                            "{part} does not see all nodes up after {} s (log {})",
                            READY_LIMIT.as_secs(),
                            log.display()
                        )
                    });
                }
                thread::sleep(POLL);
            }
        }
        if state.settings.cassandra > 1 {
            let seconds = begun.elapsed().as_secs_f64();
            eprintln!(
                "cassandra: each of {} nodes sees all up, {seconds:.1} s later",
                state.settings.cassandra
            );
        }
        Ok(())
    }

    /// Fails when there isn't the memory: the machine would swap, or end somebody else's process.
    fn check_room(&self, state: &State, parts: &[Part]) -> Result<()> {
        let needed: u64 = parts
            .iter()
            .map(|part| match part {
                Part::Epmd => 0,
                Part::RabbitMq => rabbitmq::MEMORY,
                Part::Cassandra(_) => cassandra::MEMORY,
            })
            .sum();
        match proc::available_memory() {
            Some(available) if available < needed => bail!(
                "the lab {} needs {} MB more, and the machine has {} MB to give: end something, or take fewer \
                 nodes (`--cassandra 1`)",
                state.settings.name,
                needed >> 20,
                available >> 20
            ),
            _ => Ok(()),
        }
    }
}

fn tell_ready(one: &Pending, state: &State, begun: Instant) {
    let Pending { part, child, .. } = one;
    if child.is_some() {
        let seconds = begun.elapsed().as_secs_f64();
        eprintln!("{part}: ready on {}, {seconds:.1} s later", state.settings.address(*part));
    }
}

/// Starts a process that outlives this one: in a group of its own, so that Ctrl-C here is not meant for it.
fn spawn(command: &mut Command, console: &std::path::Path) -> Result<Child> {
    let out = File::create(console).with_context(|| format!("failed to make {}", console.display()))?;
    let err = out.try_clone().with_context(|| format!("failed to share {}", console.display()))?;
    command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
    command.spawn().with_context(|| format!("failed to run {}", command.get_program().display()))
}
