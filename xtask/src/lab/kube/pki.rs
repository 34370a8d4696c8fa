//! Certificates and accounts of one lab, made once.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::{Kube, NODE, Place, network};
use crate::lab::template::{make_dir, write};
use crate::process::{Runner, Step};

const YEARS: &str = "3650";
const KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

/// Makes what is not there yet.
pub(super) fn make(place: &Place, runner: &Runner) -> Result<()> {
    let there = place.shared().join("pki");
    if !there.is_dir() {
        // In one step, since what a killed command left would be taken for all of it.
        let part = place.shared().join("pki.part");
        if part.exists() {
            fs::remove_dir_all(&part).with_context(|| format!("failed to remove {}", part.display()))?;
        }
        make_dir(&part)?;
        certificates(&part, runner)?;
        fs::rename(&part, &there).with_context(|| format!("failed to move {}", part.display()))?;
    }
    // The folder may have been moved.
    write(&place.kubeconfig(), &kubeconfig(place, "admin"))?;
    write(&place.node_kubeconfig(), &kubeconfig(place, "kubelet"))
}

fn certificates(dir: &Path, runner: &Runner) -> Result<()> {
    let openssl = |words: Vec<&str>| -> Result<()> {
        let step = Step::new("openssl").args(words).dir(dir);
        let said = runner.capture(&step)?;
        if !said.ok {
            bail!("`{}` failed: {}", step.shown(), said.err.trim());
        }
        Ok(())
    };
    let new = |words: &[&'static str]| -> Vec<&str> {
        ["req", "-x509", "-days", YEARS].into_iter().chain(KEY).chain(words.iter().copied()).collect()
    };
    openssl(new(&["-subj", "/CN=stoker lab", "-keyout", "ca.key", "-out", "ca.crt"]))?;
    let host = network::host(1);
    let services = network::first_service();
    for (name, subject, names) in [
        (
            "apiserver",
            "/CN=kube-apiserver".to_owned(),
            format!(
                "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,\
                 DNS:kubernetes.default.svc.cluster.local,DNS:localhost,IP:127.0.0.1,IP:{host},IP:{services}"
            ),
        ),
        ("admin", "/O=system:masters/CN=admin".to_owned(), "DNS:admin".to_owned()),
        ("kubelet", format!("/O=system:nodes/CN=system:node:{NODE}"), format!("DNS:{NODE},IP:{host}")),
    ] {
        let (key, certificate) = (format!("{name}.key"), format!("{name}.crt"));
        let names = format!("subjectAltName={names}");
        let mut words =
            new(&["-CA", "ca.crt", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE"]);
        words.extend(["-addext", "extendedKeyUsage=clientAuth,serverAuth", "-addext", &names]);
        words.extend(["-subj", &subject, "-keyout", &key, "-out", &certificate]);
        openssl(words)?;
    }
    openssl(vec![
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
        "accounts.key",
    ])?;
    openssl(vec!["pkey", "-in", "accounts.key", "-pubout", "-out", "accounts.pub"])
}

fn kubeconfig(place: &Place, who: &str) -> String {
    let file = |name: &str| place.pki(name).display().to_string();
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: lab\n\
         clusters:\n- name: lab\n  cluster:\n    server: https://{}\n    certificate-authority: {}\n\
         users:\n- name: {who}\n  user:\n    client-certificate: {}\n    client-key: {}\n\
         contexts:\n- name: lab\n  context:\n    cluster: lab\n    user: {who}\n",
        Kube::ApiServer.address(),
        file("ca.crt"),
        file(&format!("{who}.crt")),
        file(&format!("{who}.key")),
    )
}
