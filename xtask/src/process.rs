//! Other programs: each in a process group of its own, with a deadline, and none left behind.

use std::cell::RefCell;
use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, WaitOptions};

use crate::proc::Stat;
use crate::workspace::Workspace;

/// How often a running program is looked at: often enough that quick steps feel quick.
const POLL: Duration = Duration::from_millis(50);
/// A sign of life for whoever watches a long part.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// What a program gets between the request to end and its end.
const GRACE: Duration = Duration::from_secs(5);
/// Looking something up takes seconds; a minute more is for a package cache that another cargo holds.
const CAPTURE_LIMIT: Duration = Duration::from_secs(120);

/// Somebody pressed Ctrl-C or asked the process to end.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// One program with its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(&'static str, OsString)>,
    dir: Option<PathBuf>,
}

impl Step {
    pub(crate) fn new(program: impl Into<OsString>) -> Self {
        Self { program: program.into(), args: Vec::new(), env: Vec::new(), dir: None }
    }

    /// `cargo` with arguments divided by spaces. From `PATH`, not `$CARGO`: only rustup's proxy knows `+nightly`.
    pub(crate) fn cargo(words: &str) -> Self {
        Self::new("cargo").args(words.split_whitespace())
    }

    pub(crate) fn args<I: IntoIterator<Item = A>, A: Into<OsString>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub(crate) fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.env.push((name, value.into()));
        self
    }

    pub(crate) fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// The command as it could be typed.
    pub(crate) fn shown(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        if let Some(dir) = &self.dir {
            words.push(format!("cd {} &&", dir.display()));
        }
        words.extend(self.env.iter().map(|(name, value)| format!("{name}={}", quoted(value))));
        words.push(quoted(&self.program));
        words.extend(self.args.iter().map(quoted));
        words.join(" ")
    }
}

fn quoted(word: &OsString) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-_=./:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// How a program ended.
pub(crate) enum Ending {
    Exited(ExitStatus),
    /// It was killed because it took longer than it may.
    TooLong,
}

/// What a short program said.
pub(crate) struct Captured {
    pub(crate) ok: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Starts programs and sees to it that they end.
pub(crate) struct Runner {
    root: PathBuf,
    stop: Arc<AtomicBool>,
    /// Says which processes below this one outlive steps on purpose.
    spared: RefCell<Box<dyn Fn() -> Vec<u32>>>,
}

impl Runner {
    pub(crate) fn new(workspace: &Workspace) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [2, 15, 1] {
            // SIGINT, SIGTERM, SIGHUP, by the numbers that POSIX fixes
            signal_hook::flag::register(signal, Arc::clone(&stop))
                .with_context(|| format!("failed to watch for signal {signal}"))?;
        }
        // Grandchildren whose parent died become ours instead of init's, so that they can be found and ended.
        #[cfg(target_os = "linux")]
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .context("failed to adopt orphaned grandchildren")?;
        Ok(Self { root: workspace.root.clone(), stop, spared: RefCell::new(Box::new(Vec::new)) })
    }

    /// From now on `sweep` leaves alone whom `pids` names, asked each time, and all below.
    pub(crate) fn spare(&self, pids: impl Fn() -> Vec<u32> + 'static) {
        *self.spared.borrow_mut() = Box::new(pids);
    }

    /// Undoes `spare`.
    pub(crate) fn spare_nobody(&self) {
        self.spare(Vec::new);
    }

