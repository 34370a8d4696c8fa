//! The lab of `cargo xtask test`: made for one run, gone after it.

use std::fs::File;

use anyhow::{Context, Result, bail};

use super::folder::{Folder, State};
use super::kube::clear;
use super::settings::{Part, Ports, Settings};
use super::status::{self, Env, Status};
use super::{LABS, Lab, stop};
use crate::process::Runner;
use crate::workspace::Workspace;

const NAME: &str = "test";
/// Where free ports are looked for: below those that systems give to outgoing connections.
const FIRST_BASE: u16 = 19_040;
const TRIES: u16 = 50;

/// What a part of the tests needs of a lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Of Cassandra.
    pub(crate) nodes: u8,
    pub(crate) kubernetes: bool,
}

/// A lab that is up, and nobody else's.
pub(crate) struct Session {
    folder: Folder,
    state: State,
    _owner: File,
}

impl Session {
    /// Brings up so many nodes of Cassandra and RabbitMQ, with no data of an earlier run.
    pub(crate) fn begin(workspace: &Workspace, runner: &Runner, wish: Wish) -> Result<Self> {
        let folder = Folder::new(&workspace.root.join(LABS).join(NAME))?;
        let owner = folder.own()?;
        let lab = Lab { workspace, runner, folder: folder.clone() };
        // An earlier run that was killed left its own.
        lab.clear()?;
        let lock = folder.lock(runner)?;
        let Wish { nodes, kubernetes } = wish;
        let settings = Settings { name: NAME.to_owned(), cassandra: nodes, ports: free_ports()?, kubernetes };
        let parts = settings.parts();
        let mut state = State::new(settings);
        let spared = folder.clone();
        runner.spare(move || spared.pids_with_pods());
        lab.starter(&state.settings, None)?.start(&mut state, &parts)?;
        drop(lock);
        Ok(Self { folder, state, _owner: owner })
    }

    /// What it was wished to be.
    pub(crate) fn wish(&self) -> Wish {
        Wish { nodes: self.state.settings.cassandra, kubernetes: self.state.settings.kubernetes }
    }

    /// How tests find it.
    pub(crate) fn env(&self) -> Env {
        status::env(&self.folder, &self.state.settings)
    }

    /// Ends all of it and removes its data.
    pub(crate) fn end(self, runner: &Runner) -> Result<()> {
        // A test may have started a part anew.
        let mut state = self.folder.load()?.context("the lab of the tests is gone")?;
        let parts = state.settings.parts();
        stop::stop(&self.folder, &mut state, &parts)?;
        if state.settings.kubernetes {
            clear::clear(runner, &self.folder)?;
        }
        self.folder.purge(&state)
    }

    /// Shows that the lab does what the tests rely on: a part can be stopped and started on its own, what runs
    /// already is left as it is, and what was written is still there.
    pub(crate) fn check(&mut self, workspace: &Workspace, runner: &Runner) -> Result<Vec<String>> {
        let lab = Lab { workspace, runner, folder: self.folder.clone() };
        let mut findings = Vec::new();
        for part in [Part::RabbitMq, Part::Cassandra(1)] {
            let others = self.pids_but(part)?;
            lab.stop(&part.to_string())?;
            if self.folder.load()?.is_some_and(|state| state.alive(part).is_some()) {
                findings.push(format!("{part} runs though it was stopped"));
            }
            if !self.state.settings.taken(part).is_empty() {
                findings.push(format!("{part} was stopped and its ports are still taken"));
            }
            lab.start(&part.to_string(), None)?;
            if self.pids_but(part)? != others {
                findings.push(format!("{part} was started, and others with it"));
            }
        }
        let before = self.folder.pids();
        lab.up(NAME, &super::UpArgs::default())?;
        if self.folder.pids() != before {
            findings.push("`up` started anew what ran already".to_owned());
        }
        let state = lab.known()?;
        if !Status::of(workspace, runner, &self.folder, &state)?.ready {
            findings.push("not all of it is ready".to_owned());
        }
        self.state = state;
        Ok(findings)
    }

    fn pids_but(&self, part: Part) -> Result<Vec<u32>> {
        let state = self.folder.load()?.context("the lab of the tests is gone")?;
        let others = state.settings.parts().into_iter().filter(|other| *other != part);
        Ok(others.filter_map(|other| state.alive(other).map(|process| process.pid)).collect())
    }
}

fn free_ports() -> Result<Ports> {
    for step in 0..TRIES {
        let ports = Ports::from_base(FIRST_BASE + step * Ports::COUNT)?;
        let settings = Settings { name: NAME.to_owned(), cassandra: 3, ports, kubernetes: false };
        if settings.parts().into_iter().all(|part| settings.taken(part).is_empty()) {
            return Ok(ports);
        }
    }
    bail!("there are no {} free ports from {FIRST_BASE} on", Ports::COUNT)
}
