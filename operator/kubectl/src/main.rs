//! `kubectl stoker`: how the platforms of a cluster stand.

mod certificate;
mod flags;
mod gather;
mod row;
mod show;

use std::process::ExitCode;

use clap::Parser;

use flags::{Command, Flags};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let flags = Flags::parse();
    // Only who was first to set it is told so: there is nobody else.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let Command::Status(status) = &flags.command;
    match gather::rows(&flags, status).await {
        Ok(rows) => {
            print!("{}", show::shown(&rows, status.output, status.all_namespaces));
            if rows.is_empty() && status.output == flags::Output::Table {
                eprintln!("no resources of Stoker found; -A looks in all namespaces");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
