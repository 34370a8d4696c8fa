//! What comes out of the chart.

use std::collections::BTreeSet;

use anyhow::Result;

use super::{CHART, Tools, VERSIONS, indented};

/// A way to install the chart.
struct Way {
    name: &'static str,
    values: &'static [&'static str],
    /// What has to be in it, and how often.
    counts: &'static [(&'static str, usize)],
}

const TRYOUT: [&str; 2] = ["tryout.cassandra.enabled=true", "tryout.rabbitmq.enabled=true"];

const WAYS: [Way; 5] = [
    Way {
        name: "default",
        values: &[],
        counts: &[
            ("\nkind: CustomResourceDefinition\n", 4),
            ("\n    helm.sh/resource-policy: keep\n", 4),
            ("\nkind: ClusterRole\n", 1),
            ("\nkind: StatefulSet\n", 0),
            ("\nkind: ServiceMonitor\n", 0),
            ("\n  replicas: 2\n", 1),
        ],
    },
    Way {
        name: "try-out",
        values: &TRYOUT,
        counts: &[("\nkind: StatefulSet\n", 2), ("\nkind: Secret\n", 1)],
    },
    Way {
        name: "try-out-that-stays",
        values: &[TRYOUT[0], TRYOUT[1], "tryout.cassandra.storage=5Gi", "tryout.rabbitmq.storage=1Gi"],
        counts: &[("\n  volumeClaimTemplates:\n", 2), ("\n        - name: data\n", 0)],
    },
    Way {
        name: "one-namespace",
        values: &["watchNamespace=boilers", "crds.install=false", "replicas=1"],
        counts: &[
            ("\nkind: CustomResourceDefinition\n", 0),
            ("\nkind: ClusterRole\n", 0),
            ("\nkind: ClusterRoleBinding\n", 0),
            ("\n  namespace: boilers\n", 2),
            ("\n              value: boilers\n", 1),
        ],
    },
    Way {
        name: "all-values",
        values: &[
            "serviceMonitor.enabled=true",
            "serviceMonitor.labels.release=prometheus",
            "image.repository=registry.example.com/stoker",
            "image.digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "image.pullPolicy=Always",
            "imagePullSecrets[0].name=registry",
            "nodeSelector.disk=ssd",
            "tolerations[0].key=a",
            "tolerations[0].operator=Exists",
            "affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey=kubernetes.io/hostname",
            "affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector.matchLabels.app\\.kubernetes\\.io/component=operator",
            "priorityClassName=system-cluster-critical",
            "podAnnotations.note=x",
            "podLabels.team=x",
            "serviceAccount.annotations.role=x",
            "log=debug",
            "fullnameOverride=other",
        ],
        counts: &[
            ("\nkind: ServiceMonitor\n", 1),
            ("@sha256:0123456789abcdef", 4),
            ("\n  name: other-operator\n", 6),
            ("\n      priorityClassName: system-cluster-critical\n", 1),
        ],
    },
];

/// The rights that the operator is documented to need, and tested with.
const RIGHTS: &str = "docs/operator.md";

/// Beside the chart, for `kubectl apply`.
const MANIFESTS: [&str; 2] = ["helm/sample-platform.yaml", "helm/kind-ports.yaml"];

