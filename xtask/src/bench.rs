//! `cargo xtask bench`: Stoker beside mosquitto, on this machine.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::install::{self, Need};
use crate::process::{Ending, Runner, Step};
use crate::workspace::Workspace;

/// With optimization, on two busy cores and from nothing.
const BUILD_LIMIT: Duration = Duration::from_secs(60 * 60);
/// The rounds that are usual take a quarter of an hour; more may be asked for.
const RUN_LIMIT: Duration = Duration::from_secs(4 * 60 * 60);
/// What is written, unless something else is asked for.
const PAGE: &str = "docs/benchmarks.md";

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave the page in the docs as it is, and only print
    #[arg(long)]
    dry: bool,
    /// What `stoker-bench peer` is given besides, such as `--rounds 5 --only feed`; see its --help
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    more: Vec<String>,
}

/// Installs mosquitto, builds both programs as they are used, and measures. True when all counts were right.
pub(crate) fn run(workspace: &Workspace, runner: &Runner, args: &Args) -> Result<bool> {
    install::ensure(&Need::Mosquitto, workspace, runner)?;
    let log = workspace.target.join("xtask");
    std::fs::create_dir_all(&log).with_context(|| format!("failed to make {}", log.display()))?;
    let log = log.join("bench.log");
    let step = |step: Step, limit: Duration| -> Result<bool> {
        println!("$ {}", step.shown());
        let ending = runner.run(&step, &log, true, Instant::now() + limit)?;
        runner.sweep();
        match ending {
            Ending::Exited(status) => Ok(status.success()),
            Ending::TooLong => bail!("not done after {} s", limit.as_secs()),
        }
    };
    if !step(Step::cargo("build --release --locked -p stoker -p stoker-bench"), BUILD_LIMIT)? {
        bail!("what is to be measured cannot be built; see above");
    }
    step(measure(workspace, args), RUN_LIMIT)
}

fn measure(workspace: &Workspace, args: &Args) -> Step {
    let built = workspace.target.join("release");
    let mut words: Vec<String> = vec!["peer".to_owned()];
    // Where it is usual, the command that is written down has no places of one machine in it.
    if workspace.target != workspace.root.join("target") {
        words.extend(["--stoker".to_owned(), built.join("stoker").display().to_string()]);
        words.extend(["--dir".to_owned(), workspace.target.join("bench").display().to_string()]);
    }
    if !args.dry {
        words.extend(["--write".to_owned(), PAGE.to_owned()]);
    }
    words.extend(args.more.iter().cloned());
    Step::new(built.join("stoker-bench")).args(words)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn shown(target: &str, dry: bool, more: &[&str]) -> String {
        let workspace = Workspace { root: PathBuf::from("/x"), target: PathBuf::from(target) };
        let more = more.iter().map(|&word| word.to_owned()).collect();
        measure(&workspace, &Args { dry, more }).shown()
    }

    #[test]
    fn the_page_is_written_unless_it_is_a_dry_run() {
        let usual = "/x/target/release/stoker-bench peer --write docs/benchmarks.md --rounds 5";
        assert_eq!(shown("/x/target", false, &["--rounds", "5"]), usual);
        assert_eq!(shown("/x/target", true, &[]), "/x/target/release/stoker-bench peer");
    }

    #[test]
    fn another_target_directory_is_told() {
        let said = shown("/y", true, &[]);
        assert_eq!(said, "/y/release/stoker-bench peer --stoker /y/release/stoker --dir /y/bench");
    }
}
