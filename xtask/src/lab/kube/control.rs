//! The control plane: the commands of its processes.

use std::process::Command;

use super::bins::Bins;
use super::{Kube, Place, network};

fn command(bins: &Bins, program: &str, words: Vec<String>) -> Command {
    let mut command = Command::new(bins.path(program));
    command.args(words);
    command
}

/// A flag whose value is a path or an address.
fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}

pub(super) fn etcd(place: &Place, bins: &Bins) -> Command {
    let clients = format!("http://{}", Kube::Etcd.address());
    let peers = format!("http://{}:2380", Kube::Etcd.address().ip());
    let words = vec![
        flag("name", "lab"),
        flag("data-dir", place.part(Kube::Etcd).join("data").display()),
        flag("listen-client-urls", &clients),
        flag("advertise-client-urls", &clients),
        flag("listen-peer-urls", &peers),
        flag("initial-advertise-peer-urls", &peers),
        flag("initial-cluster", format!("lab={peers}")),
        // Nothing in a lab is worth the wait for a disk.
        "--unsafe-no-fsync".to_owned(),
        flag("auto-compaction-mode", "periodic"),
        flag("auto-compaction-retention", "30m"),
        flag("log-level", "warn"),
    ];
    command(bins, "etcd", words)
}

pub(super) fn api_server(place: &Place, bins: &Bins) -> Command {
    let address = Kube::ApiServer.address();
    let file = |name: &str| place.pki(name).display().to_string();
    let words = vec![
        flag("etcd-servers", format!("http://{}", Kube::Etcd.address())),
        flag("bind-address", address.ip()),
        flag("advertise-address", address.ip()),
        flag("secure-port", address.port()),
        flag("tls-cert-file", file("apiserver.crt")),
        flag("tls-private-key-file", file("apiserver.key")),
        flag("client-ca-file", file("ca.crt")),
        flag("service-account-issuer", "https://kubernetes.default.svc.cluster.local"),
        flag("service-account-key-file", file("accounts.pub")),
        flag("service-account-signing-key-file", file("accounts.key")),
        flag("service-cluster-ip-range", network::SERVICES),
        flag("authorization-mode", "Node,RBAC"),
        flag("enable-admission-plugins", "NodeRestriction"),
        flag("allow-privileged", true),
        flag("kubelet-certificate-authority", file("ca.crt")),
        flag("kubelet-client-certificate", file("admin.crt")),
        flag("kubelet-client-key", file("admin.key")),
        // The node's name is known to nobody but the API server.
        flag("kubelet-preferred-address-types", "InternalIP"),
        // Else whoever watches would hold up its end for a minute.
        flag("shutdown-watch-termination-grace-period", "5s"),
        flag("profiling", false),
    ];
    command(bins, "kube-apiserver", words)
}

pub(super) fn controllers(place: &Place, bins: &Bins) -> Command {
    let file = |name: &str| place.pki(name).display().to_string();
    let mut words = inner(place, Kube::Controllers);
    words.extend([
        flag("service-account-private-key-file", file("accounts.key")),
        flag("root-ca-file", file("ca.crt")),
        flag("cluster-signing-cert-file", file("ca.crt")),
        flag("cluster-signing-key-file", file("ca.key")),
        flag("use-service-account-credentials", true),
        flag("cluster-cidr", network::PODS),
        flag("service-cluster-ip-range", network::SERVICES),
    ]);
    command(bins, "kube-controller-manager", words)
}

pub(super) fn scheduler(place: &Place, bins: &Bins) -> Command {
    command(bins, "kube-scheduler", inner(place, Kube::Scheduler))
}

/// What those that only talk to the API server have in common.
fn inner(place: &Place, part: Kube) -> Vec<String> {
    let (account, address) = (place.kubeconfig(), part.address());
    vec![
        flag("kubeconfig", account.display()),
        flag("authentication-kubeconfig", account.display()),
        flag("authorization-kubeconfig", account.display()),
        flag("bind-address", address.ip()),
        flag("secure-port", address.port()),
        flag("tls-cert-file", place.pki("apiserver.crt").display()),
        flag("tls-private-key-file", place.pki("apiserver.key").display()),
        // There is one of each.
        flag("leader-elect", false),
        flag("profiling", false),
    ]
}
