//! `cargo xtask test`: every test there is, in parts.

mod counts;
mod fuzz;
mod parts;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::install;
use crate::lab::Session;
use crate::process::{Ending, Interrupted, Runner, Step};
use crate::report::{Counts, Report, Row, Verdict};
use crate::workspace::Workspace;
use crate::{chart, disk, proto_compat, tidy};
use parts::{PARTS, Part, Work};

/// How much of a failed step's output is printed; all of it is in the log.
const SHOWN_LINES: usize = 400;

/// Run every test there is, in parts, and say at the end what passed.
///
/// A part that cannot run is named with its reason and fails the run, unless it is excluded by name. What the
/// parts need is installed where that may be done (as root on Debian or Ubuntu); otherwise what is missing is
/// printed.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only the parts that need no outside process
    #[arg(long)]
    quick: bool,
    /// Leave a part out; it counts as neither passed nor failed
    #[arg(long, value_name = "PART", value_parser = parts::names())]
    exclude: Vec<String>,
    /// Run this part and no others but those also named
    #[arg(long, value_name = "PART", value_parser = parts::names())]
    only: Vec<String>,
    /// List the parts and what each needs, and run nothing
    #[arg(long)]
    list: bool,
    /// Show the output of all parts as it comes, not only that of the failed ones
    #[arg(long, short)]
    verbose: bool,
}

impl Args {
    fn wants(&self, part: &Part) -> bool {
        let named = |names: &[String]| names.iter().any(|name| name == part.name);
        (part.quick || !self.quick) && (self.only.is_empty() || named(&self.only)) && !named(&self.exclude)
    }
}

/// Runs the parts that `args` ask for; true when all of them passed.
pub(crate) fn run(workspace: &Workspace, runner: &Runner, args: &Args) -> Result<bool> {
    if args.list {
        print!("{}", parts::listed());
        return Ok(true);
    }
    if !PARTS.iter().any(|part| args.wants(part)) {
        bail!("no part is left to run; `cargo xtask test --list` shows all");
    }
    let logs = workspace.target.join("xtask");
    fs::create_dir_all(&logs).with_context(|| format!("failed to make {}", logs.display()))?;

    let mut hall = Hall { workspace, runner, args, logs, lab: None, report: Report::default() };
    let ran = hall.run();
    // Whatever happened, the lab must not stay.
    let ended = hall.end_lab();
    ran?;
    print!("\n{}", hall.report.shown());
    ended?;
    Ok(hall.report.passed())
}

/// What all parts share.
struct Hall<'a> {
    workspace: &'a Workspace,
    runner: &'a Runner,
    args: &'a Args,
    logs: PathBuf,
    /// From the first part that needs it to the last.
    lab: Option<Session>,
    report: Report,
}

impl Hall<'_> {
    /// Runs the parts. An error means that somebody wants to stop.
    fn run(&mut self) -> Result<()> {
        let last_in_lab = PARTS.iter().rposition(|part| self.args.wants(part) && part.lab().is_some());
        for (index, part) in PARTS.iter().enumerate() {
            if self.args.wants(part) {
                if self.lab.as_ref().is_some_and(|lab| part.lab().is_some_and(|wish| wish != lab.wish())) {
                    self.end_lab()?;
                }
                let row = self.run_part(part)?;
                self.report.rows.push(row);
            } else {
                self.report.rows.push(Row {
                    part: part.name,
                    verdict: Verdict::Excluded,
                    took: Default::default(),
                    tests: None,
                });
            }
            if last_in_lab == Some(index) {
                self.end_lab()?;
            }
        }
        Ok(())
    }

    fn run_part(&mut self, part: &Part) -> Result<Row> {
        println!("── {}: {}", part.name, part.what);
        let log = self.logs.join(format!("{}.log", part.name));
        let begun = Instant::now();
        let mut bench = Bench {
            workspace: self.workspace,
            runner: self.runner,
            part,
            log: &log,
            verbose: self.args.verbose,
            lab: &mut self.lab,
            tests: None,
        };
        let verdict = match bench.run() {
            Ok(verdict) => verdict,
            Err(error) if error.is::<Interrupted>() => {
                self.runner.sweep();
                return Err(error);
            }
            Err(error) => Verdict::CannotRun(format!("{error:#}")),
        };
        let tests = bench.tests;
        let verdict = with_leftovers(verdict, &self.runner.sweep());
        let row = Row { part: part.name, verdict, took: begun.elapsed(), tests };
        tell(&row, self.args.verbose, &log);
        println!("   {} are free", disk::shown(disk::free(&self.workspace.target)?));
        Ok(row)
    }

    fn end_lab(&mut self) -> Result<()> {
        let Some(lab) = self.lab.take() else { return Ok(()) };
        println!("── ending the lab");
        let ended = lab.end(self.runner).context("failed to end the lab");
        self.runner.spare_nobody();
        let left = self.runner.sweep();
        ended?;
        if left.is_empty() {
            Ok(())
        } else {
            bail!("the lab left processes, which were killed: {}", left.join(", "))
        }
    }
}

