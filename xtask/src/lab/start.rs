//! Starts parts of a lab and waits until they are ready.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::folder::{Folder, State};
use super::kube::bins::Bins;
use super::kube::{self, Kube, Place};
use super::settings::Part;
use super::{cassandra, rabbitmq, ready, stop};
use crate::disk;
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
    /// Of a lab with Kubernetes.
    pub(super) kubernetes: Option<Bins>,
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
        if let Some(bins) = &self.kubernetes {
            kube::network::raise(self.workspace, self.runner, self.folder)?;
            if missing.iter().any(|part| matches!(part, Part::Kube(_))) {
                kube::prepare(&Place::of(self.folder), bins, self.runner)?;
            }
        }
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
        let (kubernetes, others): (Vec<Part>, Vec<Part>) =
            parts.iter().copied().partition(|part| matches!(part, Part::Kube(_)));
        let (second, first): (Vec<Part>, Vec<Part>) = others.into_iter().partition(later);
        let mut pending = self.launch_all(state, &first)?;
        if let Some(bins) = &self.kubernetes {
            self.launch_kubernetes(state, bins, &kubernetes, &mut pending)?;
        }
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

    /// The node needs the API server, and that needs etcd.
    fn launch_kubernetes(
        &self,
        state: &mut State,
        bins: &Bins,
        parts: &[Part],
        pending: &mut Vec<Pending>,
    ) -> Result<()> {
        let place = Place::of(self.folder);
        for stage in 0..kube::STAGES {
            let of_stage = |part: &Part| matches!(part, Part::Kube(part) if part.stage() == stage);
            let these: Vec<Part> = parts.iter().copied().filter(of_stage).collect();
            let is_new =
                |part: Kube| these.contains(&Part::Kube(part)) && state.alive(Part::Kube(part)).is_none();
            let (containers, server) = (is_new(Kube::Containerd), is_new(Kube::ApiServer));
            pending.extend(self.launch_all(state, &these)?);
            if stage + 1 < kube::STAGES {
                self.wait(state, pending, |part| these.contains(&part))?;
            }
            if containers {
                kube::image::import_pause(&place, self.runner)?;
            }
            if server {
                kube::apply::apply(self.workspace, self.runner, &place, bins)?;
            }
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
            Part::Kube(part) => {
                let bins = self.kubernetes.as_ref().context("this lab has no Kubernetes")?;
                kube::command(self.workspace, &Place::of(self.folder), part, bins)?
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
                match ready::answers(self.runner, self.folder, &state.settings, part) {
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

    /// Fails when there isn't the memory: the machine would swap, or end somebody else's process. Or not the disk: RabbitMQ would
    /// take no messages, and say so nowhere but in its log.
    fn check_room(&self, state: &State, parts: &[Part]) -> Result<()> {
        disk::ensure_room(self.folder.path())?;
        let needed: u64 = parts
            .iter()
            .map(|part| match part {
                Part::Epmd => 0,
                Part::Kube(Kube::ApiServer) => kube::MEMORY,
                Part::Kube(_) => 0,
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

/// Closes what whoever started us has left open, such as the lock of `flock`: a part would hold it as long as the lab is up.
const ALONE: &str = r#"exec "$0" "$@" 3<&- 4<&- 5<&- 6<&- 7<&- 8<&- 9<&-"#;

/// Starts a process that outlives this one: in a group of its own, so that Ctrl-C here is not meant for it.
fn spawn(command: &Command, console: &std::path::Path) -> Result<Child> {
    let out = File::create(console).with_context(|| format!("failed to make {}", console.display()))?;
    let err = out.try_clone().with_context(|| format!("failed to share {}", console.display()))?;
    let mut alone = Command::new("sh");
    alone.args(["-c", ALONE]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => alone.env(name, value),
            None => alone.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        alone.current_dir(dir);
    }
    alone.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
    alone.spawn().with_context(|| format!("failed to run {}", command.get_program().display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_started_as_it_was_meant_with_nothing_else_open() {
        let dir = tempfile::tempdir().unwrap();
        let console = dir.path().join("console.log");
        let mut command = Command::new("sh");
        command.args(["-c", "echo $0 $A; pwd", "a b"]).env("A", "c").current_dir(dir.path());
        assert!(spawn(&command, &console).unwrap().wait().unwrap().success());
        let here = dir.path().canonicalize().unwrap();
        assert_eq!(fs::read_to_string(&console).unwrap(), format!("a b c\n{}\n", here.display()));

        // Five is what somebody left open.
        let left = format!("exec 5</dev/null; exec sh -c '{ALONE}' ls /proc/self/fd");
        let listed = Command::new("sh").args(["-c", &left]).output().unwrap();
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        assert!(listed.lines().any(|fd| fd == "1") && !listed.lines().any(|fd| fd == "5"), "{listed}");
    }
}
