//! The processes of pods whose node is this machine.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// The program in every pod of a platform; another process of the pod only holds its network.
const PROGRAM: &str = "stoker";

/// Whether a control group is one of that pod: its name has the pod's id, with one sign or the other between its parts.
fn is_of(cgroup: &str, uid: &str) -> bool {
    !uid.is_empty() && (cgroup.contains(uid) || cgroup.contains(&uid.replace('-', "_")))
}

fn processes(uid: &str) -> Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("failed to list processes")?.flatten() {
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // One that has ended meanwhile is none.
        let of = Path::new("/proc").join(number.to_string());
        // By its file: processes of ours say in their name what they do.
        let (Ok(cgroup), Ok(file)) = (fs::read_to_string(of.join("cgroup")), fs::read_link(of.join("exe")))
        else {
            continue;
        };
        if file.file_name().is_some_and(|name| name == PROGRAM) && is_of(&cgroup, uid) {
            found.extend(Pid::from_raw(number));
        }
    }
    Ok(found)
}

/// Kills the program of a pod, as the kernel does when there is no memory left.
pub(super) fn kill(uid: &str) -> Result<()> {
    let all = processes(uid)?;
    ensure!(
        !all.is_empty(),
        "no process of the pod is on this machine: `kill` is for a cluster whose node it is"
    );
    for pid in all {
        if let Err(error) = kill_process(pid, Signal::KILL) {
            bail!("failed to kill process {}: {error}", pid.as_raw_nonzero());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_known_by_its_control_group() {
        let uid = "0f2c-11-ab";
        assert!(is_of("0::/kubepods/burstable/pod0f2c-11-ab/8d", uid));
        assert!(is_of("0::/kubepods.slice/kubepods-pod0f2c_11_ab.slice/cri-8d.scope", uid));
        assert!(!is_of("0::/kubepods/burstable/pod0f2c-11-ac/8d", uid));
        assert!(!is_of("0::/user.slice", ""));
    }
}
