//! The Tiltfile, evaluated by Tilt, and kind-config.yaml, decoded as kind does.

use std::ffi::OsString;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Tools, indented};
use crate::process::{Captured, Step};

const TILTFILE: &str = "Tiltfile";
const KIND: &str = "kind-config.yaml";
const PORTS: &str = "helm/kind-ports.yaml";
/// The context of a cluster that kind makes of `kind-config.yaml`.
const CONTEXT: &str = "kind-stoker";
/// What Tilt makes of the Tiltfile, with what each waits for.
const RESOURCES: [(&str, &[&str]); 11] = [
    ("binaries", &[]),
    ("crds", &[]),
    ("edge", &AFTER),
    ("main", &AFTER),
    ("people", &AFTER),
    ("portal", &AFTER),
    ("stoker-cassandra", &[]),
    ("stoker-operator", &["binaries"]),
    ("stoker-rabbitmq", &[]),
    ("token", &["portal"]),
    ("uncategorized", &[]),
];
const AFTER: [&str; 3] = ["stoker-operator", "stoker-cassandra", "stoker-rabbitmq"];

pub(super) fn check(tools: &Tools<'_>, findings: &mut Vec<String>) -> Result<()> {
    tiltfile(tools, findings)?;
    kind(tools, findings)
}

fn tiltfile(tools: &Tools<'_>, findings: &mut Vec<String>) -> Result<()> {
    let said = evaluated(tools, CONTEXT)?;
    match (said.ok, serde_json::from_str::<Value>(&said.out)) {
        (true, Ok(result)) => {
            findings.extend(differences(&result).into_iter().map(|what| format!("{TILTFILE}: {what}")));
        }
        (false, _) => findings.push(format!("{TILTFILE}: Tilt says:\n{}", indented(&said))),
        (true, Err(error)) => findings.push(format!("{TILTFILE}: what Tilt makes of it is no JSON: {error}")),
    }
    let elsewhere = evaluated(tools, "production")?;
    if elsewhere.ok
        || !elsewhere.out.contains("allow_k8s_contexts") && !elsewhere.err.contains("allow_k8s_contexts")
    {
        findings.push(format!("{TILTFILE}: it would work on any cluster:\n{}", indented(&elsewhere)));
    }
    Ok(())
}

/// What Tilt makes of the Tiltfile when kubectl's current context is this one. No cluster is asked.
fn evaluated(tools: &Tools<'_>, context: &str) -> Result<Captured> {
    let kubeconfig = tools.write(
        "kubeconfig.yaml",
        &format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {context}\n\
             clusters: [{{name: {context}, cluster: {{server: 'https://127.0.0.1:1'}}}}]\n\
             users: [{{name: {context}, user: {{}}}}]\n\
             contexts: [{{name: {context}, context: {{cluster: {context}, user: {context}}}}}]\n"
        ),
    )?;
    // It calls helm.
    let mut path = OsString::from(&tools.bin);
    if let Some(rest) = std::env::var_os("PATH") {
        path.push(":");
        path.push(rest);
    }
    let step: Step = tools
        .tool("tilt")
        .args(["alpha", "tiltfile-result", "--file", TILTFILE])
        .env("PATH", path)
        .env("KUBECONFIG", kubeconfig)
        // It keeps notes there, and would ask whether it may tell of its use.
        .env("HOME", &tools.dir)
        .env("DO_NOT_TRACK", "1");
    tools.runner.capture(&step)
}

/// What differs from what it is to make.
fn differences(result: &Value) -> Vec<String> {
    let mut all = Vec::new();
    if let Some(error) = result["Error"].as_str() {
        all.push(error.to_owned());
    }
    let texts = |value: &Value| -> Vec<String> {
        let items = value.as_array().into_iter().flatten();
        items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
    };
    let manifests = result["Manifests"].as_array().map(Vec::as_slice).unwrap_or_default();
    let name = |manifest: &Value| manifest["Name"].as_str().unwrap_or_default().to_owned();
    for manifest in manifests {
        if !RESOURCES.iter().any(|(expected, _)| *expected == name(manifest)) {
            all.push(format!("it makes the resource {}, which nobody expects", name(manifest)));
        }
    }
    for (expected, after) in RESOURCES {
        match manifests.iter().find(|manifest| name(manifest) == expected) {
            None => all.push(format!("it makes no resource {expected}")),
            Some(found) if texts(&found["ResourceDependencies"]) != after => {
                all.push(format!(
                    "{expected} waits for {}, not for {after:?}",
                    found["ResourceDependencies"]
                ));
            }
            Some(_) => {}
        }
    }
    let operator = manifests.iter().find(|manifest| name(manifest) == "stoker-operator");
    // Else the platform's pods would not change with it.
    let images = operator.map(|operator| operator["ImageTargets"].to_string()).unwrap_or_default();
    if !images.contains("\"matchInEnvVars\":true") {
        all.push("the operator is not told of the image that was built".to_owned());
    }
    all
}

