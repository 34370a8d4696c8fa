//! A lab's folder: what it consists of, which processes it runs, and that one command at a time changes it.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::kube::{self, Place};
use super::settings::{Part, Settings};
use crate::proc::Process;
use crate::process::Runner;

const STATE: &str = "lab.json";
const LOCK: &str = "lab.lock";
/// Held by a run of the tests for as long as its lab is up.
const OWNER: &str = "owner.lock";
/// Another command may be bringing up three nodes.
const LOCK_LIMIT: Duration = Duration::from_secs(600);

/// What the folder remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) settings: Settings,
    /// The processes that were started and not stopped, by the names of their parts.
    processes: BTreeMap<String, Process>,
}

impl State {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, processes: BTreeMap::new() }
    }

    /// The process of a part, if it lives.
    pub(super) fn alive(&self, part: Part) -> Option<&Process> {
        self.processes.get(&part.to_string()).filter(|process| process.is_alive())
    }

    pub(super) fn started(&mut self, part: Part, process: Process) {
        self.processes.insert(part.to_string(), process);
    }

    pub(super) fn stopped(&mut self, part: Part) {
        self.processes.remove(&part.to_string());
    }

    fn pids(&self) -> Vec<u32> {
        self.processes.values().filter(|process| process.is_alive()).map(|process| process.pid).collect()
    }
}

/// The folder of one lab.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The path must do where nobody quotes: in class paths and the arguments that scripts pass on.
    pub(super) fn new(path: &Path) -> Result<Self> {
        let path = std::path::absolute(path)
            .with_context(|| format!("failed to make {} absolute", path.display()))?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
        if !path.to_str().is_some_and(|path| path.chars().all(plain)) {
            bail!(
                "{} cannot hold a lab: Erlang and Java take paths of letters, digits and ./_-+ only; \
                 choose another with --folder",
                path.display()
            );
        }
        Ok(Self { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of a part.
    pub(super) fn of(&self, part: Part) -> PathBuf {
        self.path.join(part.to_string())
    }

    /// Where a part writes its log.
    pub(super) fn log(&self, part: Part) -> PathBuf {
        self.of(part).join(match part {
            Part::Epmd | Part::Kube(_) => "console.log",
            Part::RabbitMq => "log/rabbitmq.log",
            Part::Cassandra(_) => "log/cassandra.log",
        })
    }

    /// Where a part writes before it has a log.
    pub(super) fn console(&self, part: Part) -> PathBuf {
        self.of(part).join("console.log")
    }

    /// Nothing when there is no lab here.
    pub(super) fn load(&self) -> Result<Option<State>> {
        let path = self.path.join(STATE);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .with_context(|| format!("failed to understand {}", path.display())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("failed to read {}", path.display())),
        }
    }

    pub(super) fn save(&self, state: &State) -> Result<()> {
        let path = self.path.join(STATE);
        let new = self.path.join("lab.json.new");
        let bytes = serde_json::to_vec_pretty(state).context("failed to write down the lab's state")?;
        fs::write(&new, bytes).with_context(|| format!("failed to write {}", new.display()))?;
        fs::rename(&new, &path).with_context(|| format!("failed to replace {}", path.display()))
    }

    /// The processes of the lab that live now; none when its state cannot be read.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.load().ok().flatten().map(|state| state.pids()).unwrap_or_default()
    }

    /// The same, and those that hold its pods.
    pub(super) fn pids_with_pods(&self) -> Vec<u32> {
        let mut pids = self.pids();
        pids.extend(kube::clear::shims(self).into_iter().map(|shim| shim.pid));
        pids
    }

    /// Makes the folder, or refuses one that holds something else.
    pub(super) fn make(&self) -> Result<()> {
        fs::create_dir_all(&self.path).with_context(|| format!("failed to make {}", self.path.display()))?;
        if self.path.join(STATE).exists() {
            return Ok(());
        }
        let entries =
            fs::read_dir(&self.path).with_context(|| format!("failed to list {}", self.path.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("failed to list {}", self.path.display()))?;
            if ![LOCK, OWNER].iter().any(|name| entry.file_name() == *name) {
                bail!("{} holds something that is no lab; choose another --folder", self.path.display());
            }
        }
        Ok(())
    }

    /// Removes what the parts wrote, and the folder when nothing else is in it. None of them may run.
    pub(super) fn purge(&self, state: &State) -> Result<()> {
        for part in state.settings.parts() {
            remove(&self.of(part), |path| fs::remove_dir_all(path))?;
        }
        let place = Place::of(self);
        for shared in [place.shared(), place.bin()] {
            remove(&shared, |path| fs::remove_dir_all(path))?;
        }
        remove(&self.path.join(STATE), |path| fs::remove_file(path))?;
        remove(&self.path.join(LOCK), |path| fs::remove_file(path))?;
        // It fails when something else is there: the lock of a test, or what somebody put there.
        let _ = fs::remove_dir(&self.path);
        Ok(())
    }

    /// Waits until no other command changes this lab. The lock ends with the file that is returned.
    pub(super) fn lock(&self, runner: &Runner) -> Result<File> {
        wait_for_lock(&self.path.join(LOCK), "another `cargo xtask lab`", runner)
    }

    /// Claims the lab for a run of the tests.
    pub(super) fn own(&self) -> Result<File> {
        let file = open(&self.path.join(OWNER))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => {
                bail!("another `cargo xtask test` has its lab in {}: wait for its end", self.path.display())
            }
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("failed to lock {}", self.path.display()))
            }
        }
    }
}

