//! Takes away what Kubernetes leaves on a machine when its processes have ended: pods, mounts, interfaces, rules.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal};

use super::{Kube, Place, network};
use crate::lab::folder::Folder;
use crate::proc::Process;
use crate::process::{Runner, descendants};

/// From the kill to the end, which a busy disk can hold up.
const KILL_LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

/// Ends the processes of all pods. Kubelet must have ended, or it would start them anew.
pub(in crate::lab) fn end_pods(folder: &Folder) -> Result<()> {
    let until = Instant::now() + KILL_LIMIT;
    loop {
        let shims = shims(folder);
        if shims.is_empty() {
            return Ok(());
        }
        for shim in &shims {
            let pods = descendants(shim.pid, &[]);
            for (pid, _) in &pods {
                kill(*pid);
            }
            // What is below a shim is known for a pod's only as long as the shim is there.
            if pods.is_empty() && shim.is_alive() {
                kill(shim.pid);
            }
        }
        if Instant::now() >= until {
            bail!("pods do not end even when killed: see what is below the processes {:?}", pids(&shims));
        }
        thread::sleep(POLL);
    }
}

fn pids(processes: &[Process]) -> Vec<u32> {
    processes.iter().map(|process| process.pid).collect()
}

fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // An error means that it is gone.
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
}

/// The processes that stand between containerd and each pod of this lab: they name its socket.
pub(in crate::lab) fn shims(folder: &Folder) -> Vec<Process> {
    let socket = Place::of(folder).socket();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let command = fs::read(entry.path().join("cmdline")).ok()?;
            let process = Process::of(pid).ok()?;
            (is_shim(&command, &socket) && process.is_alive()).then_some(process)
        })
        .collect()
}

fn is_shim(command: &[u8], socket: &Path) -> bool {
    let mut words = command.split(|byte| *byte == 0);
    let program = words.next().unwrap_or_default();
    program.ends_with(b"containerd-shim-runc-v2")
        && words.any(|word| word == socket.as_os_str().as_encoded_bytes())
}

/// Takes all of it away, of a lab whose processes have ended or were killed.
pub(in crate::lab) fn clear(runner: &Runner, folder: &Folder) -> Result<()> {
    end_pods(folder)?;
    unmount(folder.path())?;
    let state = Place::of(folder).part(Kube::Containerd).join("state");
    if state.exists() {
        fs::remove_dir_all(&state).with_context(|| format!("failed to remove {}", state.display()))?;
    }
    if network::owner()?.is_some_and(|owner| owner == folder.path()) {
        network::lower(runner)?;
        control_groups();
        leftovers(folder.path());
    }
    Ok(())
}

/// Unmounts everything below `dir`, the last mounted first.
fn unmount(dir: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("failed to read /proc/self/mounts")?;
    for path in below(&mounts, dir).into_iter().rev() {
        rustix::mount::unmount(&path, UnmountFlags::DETACH)
            .with_context(|| format!("failed to unmount {}", path.display()))?;
    }
    Ok(())
}

/// The places of mounts below `dir`. Its path has no letter that the list would write otherwise.
fn below(mounts: &str, dir: &Path) -> Vec<PathBuf> {
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
    places.filter(|place| place.starts_with(dir) && place != dir).collect()
}

/// The control groups of pods, as far as they are empty.
fn control_groups() {
    let mut roots = vec![PathBuf::from("/sys/fs/cgroup")];
    roots.extend(folders(&roots[0]));
    for root in roots {
        remove_groups(&root.join("kubepods"), 0);
    }
}

fn remove_groups(dir: &Path, depth: u8) {
    // A pod's containers are three below.
    if depth > 8 {
        return;
    }
    for child in folders(dir) {
        remove_groups(&child, depth + 1);
    }
    let _ = fs::remove_dir(dir);
}

fn folders(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// What CNI and kubelet keep at places of their own. A file that stays hurts nobody.
fn leftovers(folder: &Path) {
    for entry in fs::read_dir("/var/lib/cni/results").into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&format!("{}-", network::NAME)) {
            let _ = fs::remove_file(entry.path());
        }
    }
    for entry in fs::read_dir("/var/log/containers").into_iter().flatten().flatten() {
        if fs::read_link(entry.path()).is_ok_and(|target| target.starts_with(folder)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shim_is_known_by_its_socket() {
        let command = b"/usr/bin/containerd-shim-runc-v2\0-namespace\0k8s.io\0-address\0/a/containerd.sock\0";
        assert!(is_shim(command, Path::new("/a/containerd.sock")));
        assert!(!is_shim(command, Path::new("/b/containerd.sock")));
        assert!(!is_shim(b"vi\0/a/containerd.sock\0", Path::new("/a/containerd.sock")));
        assert!(!is_shim(b"", Path::new("/a/containerd.sock")));
    }

    #[test]
    fn mounts_of_a_lab_are_those_below_its_folder() {
        let mounts = "a /lab ext4 rw 0 0\nb /lab/x/rootfs overlay rw 0 0\nc /labs/y tmpfs rw 0 0\nd /lab/x/rootfs/z tmpfs rw 0 0\n";
        let found = below(mounts, Path::new("/lab"));
        assert_eq!(found, ["/lab/x/rootfs", "/lab/x/rootfs/z"].map(PathBuf::from));
    }
}
