//! Whether a part of Kubernetes does what it is there for.

use std::io::{Read, Write};
use std::net::SocketAddr;

use anyhow::{Context, Result, bail};

use super::{Kube, NODE, Place};
use crate::lab::ready::connect;
use crate::process::Runner;

/// The first line of an answer is shorter.
const LONGEST_LINE: u64 = 1024;

pub(super) fn answers(runner: &Runner, place: &Place, part: Kube) -> Result<()> {
    let plain = part.health_address().unwrap_or(part.address());
    match part {
        Kube::Etcd => http(plain, "/health"),
        Kube::Containerd => http(plain, "/v1/metrics"),
        Kube::ApiServer => ask(runner, place, &["get", "--raw=/readyz"]).map(drop),
        Kube::Controllers | Kube::Scheduler => {
            let server = format!("--server=https://{}", part.address());
            ask(runner, place, &[server.as_str(), "get", "--raw=/healthz"]).map(drop)
        }
        Kube::Kubelet => {
            http(plain, "/healthz")?;
            let ready = r#"-o=jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
            match ask(runner, place, &["get", "node", NODE, ready])?.trim() {
                "True" => Ok(()),
                other => bail!("the node's condition Ready is `{other}`"),
            }
        }
        Kube::Proxy => http(plain, "/healthz"),
        Kube::Dns => http(plain, "/ready"),
        Kube::Balancer => http(plain, "/metrics"),
    }
}

fn ask(runner: &Runner, place: &Place, words: &[&str]) -> Result<String> {
    let said = runner.capture(&place.kubectl(words))?;
    if !said.ok {
        bail!("{}", said.err.trim());
    }
    Ok(said.out)
}

/// Succeeds when a server answers with 200.
fn http(address: SocketAddr, path: &str) -> Result<()> {
    let mut stream = connect(address)?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).context("failed to send a request")?;
    let mut line = Vec::new();
    stream.take(LONGEST_LINE).read_to_end(&mut line).context("failed to read an answer")?;
    let line = String::from_utf8_lossy(&line);
    match line.split_whitespace().nth(1) {
        Some("200") => Ok(()),
        Some(other) => bail!("{path} is answered with {other}"),
        None => bail!("what answers there does not speak HTTP"),
    }
}
