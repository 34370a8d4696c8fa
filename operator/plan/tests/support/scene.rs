//! A story in steps, written down: what each plan changes, and what it says.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use stoker_plan::certificates::certificate_secret;
use stoker_plan::{Is, Object, Plan, Said, Standing};

use super::cluster::{Cluster, writes};

/// Set to anything, the files are written in place of being compared.
const WRITE: &str = "STOKER_GOLDEN_WRITE";

/// One step, as it is written down. What is as it was in the step before is left out.
#[derive(Serialize)]
struct Step {
    when: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    apply: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scale: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    delete: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    status: BTreeMap<String, Vec<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    again: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    make_admin_token: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    certificates: Vec<String>,
}

/// A story.
pub(crate) struct Scene {
    name: &'static str,
    pub(crate) cluster: Cluster,
    text: String,
    said: BTreeMap<String, Vec<String>>,
}

impl Scene {
    pub(crate) fn new(name: &'static str, cluster: Cluster) -> Self {
        Self { name, cluster, text: String::new(), said: BTreeMap::new() }
    }

    /// Everything runs, and the story begins.
    pub(crate) fn at_rest(name: &'static str, mut cluster: Cluster) -> Self {
        for _ in 0..5 {
            cluster.reconcile();
            cluster.settle();
        }
        let mut scene = Self::new(name, cluster);
        scene.said = scene.cluster.plan().status.iter().map(|of| (of.of.to_string(), said(of))).collect();
        scene
    }

    /// Writes down what is planned now, and carries it out.
    pub(crate) fn step(&mut self, when: &str) {
        self.cut_off(when, usize::MAX);
    }

    /// The same, and the operator is killed after some writes that change something.
    pub(crate) fn cut_off(&mut self, when: &str, after: usize) {
        let plan = self.cluster.plan();
        self.write_down(when, &plan);
        let mut changes = 0;
        for write in writes(&plan) {
            changes += usize::from(self.cluster.changes(&write));
            if changes > after {
                return;
            }
            self.cluster.write(&write);
        }
    }

    /// The same, and objects with such a name in full.
    pub(crate) fn objects(&mut self, when: &str, name: &str) {
        let plan = self.cluster.plan();
        self.step(when);
        for object in plan.apply.iter().filter(|object| object.name().contains(name)) {
            self.document(&serde_json::to_value(object).unwrap());
        }
    }

    fn write_down(&mut self, when: &str, plan: &Plan) {
        let applied = plan.apply.iter().filter(|object| self.cluster.differs(object));
        let mut status: BTreeMap<String, Vec<String>> =
            plan.status.iter().map(|of| (of.of.to_string(), said(of))).collect();
        let all = status.clone();
        status.retain(|of, said| self.said.get(of) != Some(said));
        let step = Step {
            when: when.to_owned(),
            apply: applied.map(short).collect(),
            scale: plan.scale.iter().map(|of| format!("{} to {}", of.deployment, of.replicas)).collect(),
            delete: plan.delete.iter().map(|of| format!("{:?} {}", of.what, of.name)).collect(),
            status,
            events: plan
                .events
                .iter()
                .map(|event| {
                    let kind = if event.warning { "Warning" } else { "Normal" };
                    format!("{kind} {} {}: {}", event.about, event.reason, event.message)
                })
                .collect(),
            again: plan.again.map(|after| format!("{after:?}")),
            make_admin_token: plan.admin_token,
            certificates: renewal(plan),
        };
        self.document(&step);
        self.said = all;
    }

    /// Writes something down as it is.
    pub(crate) fn document(&mut self, of: &impl Serialize) {
        self.text.push_str("---\n");
        self.text.push_str(&serde_yaml::to_string(of).unwrap());
    }

    /// The story is what stands in its file.
    pub(crate) fn end(mut self) {
        self.text = numbered(&self.text);
        let file = format!("tests/golden/{}.yaml", self.name);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&file);
        if std::env::var_os(WRITE).is_some() {
            std::fs::write(path, self.text).unwrap();
            return;
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        // Not the texts: in which order keys stand says nothing.
        if parsed(&golden) != parsed(&self.text) {
            let differs = golden.lines().zip(self.text.lines()).position(|(golden, now)| golden != now);
            let at = differs.unwrap_or(golden.lines().count().min(self.text.lines().count()));
            let line = |text: &str| text.lines().nth(at).unwrap_or("(the end)").to_owned();
            panic!(
                "{file}:{}: it was\n  {}\nand is\n  {}\nIf it is to be so, write it by \
                 `{WRITE}=1 cargo test -p stoker-plan --test golden`, and read the difference.",
                at + 1,
                line(&golden),
                line(&self.text)
            );
        }
    }
}

/// Digests by the order in which they come: or each change of a pod would change every story.
fn numbered(text: &str) -> String {
    let mut seen: Vec<String> = Vec::new();
    let mut numbered = String::new();
    let mut word = String::new();
    for c in text.chars().chain(['\n']) {
        if c.is_ascii_alphanumeric() {
            word.push(c);
            continue;
        }
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if word.len() == 10 && word.chars().all(hex) {
            let at = seen.iter().position(|old| *old == word).unwrap_or_else(|| {
                seen.push(word.clone());
                seen.len() - 1
            });
            word = format!("DIGEST{}", at + 1);
        }
        numbered.push_str(&word);
        numbered.push(c);
        word.clear();
    }
    numbered.pop();
    numbered
}

fn parsed(text: &str) -> Vec<serde_yaml::Value> {
    use serde::Deserialize;
    serde_yaml::Deserializer::from_str(text)
        .map(|document| serde_yaml::Value::deserialize(document).unwrap())
        .collect()
}

fn renewal(plan: &Plan) -> Vec<String> {
    let authority = plan.certificates.authority.iter().map(|change| format!("authority: {change:?}"));
    let services = plan.certificates.services.iter();
    authority
        .chain(services.map(|(kind, change)| format!("{}: {change:?}", certificate_secret(*kind))))
        .collect()
}

fn short(object: &Object) -> String {
    let pods = match object {
        Object::Deployment(of) => format!(" with {} pods", of.spec.as_ref().unwrap().replicas.unwrap()),
        _ => String::new(),
    };
    format!("{} {}{pods}", object.kind(), object.name())
}

fn is(said: &Said) -> String {
    match said.is {
        Is::Unknown => "unknown".to_owned(),
        known => known.holds().to_string(),
    }
}

fn said(of: &Standing) -> Vec<String> {
    let mut lines: Vec<String> = of
        .conditions
        .iter()
        .map(|said| format!("{}={} {}: {}", said.kind, is(said), said.reason, said.message))
        .collect();
    let mut counts = format!("{} pods, {} ready", of.replicas, of.ready_replicas);
    if let Some(address) = &of.address {
        counts.push_str(&format!(", at {address}"));
    }
    if let Some(connections) = of.connections {
        counts.push_str(&format!(", {connections} connections"));
    }
    lines.push(counts);
    lines
}