/// A part that leaves processes behind has a bug that hurts those who run it by hand.
fn with_leftovers(verdict: Verdict, names: &[String]) -> Verdict {
    if names.is_empty() {
        return verdict;
    }
    let said = format!("it left processes running, which were killed: {}", names.join(", "));
    match verdict {
        Verdict::Failed(reason) => Verdict::Failed(format!("{reason}; {said}")),
        Verdict::CannotRun(reason) => Verdict::CannotRun(format!("{reason}; {said}")),
        Verdict::Passed | Verdict::Excluded => Verdict::Failed(said),
    }
}

/// The reason and the tests to look at.
fn with_names(reason: String, names: &[&str]) -> String {
    if names.is_empty() { reason } else { format!("{reason}\n  failed: {}", names.join("\n  failed: ")) }
}

fn tell(row: &Row, verbose: bool, log: &Path) {
    let seconds = row.took.as_secs_f64();
    match &row.verdict {
        Verdict::Passed => println!("   passed in {seconds:.1} s"),
        Verdict::Failed(reason) => {
            if !verbose {
                print_end_of(log);
            }
            println!("   FAILED after {seconds:.1} s: {reason}");
        }
        Verdict::CannotRun(reason) => println!("   CANNOT RUN: {reason}"),
        Verdict::Excluded => {}
    }
}

fn print_end_of(log: &Path) {
    // Parts that run in this process have no log.
    let Ok(text) = fs::read_to_string(log) else { return };
    let lines: Vec<&str> = text.lines().collect();
    let left_out = lines.len().saturating_sub(SHOWN_LINES);
    if left_out > 0 {
        println!("   ({left_out} lines before these are in {})", log.display());
    }
    for line in &lines[left_out..] {
        println!("   | {line}");
    }
}

/// What one part runs on.
struct Bench<'a> {
    workspace: &'a Workspace,
    runner: &'a Runner,
    part: &'a Part,
    log: &'a Path,
    verbose: bool,
    lab: &'a mut Option<Session>,
    tests: Option<Counts>,
}