fn kind(tools: &Tools<'_>, findings: &mut Vec<String>) -> Result<()> {
    let said = tools.runner.capture(&tools.tool("kind-config").args([KIND]))?;
    if !said.ok {
        findings.push(format!("{KIND}: kind says: {}", said.err.trim()));
        return Ok(());
    }
    let cluster: Value = serde_json::from_str(&said.out).context("kind-config prints no JSON")?;
    let ports = tools.read(PORTS)?;
    findings.extend(astray(&cluster, &ports).into_iter().map(|what| format!("{KIND}: {what}")));
    let wrong = tools.read(KIND)?.replacen("hostPort:", "hostPrt:", 1);
    let wrong = tools.write("wrong-kind.yaml", &wrong)?;
    if tools.runner.capture(&tools.tool("kind-config").args([&wrong]))?.ok {
        findings.push(format!("{KIND}: kind would take `hostPrt`"));
    }
    Ok(())
}

/// Ports that lead nowhere, and what else would not fit together.
fn astray(cluster: &Value, services: &str) -> Vec<String> {
    let mut all = Vec::new();
    if (cluster["kind"].as_str(), cluster["apiVersion"].as_str())
        != (Some("Cluster"), Some("kind.x-k8s.io/v1alpha4"))
    {
        all.push("it is no Cluster of kind.x-k8s.io/v1alpha4".to_owned());
    }
    if format!("kind-{}", cluster["name"].as_str().unwrap_or_default()) != CONTEXT {
        all.push(format!("its context is not {CONTEXT}, which the {TILTFILE} allows"));
    }
    let nodes = cluster["nodes"].as_array().into_iter().flatten();
    let mappings: Vec<&Value> =
        nodes.flat_map(|node| node["extraPortMappings"].as_array().into_iter().flatten()).collect();
    let node_port = |mapping: &Value| format!("nodePort: {}}}", mapping["containerPort"]);
    for mapping in &mappings {
        if !services.contains(&node_port(mapping)) {
            all.push(format!(
                "port {} leads to {}, which is none of {PORTS}",
                mapping["hostPort"], mapping["containerPort"]
            ));
        }
        if mapping["listenAddress"] != "127.0.0.1" {
            all.push(format!("port {} is open to others than this machine", mapping["hostPort"]));
        }
    }
    let wanted = services.matches("nodePort: ").count();
    if mappings.len() != wanted {
        all.push(format!("{} ports lead to the {wanted} of {PORTS}", mappings.len()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_lead_nowhere_are_told() {
        let cluster = |name: &str, port: i32, address: &str| {
            serde_json::json!({"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "name": name, "nodes": [
                {"extraPortMappings": [{"hostPort": 1883, "containerPort": port, "listenAddress": address}]},
            ]})
        };
        let services = "- {name: mqtt, port: 1883, nodePort: 31883}\n";
        assert_eq!(astray(&cluster("stoker", 31883, "127.0.0.1"), services), Vec::<String>::new());
        assert_eq!(astray(&cluster("stoker", 3188, "127.0.0.1"), services).len(), 1);
        assert_eq!(astray(&cluster("other", 31883, "0.0.0.0"), services).len(), 2);
        assert_eq!(astray(&cluster("stoker", 31883, "127.0.0.1"), "").len(), 2);
    }

    #[test]
    fn resources_that_tilt_does_not_make_are_told() {
        let told = differences(&serde_json::json!({"Error": null, "Manifests": [{"Name": "other"}]}));
        assert_eq!(told.len(), 1 + RESOURCES.len() + 1, "{told:?}");
    }
}
