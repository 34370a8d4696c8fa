//! Ends parts of a lab: exactly the processes that were started for them.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::process::{Pid, Signal};

use super::folder::{Folder, State};
use super::kube::{Kube, clear};
use super::settings::Part;
use crate::proc::Process;

/// Cassandra writes out what it holds, RabbitMQ says goodbye to its clients.
const GRACE: Duration = Duration::from_secs(60);
/// From the kill to the end, which a busy disk can hold up.
const KILL_LIMIT: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(50);

/// Ends these parts and waits for their ends. It does not mind interruptions: whoever ends a lab wants it ended.
pub(super) fn stop(folder: &Folder, state: &mut State, parts: &[Part]) -> Result<()> {
    for turn in [Turn::Kubelet, Turn::Others, Turn::Last] {
        let these = parts.iter().copied().filter(|part| Turn::of(*part) == turn);
        let running: Vec<(Part, Process)> =
            these.clone().filter_map(|part| Some((part, state.alive(part)?.clone()))).collect();
        end(&running, GRACE)?;
        for part in these {
            state.stopped(part);
        }
        // Nobody starts pods any more. Kubelet alone may come and go, and pods stay.
        let node = [Kube::Kubelet, Kube::Containerd].map(Part::Kube);
        if turn == Turn::Kubelet && node.iter().all(|part| parts.contains(part)) {
            clear::end_pods(folder)?;
        }
    }
    folder.save(state)
}

/// When a part's turn to end comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// It would start pods anew.
    Kubelet,
    Others,
    /// Others need them to end in good order: RabbitMQ its register, the API server etcd.
    Last,
}

impl Turn {
    fn of(part: Part) -> Self {
        match part {
            Part::Kube(Kube::Kubelet) => Self::Kubelet,
            Part::Epmd | Part::Kube(Kube::Etcd | Kube::Containerd) => Self::Last,
            Part::RabbitMq | Part::Cassandra(_) | Part::Kube(_) => Self::Others,
        }
    }
}

fn end(running: &[(Part, Process)], grace: Duration) -> Result<()> {
    let begun = Instant::now();
    for (_, process) in running {
        signal(process, Signal::TERM);
        // One that a test has frozen would not hear of it.
        signal(process, Signal::CONT);
    }
    let mut left = wait(running.to_vec(), begun, grace);
    for (part, process) in &left {
        eprintln!("{part}: does not end within {} s, killed", grace.as_secs());
        signal(process, Signal::KILL);
    }
    left = wait(left, Instant::now(), KILL_LIMIT);
    match left.first() {
        Some((part, process)) => bail!("{part} (process {}) does not end even when killed", process.pid),
        None => Ok(()),
    }
}

/// Waits for the ends and returns those that still live at the deadline.
fn wait(mut running: Vec<(Part, Process)>, begun: Instant, limit: Duration) -> Vec<(Part, Process)> {
    loop {
        running.retain(|(part, process)| {
            let alive = process.is_alive();
            if !alive {
                eprintln!("{part}: ended after {:.1} s", begun.elapsed().as_secs_f64());
            }
            alive
        });
        if running.is_empty() || begun.elapsed() >= limit {
            return running;
        }
        thread::sleep(POLL);
    }
}

/// Asks first whether the process still is the one that was started. An error means that it is gone.
fn signal(process: &Process, signal: Signal) {
    if process.is_alive()
        && let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw)
    {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn sh(script: &str) -> (std::process::Child, Process) {
        let child = Command::new("sh").args(["-c", script]).spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        (child, process)
    }

    #[test]
    fn a_frozen_process_ends_too() {
        let (mut child, process) = sh("exec sleep 60");
        signal(&process, Signal::STOP);
        end(&[(Part::RabbitMq, process.clone())], GRACE).unwrap();
        assert!(!process.is_alive());
        child.wait().unwrap();
    }

    #[test]
    fn who_does_not_listen_is_killed() {
        let (mut child, process) = sh("trap '' TERM; echo; while :; do sleep 1; done");
        end(&[(Part::RabbitMq, process.clone())], Duration::ZERO).unwrap();
        assert!(!process.is_alive());
        child.wait().unwrap();
    }
}
