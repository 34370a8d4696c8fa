//! What is asked for.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// How the Stoker platforms of a cluster stand.
#[derive(Debug, Parser)]
#[command(name = "kubectl-stoker", bin_name = "kubectl stoker", version, max_term_width = 120)]
pub(crate) struct Flags {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// The kubeconfig: else KUBECONFIG, else ~/.kube/config
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// Which context of the kubeconfig: else its current one
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Health and what pods do without, revisions, sessions, slots, and how long certificates are valid, of each resource
    Status(Status),
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// In this namespace: else that of the context
    #[arg(short, long, value_name = "NAMESPACE", conflicts_with = "all_namespaces")]
    pub(crate) namespace: Option<String>,

    /// In all namespaces
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,

    /// For people, or for programs
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Table,
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn flags_are_consistent() {
        Flags::command().debug_assert();
        assert!(Flags::try_parse_from(["kubectl-stoker", "status", "-A", "-o", "json"]).is_ok());
        let both = Flags::try_parse_from(["kubectl-stoker", "status", "-A", "-n", "a"]).unwrap_err();
        assert!(both.to_string().contains("cannot be used with"), "{both}");
    }
}
