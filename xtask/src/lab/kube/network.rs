//! The network of a lab with Kubernetes: addresses, an interface that carries those of this machine, and what must not
//! pass. Of the range for benchmarks, 198.18.0.0/15, so that nothing is mistaken for somebody's private network.

use std::fs;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{Place, clear, templates};
use crate::lab::folder::Folder;
use crate::lab::template::{fill, make_dir, read, write};
use crate::process::{Runner, Step};
use crate::workspace::Workspace;

/// Pods, but for the first sixteen, which are this machine's.
pub(super) const PODS: &str = "198.18.0.0/16";
/// Services.
pub(super) const SERVICES: &str = "198.19.0.0/16";
/// What Services of type LoadBalancer get.
pub(super) const BALANCED: &str = "198.19.255.1-198.19.255.250";
/// What CNI calls the pods' network.
pub(super) const NAME: &str = "stoker-lab";
/// The interface that carries the machine's addresses. There is one lab with Kubernetes on a machine, and its folder is
/// the interface's alias: so it is known whose it is, and two can't both have made it.
const INTERFACE: &str = "stoker0";
/// The most that Linux takes for an alias.
const LONGEST_ALIAS: usize = 255;

/// This machine, as pods see it: where nodes of Cassandra listen, by number, and all else on the first.
pub(in crate::lab) fn host(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 0, number)
}

pub(super) fn first_pod() -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 0, 16)
}

/// That of the API server.
pub(super) fn first_service() -> Ipv4Addr {
    Ipv4Addr::new(198, 19, 0, 1)
}

pub(super) fn dns() -> Ipv4Addr {
    Ipv4Addr::new(198, 19, 0, 10)
}

/// Makes the interface this lab's, or says whose it is.
pub(in crate::lab) fn raise(workspace: &Workspace, runner: &Runner, folder: &Folder) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("a lab with Kubernetes makes network interfaces and containers, which only root may do");
    }
    let alias = folder.path().display().to_string();
    if alias.len() > LONGEST_ALIAS {
        bail!("{alias} is longer than {LONGEST_ALIAS} letters: take another --folder");
    }
    match owner()? {
        Some(owner) if owner == folder.path() => {}
        Some(owner) => {
            evict(runner, &owner)?;
            make(runner, &alias)?;
        }
        None => make(runner, &alias)?,
    }
    for number in 1..=3 {
        ip(runner, &["address", "replace", &format!("{}/16", host(number)), "dev", INTERFACE])?;
    }
    ip(runner, &["link", "set", INTERFACE, "up"])?;
    // What no Service answers for must not leave this machine.
    ip(runner, &["route", "replace", SERVICES, "dev", INTERFACE])?;
    guard(workspace, runner, &Place::of(folder))
}

fn make(runner: &Runner, alias: &str) -> Result<()> {
    ip(runner, &["link", "add", INTERFACE, "type", "bridge"])
        .context("another lab with Kubernetes may be coming up: try again")?;
    ip(runner, &["link", "set", INTERFACE, "alias", alias])
}

/// The folder of the lab that has Kubernetes on this machine; an empty path when it was killed before it said so.
pub(in crate::lab) fn owner() -> Result<Option<PathBuf>> {
    let path = format!("/sys/class/net/{INTERFACE}/ifalias");
    match fs::read_to_string(&path) {
        Ok(alias) => Ok(Some(PathBuf::from(alias.trim_end()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("failed to read {path}")),
    }
}

/// Takes away what a lab left that lives no more, or fails with its name.
fn evict(runner: &Runner, owner: &Path) -> Result<()> {
    if owner.as_os_str().is_empty() {
        return lower(runner);
    }
    let folder = Folder::new(owner)?;
    if let Ok(Some(state)) = folder.load()
        && !folder.pids().is_empty()
    {
        bail!(
            "the lab {} in {} runs, and a machine has one lab with Kubernetes at a time; end that with \
             `cargo xtask lab --folder {} down`, or use it",
            state.settings.name,
            owner.display(),
            owner.display()
        );
    }
    eprintln!("taking away what is left of the lab in {}", owner.display());
    clear::clear(runner, &folder)
}

/// Keeps pods from leaving this machine, and others from coming in.
fn guard(workspace: &Workspace, runner: &Runner, place: &Place) -> Result<()> {
    let rules =
        fill(&read(&templates(workspace).join("guard.nft"))?, &[("INTERFACE", INTERFACE.to_owned())])?;
    make_dir(&place.shared())?;
    let path = place.shared().join("guard.nft");
    write(&path, &rules)?;
    succeed(runner, &Step::new("nft").args(["--file"]).args([&path]))
}

/// Takes the interface and all rules away.
pub(super) fn lower(runner: &Runner) -> Result<()> {
    for (family, table) in [("ip", "kube-proxy"), ("ip6", "kube-proxy"), ("ip", "stoker-lab")] {
        // Whether it is there is nobody's business.
        runner.capture(&Step::new("nft").args(["delete", "table", family, table]))?;
    }
    if owner()?.is_some() {
        ip(runner, &["link", "delete", INTERFACE])?;
    }
    Ok(())
}

fn ip(runner: &Runner, words: &[&str]) -> Result<()> {
    succeed(runner, &Step::new("ip").args(words.iter().copied()))
}

fn succeed(runner: &Runner, step: &Step) -> Result<()> {
    let said = runner.capture(step)?;
    if !said.ok {
        bail!("`{}` failed: {}", step.shown(), said.err.trim());
    }
    Ok(())
}
