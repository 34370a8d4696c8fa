//! What a new cluster is told before anybody uses it.

use anyhow::{Context, Result, bail};

use super::bins::Bins;
use super::{Kube, Place, configure, network, templates};
use crate::lab::template::make_dir;
use crate::process::Runner;
use crate::workspace::Workspace;

/// Applies what makes names known and gives Services addresses.
pub(in crate::lab) fn apply(
    workspace: &Workspace,
    runner: &Runner,
    place: &Place,
    bins: &Bins,
) -> Result<()> {
    let templates = templates(workspace);
    let dir = place.shared().join("manifests");
    make_dir(&dir)?;
    let values = [("DNS", network::dns().to_string()), ("HOST", network::host(1).to_string())];
    configure(&templates, "dns.yaml", &dir.join("dns.yaml"), &values)?;
    let values = [("BALANCED", network::BALANCED.to_owned())];
    configure(&templates, "pool.yaml", &dir.join("pool.yaml"), &values)?;

    let definitions = bins.dir_of("metallb.io_ipaddresspools.yaml")?;
    let kubectl = |words: &[&str]| -> Result<()> {
        let step = place.kubectl(words);
        let said = runner.capture(&step)?;
        if !said.ok {
            bail!("`{}` failed: {}", step.shown(), said.err.trim());
        }
        Ok(())
    };
    let file = |path: &std::path::Path| format!("--filename={}", path.display());
    // All are watched by MetalLB, whether they are used or not.
    kubectl(&["apply", "--server-side", "--force-conflicts", &file(&definitions)])
        .context("failed to define what MetalLB knows")?;
    let known = ["ipaddresspools.metallb.io", "communities.metallb.io"]
        .map(|name| format!("customresourcedefinition/{name}"));
    kubectl(&["wait", "--for=condition=Established", "--timeout=30s", &known[0], &known[1]])?;
    kubectl(&["apply", "--server-side", "--force-conflicts", &file(&dir)]).with_context(|| {
        format!("failed to say what {} and {} need", Kube::Dns.name(), Kube::Balancer.name())
    })
}