impl Bench<'_> {
    /// Runs the part. An error means that it could not run.
    fn run(&mut self) -> Result<Verdict> {
        // A log of an earlier run would be taken for this one's.
        match fs::remove_file(self.log) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("failed to remove {}", self.log.display()));
            }
            _ => {}
        }
        disk::ensure_room(&self.workspace.target)?;
        for need in self.part.needs {
            install::ensure(need, self.workspace, self.runner)?;
        }
        if let Some(wish) = self.part.lab()
            && self.lab.is_none()
        {
            *self.lab = Some(Session::begin(self.workspace, self.runner, wish)?);
        }
        let deadline = Instant::now() + self.part.deadline;
        match self.part.work {
            Work::Tidy => verdict_of(&tidy::check(self.workspace, self.runner)?),
            Work::Proto => verdict_of(&proto_compat::check(self.workspace)?),
            Work::Chart => verdict_of(&chart::check(self.workspace, self.runner)?),
            Work::Steps(steps) => {
                Ok(self.steps(&steps(self.workspace), deadline)?.unwrap_or(Verdict::Passed))
            }
            Work::Tests(steps) => {
                let failed = self.steps(&steps(self.workspace), deadline)?;
                let said =
                    fs::read(self.log).with_context(|| format!("failed to read {}", self.log.display()))?;
                let said = String::from_utf8_lossy(&said);
                let tests = counts::count(&said);
                self.tests = Some(tests);
                Ok(match failed {
                    Some(Verdict::Failed(reason)) => {
                        Verdict::Failed(with_names(reason, &counts::failed(&said)))
                    }
                    Some(other) => other,
                    None => counts::judge(tests),
                })
            }
            Work::Fuzz => fuzz::run(self, deadline),
            Work::Lab => match self.lab {
                Some(lab) => verdict_of(&lab.check(self.workspace, self.runner)?),
                None => bail!("the part `{}` does not say that it needs the lab", self.part.name),
            },
        }
    }

    /// Runs the steps up to the first that fails, and says how.
    fn steps(&self, steps: &[Step], deadline: Instant) -> Result<Option<Verdict>> {
        let lab = self.lab.as_ref().filter(|_| self.part.lab().is_some());
        let env = lab.map(Session::env).unwrap_or_default();
        for step in steps {
            println!("   $ {}", step.shown());
            let step = env.iter().fold(step.clone(), |step, (name, value)| step.env(name, value));
            let failed = match self.runner.run(&step, self.log, self.verbose, deadline)? {
                Ending::Exited(status) if status.success() => None,
                Ending::Exited(status) => Some(format!("`{}`: {status}", step.shown())),
                Ending::TooLong => Some(format!(
                    "`{}` was ended: the part may take {} s",
                    step.shown(),
                    self.part.deadline.as_secs()
                )),
            };
            if let Some(reason) = failed {
                return Ok(Some(Verdict::Failed(reason)));
            }
        }
        Ok(None)
    }
}

/// The verdict on findings, which are printed.
fn verdict_of(findings: &[String]) -> Result<Verdict> {
    for finding in findings {
        println!("   {finding}");
    }
    Ok(match findings.len() {
        0 => Verdict::Passed,
        count => Verdict::Failed(format!("{count} findings, printed above")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(quick: bool, only: &[&str], exclude: &[&str]) -> Args {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Args { quick, only: owned(only), exclude: owned(exclude), list: false, verbose: false }
    }

    fn wanted(args: &Args) -> Vec<&'static str> {
        PARTS.iter().filter(|part| args.wants(part)).map(|part| part.name).collect()
    }

    #[test]
    fn everything_runs_unless_told_otherwise() {
        assert_eq!(wanted(&args(false, &[], &[])).len(), PARTS.len());
    }

    #[test]
    fn only_and_exclude_go_by_name() {
        assert_eq!(wanted(&args(false, &["fmt", "e2e"], &[])), ["fmt", "e2e"]);
        assert_eq!(wanted(&args(false, &["fmt", "e2e"], &["e2e"])), ["fmt"]);
        assert!(!wanted(&args(false, &[], &["deny"])).contains(&"deny"));
    }

    #[test]
    fn quick_leaves_out_what_starts_other_processes() {
        let quick = wanted(&args(true, &[], &[]));
        assert!(quick.contains(&"unit") && !quick.contains(&"e2e") && !quick.contains(&"fuzz"));
    }

    #[test]
    fn a_part_that_leaves_processes_behind_has_failed() {
        let verdict = with_leftovers(Verdict::Passed, &["stoker".to_owned()]);
        assert!(matches!(verdict, Verdict::Failed(reason) if reason.contains("stoker")));
        assert_eq!(with_leftovers(Verdict::Passed, &[]), Verdict::Passed);
    }
}
