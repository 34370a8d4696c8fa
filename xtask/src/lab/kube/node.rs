//! The node: the configuration and commands of its processes, and of what runs beside them for all.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::bins::Bins;
use super::{Kube, NODE, Place, configure, image, network};
use crate::lab::template::make_dir;

pub(super) fn containerd(templates: &Path, place: &Place) -> Result<Command> {
    let dir = place.part(Kube::Containerd);
    let networks = dir.join("networks");
    make_dir(&networks)?;
    let values = [
        ("FOLDER", dir.display().to_string()),
        ("NETWORK", network::NAME.to_owned()),
        ("HOST", network::host(1).to_string()),
        ("FIRST_POD", network::first_pod().to_string()),
        ("PODS", network::PODS.to_owned()),
    ];
    configure(templates, "network.conflist", &networks.join("10-lab.conflist"), &values)?;
    let config = dir.join("config.toml");
    let values = [
        ("FOLDER", dir.display().to_string()),
        ("SOCKET", place.socket().display().to_string()),
        ("METRICS", Kube::Containerd.address().to_string()),
        ("PAUSE", image::PAUSE.to_owned()),
    ];
    configure(templates, "containerd.toml", &config, &values)?;
    let mut command = Command::new("containerd");
    command.arg("--config").arg(config);
    Ok(command)
}

pub(super) fn kubelet(templates: &Path, place: &Place, bins: &Bins) -> Result<Command> {
    let dir = place.part(Kube::Kubelet);
    let config = dir.join("config.yaml");
    let values = [
        ("FOLDER", dir.display().to_string()),
        ("HOST", network::host(1).to_string()),
        ("DNS", network::dns().to_string()),
        ("SOCKET", place.socket().display().to_string()),
        ("CA", place.pki("ca.crt").display().to_string()),
        ("CERTIFICATE", place.pki("kubelet.crt").display().to_string()),
        ("KEY", place.pki("kubelet.key").display().to_string()),
    ];
    configure(templates, "kubelet.yaml", &config, &values)?;
    let mut command = Command::new(bins.path("kubelet"));
    command.args([
        format!("--config={}", config.display()),
        format!("--kubeconfig={}", place.node_kubeconfig().display()),
        format!("--root-dir={}", dir.join("root").display()),
        format!("--hostname-override={NODE}"),
        format!("--node-ip={}", network::host(1)),
    ]);
    Ok(command)
}

pub(super) fn proxy(templates: &Path, place: &Place, bins: &Bins) -> Result<Command> {
    let config = place.part(Kube::Proxy).join("config.yaml");
    let values = [
        ("KUBECONFIG", place.kubeconfig().display().to_string()),
        ("HOST", network::host(1).to_string()),
        ("PODS", network::PODS.to_owned()),
        ("NODE", NODE.to_owned()),
    ];
    configure(templates, "kube-proxy.yaml", &config, &values)?;
    let mut command = Command::new(bins.path("kube-proxy"));
    command.arg(format!("--config={}", config.display()));
    Ok(command)
}

pub(super) fn dns(templates: &Path, place: &Place, bins: &Bins) -> Result<Command> {
    let config = place.part(Kube::Dns).join("Corefile");
    let values =
        [("HOST", network::host(1).to_string()), ("KUBECONFIG", place.kubeconfig().display().to_string())];
    configure(templates, "Corefile", &config, &values)?;
    let mut command = Command::new(bins.path("coredns"));
    command.arg("-conf").arg(config);
    Ok(command)
}

pub(super) fn balancer(place: &Place, bins: &Bins) -> Command {
    let mut command = Command::new(bins.path("controller"));
    command.args([
        format!("--kubeconfig={}", place.kubeconfig().display()),
        // On all addresses: it takes none. The guard of the network keeps others away.
        format!("--port={}", Kube::Balancer.address().port()),
        "--namespace=metallb-system".to_owned(),
        // They would have to be reached by the API server, and check a pool that nobody changes.
        "--webhook-mode=disabled".to_owned(),
        "--disable-cert-rotation=true".to_owned(),
    ]);
    command
}
