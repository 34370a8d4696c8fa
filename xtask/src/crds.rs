//! `cargo xtask crds`: the custom resource definitions, made of their types.

use anyhow::Result;

use crate::process::{Ending, Runner, Step};
use crate::workspace::Workspace;

/// A first build takes minutes.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(20 * 60);

/// Writes `crds/generated`. That it is up to date is a test of `stoker-crds`.
pub(crate) fn run(workspace: &Workspace, runner: &Runner) -> Result<bool> {
    let log = workspace.target.join("xtask");
    std::fs::create_dir_all(&log)?;
    let step = Step::cargo("run --quiet --locked -p stoker-crds --example generate --")
        .args([workspace.root.join("crds/generated")]);
    let ending = runner.run(&step, &log.join("crds.log"), true, std::time::Instant::now() + LIMIT)?;
    runner.sweep();
    let written = matches!(&ending, Ending::Exited(status) if status.success());
    println!("{}", if written { "crds/generated is up to date" } else { "FAILED: see above" });
    Ok(written)
}
