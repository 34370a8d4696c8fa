//! `cargo xtask crds`: the custom resource definitions, made of their types.

use anyhow::Result;

use crate::process::{Ending, Runner, Step};
use crate::workspace::Workspace;

/// A first build takes minutes.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(20 * 60);

/// Where they are written down: for people and tests, and in the chart, which can take files of its own folder only.
const FOLDERS: [&str; 2] = ["crds/generated", "helm/stoker/files/crds"];

/// Writes the definitions. That they are up to date is a test of `stoker-crds`.
pub(crate) fn run(workspace: &Workspace, runner: &Runner) -> Result<bool> {
    let log = workspace.target.join("xtask");
    std::fs::create_dir_all(&log)?;
    let step = Step::cargo("run --quiet --locked -p stoker-crds --example generate --")
        .args(FOLDERS.map(|folder| workspace.root.join(folder)));
    let ending = runner.run(&step, &log.join("crds.log"), true, std::time::Instant::now() + LIMIT)?;
    runner.sweep();
    let written = matches!(&ending, Ending::Exited(status) if status.success());
    let said = format!("{} are up to date", FOLDERS.join(" and "));
    println!("{}", if written { said.as_str() } else { "FAILED: see above" });
    Ok(written)
}
