//! What the operator is told by flags and the environment.

use anyhow::{Context, Result};
use clap::{ArgAction, Parser, ValueEnum};
use kube::{Client, Config};
use stoker_telemetry::OtlpConfig;

use crate::{Lease, Sampling, Settings};

/// How long a connection to the API server may take to be made.
const CONNECT_WITHIN: std::time::Duration = std::time::Duration::from_secs(10);

/// Makes Stoker platforms of the custom resources Gateway, CoreShard, Notifier and Portal.
///
/// The API server is found by the kubeconfig (KUBECONFIG, or ~/.kube/config), and in a cluster by the ServiceAccount.
#[derive(Debug, Parser)]
#[command(name = "stoker-operator", version, max_term_width = 120)]
pub struct Flags {
    /// Look at resources of this namespace only; a Role is enough for that
    #[arg(long, value_name = "NAMESPACE", env = "STOKER_OPERATOR_NAMESPACE")]
    namespace: Option<String>,

    /// The image that pods run unless their resource names one: the operator's own
    #[arg(long, value_name = "IMAGE", env = "STOKER_OPERATOR_IMAGE", default_value = "")]
    image: String,

    /// Where /healthz, /readyz and /metrics are shown
    #[arg(long, value_name = "ADDRESS", env = "STOKER_OPERATOR_ADMIN", default_value = "0.0.0.0:9090")]
    admin: String,

    /// Act without asking whether another operator does: only where there is no other
    #[arg(long, action = ArgAction::SetTrue, env = "STOKER_OPERATOR_NO_LEADER_ELECTION")]
    no_leader_election: bool,

    /// The Lease that tells who of several operators acts
    #[arg(long, value_name = "NAME", env = "STOKER_OPERATOR_LEASE", default_value = "stoker-operator")]
    lease: String,

    /// Where the Lease is: the operator's own namespace unless given
    #[arg(long, value_name = "NAMESPACE", env = "STOKER_OPERATOR_LEASE_NAMESPACE")]
    lease_namespace: Option<String>,

    /// Who this process is, in the Lease and in events: the pod's name
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    instance: Option<String>,

    /// Whether ServiceMonitors are made where the cluster knows them; looking needs a ClusterRole
    #[arg(long, value_name = "WHEN", env = "STOKER_OPERATOR_SERVICE_MONITORS", default_value = "auto")]
    service_monitors: Monitors,

    /// Look whether everything is there that an operator needs, and whether one is at work; then end
    #[arg(long, action = ArgAction::SetTrue)]
    check: bool,

    /// Where spans are sent, by OTLP over gRPC, such as http://collector:4317; nowhere unless given
    #[arg(long, value_name = "URL", env = "STOKER_OPERATOR_OTLP_ENDPOINT")]
    otlp_endpoint: Option<String>,
}

/// When ServiceMonitors are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Monitors {
    /// Where the cluster knows them.
    Auto,
    /// Not at all.
    Never,
}

impl Flags {
    /// Where health and metrics are shown.
    #[must_use]
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// Whether it is only to look.
    #[must_use]
    pub fn only_checks(&self) -> bool {
        self.check
    }

    /// The collector of traces.
    #[must_use]
    pub fn otlp(&self) -> Option<OtlpConfig> {
        self.otlp_endpoint.as_ref().map(|endpoint| OtlpConfig {
            endpoint: endpoint.clone(),
            named: "--otlp-endpoint",
            sample_ratio: 1.0,
            service: "stoker-operator".to_owned(),
            instance: self.instance(),
        })
    }

    fn instance(&self) -> String {
        let name = self.instance.clone().filter(|name| !name.is_empty());
        name.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_else(|| "stoker-operator".to_owned())
    }

    /// The way to the API server.
    ///
    /// # Errors
    /// There is none, or it is described wrongly.
    pub async fn client() -> Result<Client> {
        let mut config = Config::infer().await.context(
            "no way to the API server: neither a kubeconfig (KUBECONFIG, or ~/.kube/config) nor a ServiceAccount",
        )?;
        config.connect_timeout = Some(CONNECT_WITHIN);
        Client::try_from(config).context("failed to make a client of the API server")
    }

    /// All that the operator is told.
    ///
    /// # Errors
    /// There is no randomness for a name of its own.
    pub fn settings(&self, client: &Client) -> Result<Settings> {
        let instance = self.instance();
        let lease = if self.no_leader_election {
            None
        } else {
            let namespace = self.lease_namespace.clone().or_else(|| self.namespace.clone());
            let random = getrandom::u32().map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
            Some(Lease {
                name: self.lease.clone(),
                namespace: namespace.unwrap_or_else(|| client.default_namespace().to_owned()),
                // A container that was started again is another process, and its pod's name the same.
                identity: format!("{instance}-{random:08x}"),
            })
        };
        Ok(Settings {
            namespace: self.namespace.clone(),
            image: self.image.clone(),
            instance,
            lease,
            service_monitors: self.service_monitors == Monitors::Auto,
            sampling: Sampling::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn flags_are_consistent_and_documented() {
        Flags::command().debug_assert();
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operator.md");
        let page = std::fs::read_to_string(page).unwrap();
        for flag in Flags::command().get_arguments().filter_map(clap::Arg::get_long) {
            assert!(page.contains(&format!("| `--{flag}")), "--{flag} is not in docs/operator.md");
        }
    }
}