    /// Fails once somebody asked us to stop.
    pub(crate) fn check(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(Interrupted.into()) } else { Ok(()) }
    }

    /// Runs `step` with all it says appended to the file `log`, shown as well when `show`, until `deadline`.
    pub(crate) fn run(&self, step: &Step, log: &Path, show: bool, deadline: Instant) -> Result<Ending> {
        let open = || {
            File::options()
                .create(true)
                .append(true)
                .open(log)
                .with_context(|| format!("failed to open {}", log.display()))
        };
        let mut file = open()?;
        writeln!(file, "$ {}", step.shown()).with_context(|| format!("failed to write {}", log.display()))?;
        let mut follow = Follow::new(log, show)?;
        let child = self.spawn(step, file, open()?)?;
        self.watch(child, deadline, || follow.more())
    }

    /// Runs a short program and returns what it said.
    pub(crate) fn capture(&self, step: &Step) -> Result<Captured> {
        let temp = || tempfile::tempfile().context("failed to make a temporary file");
        let (mut out, mut err) = (temp()?, temp()?);
        let copy = |file: &File| file.try_clone().context("failed to share a temporary file");
        let child = self.spawn(step, copy(&out)?, copy(&err)?)?;
        let ending = self.watch(child, Instant::now() + CAPTURE_LIMIT, || Ok(()))?;
        let Ending::Exited(status) = ending else {
            bail!("`{}` said nothing for {} s and was ended", step.shown(), CAPTURE_LIMIT.as_secs());
        };
        Ok(Captured { ok: status.success(), out: rewound(&mut out)?, err: rewound(&mut err)? })
    }

    /// Kills whatever is still running below this process, and returns the names of what it found.
    /// To be called between steps only, when no child of ours is expected to run but those that are spared.
    pub(crate) fn sweep(&self) -> Vec<String> {
        let spared = (self.spared.borrow())();
        let mut names = Vec::new();
        let until = Instant::now() + GRACE;
        loop {
            // What has died already is collected, or it would be found for ever.
            while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
            let alive = descendants(std::process::id(), &spared);
            if alive.is_empty() || Instant::now() > until {
                return names;
            }
            for (pid, name) in alive {
                if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                    let _ = rustix::process::kill_process(pid, Signal::KILL);
                }
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            thread::sleep(POLL);
        }
    }

    fn spawn(&self, step: &Step, out: File, err: File) -> Result<Child> {
        self.check()?;
        let mut command = Command::new(&step.program);
        command.args(&step.args).current_dir(step.dir.as_ref().unwrap_or(&self.root));
        // Cargo tells these to the program it runs; a cargo further down would take them for its own.
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy();
            if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|start| name.starts_with(start)) {
                command.env_remove(&*name);
            }
        }
        command.env("CARGO_TERM_COLOR", "never").envs(step.env.iter().map(|(name, value)| (name, value)));
        // It may be relative to where we were started, and the step starts elsewhere.
        if let (Some(dir), Ok(here)) = (env::var_os("CARGO_TARGET_DIR"), env::current_dir()) {
            command.env("CARGO_TARGET_DIR", here.join(dir));
        }
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        command.spawn().with_context(|| format!("failed to start `{}`", step.shown()))
    }

    fn watch(
        &self,
        mut child: Child,
        deadline: Instant,
        mut tick: impl FnMut() -> Result<()>,
    ) -> Result<Ending> {
        let ending = loop {
            if let Some(status) = child.try_wait().context("failed to wait for a child")? {
                break Ok(Ending::Exited(status));
            }
            if let Err(stopped) = self.check() {
                break Err(stopped);
            }
            if Instant::now() >= deadline {
                break Ok(Ending::TooLong);
            }
            tick()?;
            thread::sleep(POLL);
        };
        end_group(&mut child)?;
        tick()?;
        ending
    }
}

/// Ends the child's whole group: asks, waits for the child a while, kills.
fn end_group(child: &mut Child) -> Result<()> {
    let group =
        i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a child has no process id")?;
    // Errors mean that nobody is left in the group, which is what we want.
    let _ = rustix::process::kill_process_group(group, Signal::TERM);
    let until = Instant::now() + GRACE;
    while child.try_wait().context("failed to wait for a child")?.is_none() && Instant::now() < until {
        thread::sleep(POLL);
    }
    let _ = rustix::process::kill_process_group(group, Signal::KILL);
    child.wait().context("failed to wait for a child")?;
    Ok(())
}