pub(super) fn check(tools: &Tools<'_>, findings: &mut Vec<String>) -> Result<()> {
    let lint = tools.tool("helm").args(["lint", "--strict", "--kube-version", VERSIONS[0], CHART]);
    tools.judge("the chart", &lint, findings)?;
    for version in VERSIONS {
        for way in &WAYS {
            let what = format!("the chart, {}, for Kubernetes {version}", way.name);
            let said = tools.rendered(version, way.values)?;
            if !said.ok {
                findings.push(format!("{what}: helm can't render it:\n{}", indented(&said)));
                continue;
            }
            findings.extend(miscounted(&said.out, way.counts).map(|wrong| format!("{what}: {wrong}")));
            let path = tools.write(&format!("{}-{version}.yaml", way.name), &said.out)?;
            conforms(tools, &what, &path.to_string_lossy(), findings)?;
            let score =
                tools.tool("kube-score").args(["score", "--output-format", "ci", "--kubernetes-version"]);
            let score = score.args([format!("v{}", version.trim_end_matches(".0"))]);
            // Warnings count: what we think otherwise about stands in an annotation, with why.
            tools.judge(&what, &score.args(["--exit-one-on-warning"]).args([&path]), findings)?;
        }
    }
    for path in MANIFESTS {
        conforms(tools, path, path, findings)?;
    }
    let (given, needed) = (rules(&tools.rendered(VERSIONS[0], &[])?.out), rules(&tools.read(RIGHTS)?));
    for (rule, wrong) in given
        .difference(&needed)
        .map(|rule| (rule, "too much"))
        .chain(needed.difference(&given).map(|rule| (rule, "missing")))
    {
        findings.push(format!("the operator's right `{rule}`: {wrong}, says {RIGHTS}"));
    }
    wrong_is_seen(tools, findings)
}

fn conforms(tools: &Tools<'_>, what: &str, path: &str, findings: &mut Vec<String>) -> Result<()> {
    let location = format!(
        "{}/{{{{.ResourceKind}}}}-{{{{.Group}}}}-{{{{.ResourceAPIVersion}}}}.json",
        tools.schemas().display()
    );
    let step = tools.tool("kubeconform").args(["-strict", "-schema-location", &location, path]);
    tools.judge(what, &step, findings)
}

/// Schemas that let everything pass would find nothing, for ever.
fn wrong_is_seen(tools: &Tools<'_>, findings: &mut Vec<String>) -> Result<()> {
    let sample = tools.read(MANIFESTS[0])?;
    for (right, wrong) in
        [("hostname:", "hostnam:"), ("port: 1883", "port: \"1883\""), ("protocol: Mqtt", "protocol: Mqt")]
    {
        let path = tools.write("wrong.yaml", &sample.replacen(right, wrong, 1))?;
        let mut found = Vec::new();
        conforms(tools, "", &path.to_string_lossy(), &mut found)?;
        if found.is_empty() || !sample.contains(right) {
            findings
                .push(format!("{} with `{wrong}` for `{right}`: kubeconform finds nothing", MANIFESTS[0]));
        }
    }
    Ok(())
}

/// All rules of roles, each a line.
fn rules(text: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut rule = String::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("- apiGroups:") {
            rule = line.trim_start_matches("- ").to_owned();
        } else if ["resources:", "resourceNames:", "verbs:"].iter().any(|start| line.starts_with(start)) {
            rule.push(' ');
            rule.push_str(line);
        }
        if line.starts_with("verbs:") {
            all.insert(std::mem::take(&mut rule));
        }
    }
    all
}

fn miscounted<'t>(text: &'t str, counts: &'t [(&str, usize)]) -> impl Iterator<Item = String> + 't {
    counts.iter().filter_map(move |(part, expected)| {
        let count = text.matches(part).count();
        (count != *expected).then(|| format!("`{}` is in it {count} times, not {expected}", part.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_told_apart_by_each_of_their_lines() {
        let rule = "- apiGroups: [a]\n  resources: [b]\n  verbs: [get]\n";
        let named = rule.replace("  verbs", "  resourceNames: [c]\n  verbs");
        assert_eq!(rules(rule), rules(&rule.replace('\n', "\n  ")));
        assert_eq!(rules(&format!("rules:\n{rule}{named}")).len(), 2);
    }

    #[test]
    fn too_many_and_too_few_are_told() {
        let told: Vec<String> = miscounted("\na: 1\n", &[("\na: 1\n", 1), ("b", 1), ("a", 0)]).collect();
        assert_eq!(told, ["`b` is in it 0 times, not 1", "`a` is in it 1 times, not 0"]);
    }
}
