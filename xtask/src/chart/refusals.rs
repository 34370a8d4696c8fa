//! Values that the chart refuses, and what it says then.

use anyhow::Result;

use super::{Tools, VERSIONS};

/// A value, and what has to be said of it.
const REFUSED: [(&str, &str); 14] = [
    ("imag.tag=1", "additional properties 'imag' not allowed"),
    ("image.tagg=1", "additional properties 'tagg' not allowed"),
    ("image.tag=a:b", "at '/image/tag'"),
    ("image.repository=", "at '/image/repository': minLength"),
    ("image.digest=sha256:abc", "at '/image/digest'"),
    ("image.pullPolicy=Sometimes", "at '/image/pullPolicy': value must be one of"),
    ("replicas=3", "at '/replicas': maximum: got 3, want 2"),
    ("replicas=0", "at '/replicas': minimum: got 0, want 1"),
    ("watchNamespace=A_b", "at '/watchNamespace'"),
    ("crds.install=yes", "at '/crds/install': got string, want boolean"),
    ("resources.limit.cpu=1", "additional properties 'limit' not allowed"),
    ("tryout.cassandra.image=cassandra", "at '/tryout/cassandra/image'"),
    ("tryout.rabbitmq.storage=5", "at '/tryout/rabbitmq/storage'"),
    ("tryout.rabbitmq.password=a/b", "at '/tryout/rabbitmq/password'"),
];

pub(super) fn check(tools: &Tools<'_>, findings: &mut Vec<String>) -> Result<()> {
    for (value, expected) in REFUSED {
        let said = tools.rendered(VERSIONS[0], &[value])?;
        if said.ok {
            findings.push(format!("the chart takes {value}"));
        } else if !said.err.contains(expected) {
            findings.push(format!("of {value} helm says, without `{expected}`: {}", said.err.trim()));
        }
    }
    // One that is too old is told so, and not halfway through.
    let said = tools.rendered("1.29.0", &[])?;
    if said.ok || !said.err.contains("kubeVersion") {
        findings.push(format!("the chart can be installed on Kubernetes 1.29: {}", said.err.trim()));
    }
    Ok(())
}