/// The living processes below `top` except `spared` and those below them, from /proc; none where there is no /proc.
pub(crate) fn descendants(top: u32, spared: &[u32]) -> Vec<(u32, String)> {
    let processes: Vec<(u32, Stat)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = Stat::of(pid).filter(Stat::is_alive)?;
            (!spared.contains(&pid)).then_some((pid, stat))
        })
        .collect();
    let mut family = vec![top];
    let mut found = Vec::new();
    while let Some(parent) = family.pop() {
        for (pid, stat) in processes.iter().filter(|(_, stat)| stat.parent == parent) {
            family.push(*pid);
            found.push((*pid, stat.name.clone()));
        }
    }
    found
}

fn rewound(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))
        .and_then(|_| file.read_to_end(&mut bytes))
        .context("failed to read what a program said")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Shows a growing log, or a sign of life now and then.
struct Follow {
    log: Option<File>,
    begun: Instant,
    next_beat: Instant,
}

impl Follow {
    fn new(log: &Path, show: bool) -> Result<Self> {
        let mut opened = None;
        if show {
            let mut file = File::open(log).with_context(|| format!("failed to open {}", log.display()))?;
            file.seek(SeekFrom::End(0)).with_context(|| format!("failed to read {}", log.display()))?;
            opened = Some(file);
        }
        let now = Instant::now();
        Ok(Self { log: opened, begun: now, next_beat: now + HEARTBEAT })
    }

    fn more(&mut self) -> Result<()> {
        if let Some(file) = &mut self.log {
            let mut new = Vec::new();
            file.read_to_end(&mut new).context("failed to follow a log")?;
            std::io::stdout().write_all(&new).context("failed to write to standard output")?;
        } else if Instant::now() >= self.next_beat {
            println!("   … {} s", self.begun.elapsed().as_secs());
            self.next_beat += HEARTBEAT;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runner() -> Runner {
        Runner {
            root: env::temp_dir(),
            stop: Arc::new(AtomicBool::new(false)),
            spared: RefCell::new(Box::new(Vec::new)),
        }
    }

    #[test]
    fn output_and_exit_code_are_told() {
        let said = runner().capture(&Step::new("sh").args(["-c", "echo out; echo err >&2; exit 3"])).unwrap();
        assert!(!said.ok);
        assert_eq!((said.out.as_str(), said.err.as_str()), ("out\n", "err\n"));
    }

    #[test]
    fn a_step_past_its_deadline_is_killed_with_its_children() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let script = "sleep 300 & echo $!; wait";
        let step = Step::new("sh").args(["-c", script]);
        // Long enough for a shell to start on a machine that has other things to do.
        let ending = runner().run(&step, log.path(), false, Instant::now() + Duration::from_secs(2)).unwrap();
        assert!(matches!(ending, Ending::TooLong));
        let said = fs::read_to_string(log.path()).unwrap();
        let pid: u32 = said.lines().last().unwrap().parse().unwrap();
        let state = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let ended = |state: String| state.is_empty() || state.contains(") Z ");
        // A signal takes effect when its process is scheduled next.
        let until = Instant::now() + GRACE;
        while !ended(state()) && Instant::now() < until {
            thread::sleep(POLL);
        }
        assert!(ended(state()), "still there: {}", state());
    }

    #[test]
    fn nothing_is_started_once_stopped() {
        let runner = runner();
        runner.stop.store(true, Ordering::Relaxed);
        let error = runner.capture(&Step::new("true")).err().unwrap();
        assert!(error.is::<Interrupted>());
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = runner().capture(&Step::new("no-such-program-here")).err().unwrap();
        assert!(error.to_string().contains("no-such-program-here"));
    }

    #[test]
    fn a_command_is_shown_as_it_could_be_typed() {
        let step = Step::cargo("doc --no-deps").env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(step.shown(), "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps");
    }

    #[test]
    fn the_family_is_found_in_proc_but_for_those_that_are_spared() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let found = descendants(std::process::id(), &[]);
        let without = descendants(std::process::id(), &[child.id()]);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.iter().any(|(pid, name)| *pid == child.id() && name == "sleep"));
        assert!(without.iter().all(|(pid, _)| *pid != child.id()));
    }
}