/// Waits for the lock on `path` until `who` lets it go.
pub(super) fn wait_for_lock(path: &Path, who: &str, runner: &Runner) -> Result<File> {
    let until = Instant::now() + LOCK_LIMIT;
    let mut told = false;
    loop {
        let file = open(path)?;
        match file.try_lock() {
            // It was removed with its folder by whoever held it: another one is to be locked.
            Ok(()) if !is_at(&file, path) => continue,
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("failed to lock {}", path.display()));
            }
            Err(TryLockError::WouldBlock) if Instant::now() >= until => {
                bail!("{who} has held {} for {} s", path.display(), LOCK_LIMIT.as_secs());
            }
            Err(TryLockError::WouldBlock) => {}
        }
        if !told {
            eprintln!("waiting for {who} ({})", path.display());
            told = true;
        }
        runner.check()?;
        thread::sleep(Duration::from_millis(100));
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

fn open(path: &Path) -> Result<File> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| format!("failed to make {}", dir.display()))?;
    }
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .with_context(|| format!("failed to open {}", path.display()))
}

fn remove(path: &Path, how: impl Fn(&Path) -> std::io::Result<()>) -> Result<()> {
    match how(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::settings::Ports;
    use super::*;

    fn state() -> State {
        let (name, ports) = ("dev".to_owned(), Ports::USUAL);
        State::new(Settings { name, cassandra: 1, ports, kubernetes: false })
    }

    #[test]
    fn the_state_survives_and_knows_who_lives() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path()).unwrap();
        assert_eq!(folder.load().unwrap(), None);
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let mut state = state();
        state.started(Part::RabbitMq, Process::of(child.id()).unwrap());
        folder.save(&state).unwrap();
        assert_eq!(folder.load().unwrap(), Some(state.clone()));
        assert_eq!(folder.pids(), [child.id()]);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(folder.load().unwrap().unwrap().alive(Part::RabbitMq).is_none());
        assert_eq!(folder.pids(), [0_u32; 0]);
    }

    #[test]
    fn a_folder_with_something_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path()).unwrap();
        folder.make().unwrap();
        fs::write(dir.path().join("letters.txt"), "x").unwrap();
        assert!(folder.make().unwrap_err().to_string().contains("no lab"));
    }

    #[test]
    fn purging_removes_the_lab_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(&dir.path().join("lab")).unwrap();
        folder.make().unwrap();
        fs::create_dir_all(folder.of(Part::Cassandra(1)).join("data")).unwrap();
        folder.save(&state()).unwrap();
        fs::write(folder.path().join("letters.txt"), "x").unwrap();
        folder.purge(&state()).unwrap();
        assert!(folder.path().join("letters.txt").exists());
        assert!(!folder.of(Part::Cassandra(1)).exists() && folder.load().unwrap().is_none());
        fs::remove_file(folder.path().join("letters.txt")).unwrap();
        folder.purge(&state()).unwrap();
        assert!(!folder.path().exists());
    }

    #[test]
    fn a_lab_of_the_tests_has_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path()).unwrap();
        let owner = folder.own().unwrap();
        assert!(folder.own().is_err());
        drop(owner);
        folder.own().unwrap();
    }

    #[test]
    fn paths_that_scripts_would_tear_apart_are_refused() {
        assert!(Folder::new(Path::new("/tmp/a b")).is_err());
        assert!(Folder::new(Path::new("/tmp/a:b")).is_err());
        assert!(Folder::new(Path::new("/tmp/a-b/c.d")).is_ok());
    }
}
