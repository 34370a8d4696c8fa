//! What Kubernetes needs of the machine.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::Tools;
use crate::process::Step;

/// The newest Go that one of the modules asks for.
const GO: (u32, u32) = (1, 26);
/// Programs and files, and the Debian packages that bring them.
const PACKAGES: [(&str, &str); 9] = [
    ("/usr/bin/containerd", "containerd"),
    ("/usr/sbin/runc", "runc"),
    ("/usr/lib/cni/ptp", "containernetworking-plugins"),
    ("/usr/lib/cni/host-local", "containernetworking-plugins"),
    ("/usr/lib/cni/loopback", "containernetworking-plugins"),
    ("/usr/sbin/nft", "nftables"),
    ("/sbin/ip", "iproute2"),
    ("/usr/bin/openssl", "openssl"),
    ("/usr/share/doc/busybox-static", "busybox-static"),
];

pub(super) fn ensure_go(tools: &Tools<'_>) -> Result<()> {
    let said = tools.runner.capture(&Step::new("go").args(["env", "GOVERSION"]));
    let version = said.ok().filter(|said| said.ok).map(|said| said.out.trim().to_owned());
    let (major, minor) = GO;
    match version {
        Some(version) if is_at_least(&version, GO) => Ok(()),
        Some(version) => bail!("there is {version}, and {major}.{minor} is needed: get it from go.dev/dl"),
        None => bail!("`go env` fails: get Go {major}.{minor} or newer from go.dev/dl, and have it in PATH"),
    }
}

/// Whether `said`, such as `go1.26.8`, is of this version or a later one.
fn is_at_least(said: &str, (major, minor): (u32, u32)) -> bool {
    let digits = |part: &str| -> Option<u32> {
        part.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok())
    };
    let mut parts = said.trim_start_matches("go").split('.');
    match (parts.next().and_then(digits), parts.next().and_then(digits)) {
        (Some(found), Some(below)) => (found, below) >= (major, minor),
        _ => false,
    }
}

pub(super) fn ensure_debian(tools: &Tools<'_>) -> Result<()> {
    for (program, words) in [("apt-get", "--version"), ("dpkg-deb", "--version"), ("dpkg-query", "--version")]
    {
        if !tools.works(&Step::new(program).args([words]))? {
            bail!("`{program}` is not there: images are made of Debian's packages, on Debian or Ubuntu");
        }
    }
    Ok(())
}

pub(super) fn ensure_containers(tools: &Tools<'_>) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("only root may make network interfaces and containers: run it as root");
    }
    let missing = || {
        let mut packages: Vec<&str> = PACKAGES
            .iter()
            .filter(|(path, _)| !Path::new(path).exists())
            .map(|(_, package)| *package)
            .collect();
        packages.dedup();
        packages
    };
    let packages = missing();
    if packages.is_empty() {
        return Ok(());
    }
    tools.debian(&packages, &format!("what {} bring is not there", packages.join(", ")))?;
    let left = missing();
    if left.is_empty() { Ok(()) } else { Err(anyhow::anyhow!("{} did not bring it", left.join(", "))) }
        .context("what pods need is not there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_go_are_compared_as_numbers() {
        assert!(
            is_at_least("go1.26.0", (1, 26))
                && is_at_least("go1.100", (1, 26))
                && is_at_least("go2.0", (1, 26))
        );
        assert!(is_at_least("go1.26rc1", (1, 26)));
        assert!(!is_at_least("go1.9.7", (1, 26)) && !is_at_least("go1.25.9", (1, 26)));
        assert!(!is_at_least("", (1, 26)) && !is_at_least("devel", (1, 26)));
    }
}
