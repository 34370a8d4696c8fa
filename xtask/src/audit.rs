//! `cargo xtask audit`: the dependencies against the advisory database.

use anyhow::{Context, Result};

use crate::install::{self, Need};
use crate::process::{Ending, Runner, Step};
use crate::workspace::Workspace;

/// Cloning the database takes seconds on any usable line.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(10 * 60);

/// True when no advisory is about what we use.
pub(crate) fn run(workspace: &Workspace, runner: &Runner) -> Result<bool> {
    install::ensure(&Need::CARGO_DENY, workspace, runner)?;
    println!("needs the advisory database: https://github.com/rustsec/advisory-db, fetched by git");
    let log = workspace.target.join("xtask");
    std::fs::create_dir_all(&log).with_context(|| format!("failed to make {}", log.display()))?;
    let step = Step::cargo("deny --locked check advisories");
    println!("$ {}", step.shown());
    let ending = runner.run(&step, &log.join("audit.log"), true, std::time::Instant::now() + LIMIT)?;
    runner.sweep();
    let passed = matches!(&ending, Ending::Exited(status) if status.success());
    println!(
        "{}",
        if passed { "no advisory found" } else { "FAILED: see above; without the database nothing is known" }
    );
    Ok(passed)
}
