//! `cargo xtask usecases`: builds the program of the use cases and hands it all words.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::install::{self, Need, foreign};
use crate::process::{Ending, Runner, Step};
use crate::workspace::Workspace;

/// A first build takes minutes.
const LIMIT: Duration = Duration::from_secs(25 * 60);

/// Print the use cases (story, summary, graph), or try them on a platform (run); `cargo xtask usecases help` says how.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// What to do, and how
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORDS")]
    words: Vec<OsString>,
}

/// The program is built as the tests are, so that nothing is compiled a second time with other features.
fn build() -> Step {
    Step::cargo("build --quiet --workspace --locked --bin stoker-usecases --test usecases")
}

fn program(workspace: &Workspace) -> PathBuf {
    workspace.target.join("debug/stoker-usecases")
}

/// What a part does to see whether they touch everything.
pub(crate) fn check(workspace: &Workspace) -> Vec<Step> {
    vec![build(), Step::new(program(workspace)).args(["summary", "--check"])]
}

/// Builds the program and becomes it: terminal, signals and the end are its own. Returns only when that fails.
pub(crate) fn run(workspace: &Workspace, runner: &Runner, args: &Args) -> Result<bool> {
    if args.words.first().is_some_and(|word| word == "run") {
        // Its devices and listeners are foreign clients.
        install::ensure(&Need::Node, workspace, runner)?;
    }
    let logs = workspace.target.join("xtask");
    std::fs::create_dir_all(&logs).with_context(|| format!("failed to make {}", logs.display()))?;
    let built = runner.run(&build(), &logs.join("usecases.log"), true, Instant::now() + LIMIT)?;
    runner.sweep();
    if !matches!(&built, Ending::Exited(status) if status.success()) {
        bail!("`{}` failed: see above", build().shown());
    }
    let program = program(workspace);
    let mut command = Command::new(&program);
    command.args(&args.words).env("STOKER_E2E_NODE_MODULES", foreign::node_modules(workspace));
    Err(command.exec()).with_context(|| format!("failed to run {}", program.display()))
}
