//! The project's own tasks, run as `cargo xtask TASK`.

mod audit;
mod bench;
mod chart;
mod crds;
mod disk;
mod install;
mod lab;
mod proc;
mod process;
mod proto_compat;
mod report;
mod test;
mod tidy;
mod usecases;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::process::{Interrupted, Runner};
use crate::workspace::Workspace;

/// The project's own tasks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run every test there is, in parts, and say at the end what passed
    Test(test::Args),
    Lab(lab::Args),
    Usecases(usecases::Args),
    /// Measure Stoker beside mosquitto, in turns, and write the page in the docs
    Bench(bench::Args),
    /// Check the rules of the project that no compiler checks
    Tidy,
    /// Check that the .proto files have only grown since the committed baseline
    Proto(proto_compat::Args),
    /// Write the custom resource definitions, in crds/generated and in the chart, anew from their types
    Crds,
    /// Look up the dependencies in the advisory database (needs network access to it; not part of the tests)
    Audit,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = Workspace::find().and_then(|workspace| {
        let runner = Runner::new(&workspace)?;
        match cli.task {
            Task::Test(args) => test::run(&workspace, &runner, &args),
            Task::Lab(args) => lab::run(&workspace, &runner, &args),
            Task::Usecases(args) => usecases::run(&workspace, &runner, &args),
            Task::Bench(args) => bench::run(&workspace, &runner, &args),
            Task::Tidy => tidy::run(&workspace, &runner),
            Task::Proto(args) => proto_compat::run(&workspace, args.accept),
            Task::Crds => crds::run(&workspace, &runner),
            Task::Audit => audit::run(&workspace, &runner),
        }
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if error.is::<Interrupted>() => {
            eprintln!("interrupted; everything that was started has been ended");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
