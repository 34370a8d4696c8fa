//! Kubernetes on this machine, without images of anybody's registry: a control plane and one node.

pub(super) mod apply;
pub(super) mod bins;
pub(super) mod clear;
mod control;
mod health;
pub(super) mod image;
mod layer;
pub(super) mod network;
mod node;
mod pki;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use self::bins::Bins;
use super::folder::Folder;
use super::settings::Part;
use crate::process::{Runner, Step};
use crate::workspace::Workspace;

/// What all parts of Kubernetes take, with some room; pods come on top.
pub(super) const MEMORY: u64 = 1200 << 20;
/// The name of the only node.
const NODE: &str = "lab";
/// Where etcd listens: an address of this machine that nobody else is likely to use, and that pods can't reach.
const ETCD: Ipv4Addr = Ipv4Addr::new(127, 198, 18, 1);

/// One process of Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lab) enum Kube {
    Etcd,
    Containerd,
    ApiServer,
    Controllers,
    Scheduler,
    Kubelet,
    Proxy,
    Dns,
    /// Gives Services of type LoadBalancer their addresses.
    Balancer,
}

impl Kube {
    /// In the order in which they are to be started.
    pub(in crate::lab) const ALL: [Self; 9] = [
        Self::Etcd,
        Self::Containerd,
        Self::ApiServer,
        Self::Controllers,
        Self::Scheduler,
        Self::Kubelet,
        Self::Proxy,
        Self::Dns,
        Self::Balancer,
    ];

    pub(in crate::lab) fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Containerd => "containerd",
            Self::ApiServer => "kube-apiserver",
            Self::Controllers => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::Proxy => "kube-proxy",
            Self::Dns => "coredns",
            Self::Balancer => "metallb",
        }
    }

    /// Where it is asked for what it is there for; of containerd, whose clients use a socket, its metrics.
    pub(in crate::lab) fn address(self) -> SocketAddr {
        let host = network::host(1);
        match self {
            Self::Etcd => (ETCD, 2379),
            Self::Containerd => (host, 1338),
            Self::ApiServer => (host, 6443),
            Self::Controllers => (host, 10257),
            Self::Scheduler => (host, 10259),
            Self::Kubelet => (host, 10250),
            Self::Proxy => (host, 10249),
            Self::Dns => (host, 53),
            Self::Balancer => (host, 7472),
        }
        .into()
    }

    /// Where it is asked how it is, when that is somewhere else.
    pub(in crate::lab) fn health_address(self) -> Option<SocketAddr> {
        let port = match self {
            Self::Kubelet => 10248,
            Self::Proxy => 10256,
            Self::Dns => 8181,
            _ => return None,
        };
        Some((network::host(1), port).into())
    }

    /// Those that can be started once the first two are ready, and so on.
    pub(in crate::lab) fn stage(self) -> usize {
        match self {
            Self::Etcd | Self::Containerd => 0,
            Self::ApiServer => 1,
            _ => 2,
        }
    }
}

pub(in crate::lab) const STAGES: usize = 3;

/// Where in a lab's folder Kubernetes keeps what is no single part's.
#[derive(Clone, Debug)]
pub(in crate::lab) struct Place {
    folder: PathBuf,
}

impl Place {
    pub(in crate::lab) fn of(folder: &Folder) -> Self {
        Self { folder: folder.path().to_path_buf() }
    }

    /// What belongs to no single part: certificates, accounts.
    pub(in crate::lab) fn shared(&self) -> PathBuf {
        self.folder.join("kubernetes")
    }

    fn part(&self, part: Kube) -> PathBuf {
        self.folder.join(part.name())
    }

    /// Links to the programs, for people and tests.
    pub(in crate::lab) fn bin(&self) -> PathBuf {
        self.folder.join("bin")
    }

    /// What `kubectl` and the like are told: everything is allowed.
    pub(in crate::lab) fn kubeconfig(&self) -> PathBuf {
        self.shared().join("admin.conf")
    }

    fn node_kubeconfig(&self) -> PathBuf {
        self.shared().join("kubelet.conf")
    }

    fn pki(&self, name: &str) -> PathBuf {
        self.shared().join("pki").join(name)
    }

    fn socket(&self) -> PathBuf {
        self.part(Kube::Containerd).join("containerd.sock")
    }

    /// `kubectl`, as somebody to whom everything is allowed.
    pub(in crate::lab) fn kubectl(&self, words: &[&str]) -> Step {
        Step::new(self.bin().join("kubectl"))
            .args([
                format!("--kubeconfig={}", self.kubeconfig().display()),
                "--request-timeout=5s".to_owned(),
            ])
            .args(words.iter().copied())
    }

    /// `ctr`, as kubelet sees containers.
    fn ctr(&self, words: &[&str]) -> Step {
        Step::new("ctr")
            .args([format!("--address={}", self.socket().display()), "--namespace=k8s.io".to_owned()])
            .args(words.iter().copied())
    }
}

/// Makes what the parts share: links to the programs, certificates, accounts.
pub(super) fn prepare(place: &Place, bins: &Bins, runner: &Runner) -> Result<()> {
    bins.link(&place.bin())?;
    pki::make(place, runner)
}

/// Writes a part's configuration and returns the command that starts it.
pub(super) fn command(workspace: &Workspace, place: &Place, part: Kube, bins: &Bins) -> Result<Command> {
    let templates = templates(workspace);
    super::template::make_dir(&place.part(part))?;
    match part {
        Kube::Etcd => Ok(control::etcd(place, bins)),
        Kube::ApiServer => Ok(control::api_server(place, bins)),
        Kube::Controllers => Ok(control::controllers(place, bins)),
        Kube::Scheduler => Ok(control::scheduler(place, bins)),
        Kube::Containerd => node::containerd(&templates, place),
        Kube::Kubelet => node::kubelet(&templates, place, bins),
        Kube::Proxy => node::proxy(&templates, place, bins),
        Kube::Dns => node::dns(&templates, place, bins),
        Kube::Balancer => Ok(node::balancer(place, bins)),
    }
}

/// Succeeds when the part does what it is there for.
pub(super) fn answers(runner: &Runner, place: &Place, part: Kube) -> Result<()> {
    health::answers(runner, place, part)
}

fn templates(workspace: &Workspace) -> PathBuf {
    super::template::dir(workspace).join("kubernetes")
}

/// Fills a template in and writes it.
fn configure(templates: &Path, name: &str, to: &Path, values: &[(&str, String)]) -> Result<()> {
    use super::template::{fill, read, write};
    write(to, &fill(&read(&templates.join(name))?, values)?)
}

impl From<Kube> for Part {
    fn from(part: Kube) -> Self {
        Self::Kube(part)
    }
}
