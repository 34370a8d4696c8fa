//! What Linux tells about a process in /proc.

use std::fs;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// A line of `/proc/PID/stat`, as far as it is of use here.
pub(crate) struct Stat {
    pub(crate) name: String,
    /// `R`, `S`, `T` (stopped), `Z` (dead, its parent has not looked yet) and so on.
    state: char,
    pub(crate) parent: u32,
    /// In clock ticks since the machine started.
    started: u64,
}

impl Stat {
    /// Nothing when there is no such process.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    pub(crate) fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }

    /// Whether it was sent SIGSTOP.
    pub(crate) fn is_frozen(&self) -> bool {
        self.state == 'T'
    }
}

/// "pid (name) state parent …", and the name may hold anything, parentheses too.
fn parse(stat: &str) -> Option<Stat> {
    let (start, rest) = stat.rsplit_once(')')?;
    let name = start.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some(Stat {
        name,
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

/// One process for good: a number alone is given to another one sooner or later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// In clock ticks since the machine started.
    started: u64,
    /// Of the machine's start.
    boot: String,
}

impl Process {
    /// The process that has this number now. Dead ones count until their parent has looked.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let stat = Stat::of(pid).with_context(|| format!("/proc shows no process {pid}"))?;
        Ok(Self { pid, started: stat.started, boot: boot()? })
    }

    /// What it does, unless it has ended.
    pub(crate) fn look(&self) -> Option<Stat> {
        let stat = Stat::of(self.pid)?;
        let same = stat.started == self.started && boot().is_ok_and(|boot| boot == self.boot);
        (same && stat.is_alive()).then_some(stat)
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.look().is_some()
    }

    /// The memory that it holds, in bytes.
    pub(crate) fn memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        kilobytes(&status, "VmRSS").map(|count| count * 1024)
    }
}

fn boot() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    Ok(fs::read_to_string(path).with_context(|| format!("failed to read {path}"))?.trim().to_owned())
}

/// The memory that new processes can have without swapping, in bytes.
pub(crate) fn available_memory() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    kilobytes(&meminfo, "MemAvailable").map(|count| count * 1024)
}

/// The number in a line such as `VmRSS:     1234 kB`.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        let stat = parse("7 (a) b (c)) S 3 7 7 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0").unwrap();
        assert_eq!((stat.name.as_str(), stat.state, stat.parent), ("a) b (c)", 'S', 3));
        assert_eq!(stat.started, 4711);
        assert!(parse("7 (a) S 3").is_none());
    }

    #[test]
    fn a_process_is_known_until_it_ends() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        assert!(process.is_alive() && process.memory().is_some_and(|bytes| bytes > 0));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!process.is_alive());
        assert!(Process::of(child.id()).is_err());
    }

    #[test]
    fn another_process_of_the_same_number_is_another() {
        let here = Process::of(std::process::id()).unwrap();
        assert!(here.is_alive());
        assert!(!Process { started: here.started + 1, ..here.clone() }.is_alive());
        assert!(!Process { boot: "another".to_owned(), ..here }.is_alive());
    }

    #[test]
    fn memory_is_read_in_kilobytes() {
        assert_eq!(kilobytes("VmPeak:\t 9 kB\nVmRSS:\t  123 kB\n", "VmRSS"), Some(123));
        assert_eq!(kilobytes("VmRSSx: 1 kB", "VmRSS"), None);
    }
}
