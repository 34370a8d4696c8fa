//! The chart and what stands beside it: rendered as people install it, and judged by the tools that people judge charts with.

mod inner_loop;
mod refusals;
mod renderings;
mod versions;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::lab;
use crate::process::{Captured, Ending, Runner, Step};
use crate::workspace::Workspace;

/// The oldest and the newest Kubernetes that it is rendered for.
const VERSIONS: [&str; 2] = ["1.30.0", "1.34.0"];
const CHART: &str = "helm/stoker";
/// For the program that writes the schemas: a first build takes minutes.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// All that is wrong with the chart, the sample platform, the Tiltfile and kind's configuration.
pub(crate) fn check(workspace: &Workspace, runner: &Runner) -> Result<Vec<String>> {
    let tools = Tools::ready(workspace, runner)?;
    let mut findings = Vec::new();
    renderings::check(&tools, &mut findings)?;
    refusals::check(&tools, &mut findings)?;
    inner_loop::check(&tools, &mut findings)?;
    versions::check(&tools, &mut findings)?;
    Ok(findings)
}

/// What it is judged by.
struct Tools<'a> {
    workspace: &'a Workspace,
    runner: &'a Runner,
    /// helm, kubeconform, kube-score, tilt, and kind's own reading of its configuration.
    bin: PathBuf,
    /// For what is made on the way.
    dir: PathBuf,
}

impl<'a> Tools<'a> {
    fn ready(workspace: &'a Workspace, runner: &'a Runner) -> Result<Self> {
        let bin = lab::chart_tools(workspace, runner)?;
        let dir = workspace.target.join("chart");
        if dir.exists() {
            std::fs::remove_dir_all(&dir).with_context(|| format!("failed to remove {}", dir.display()))?;
        }
        std::fs::create_dir_all(&dir).with_context(|| format!("failed to make {}", dir.display()))?;
        let tools = Self { workspace, runner, bin, dir };
        tools.write_schemas()?;
        Ok(tools)
    }

    /// kubeconform's schemas: from Kubernetes' types and ours, not from the web.
    fn write_schemas(&self) -> Result<()> {
        let words = "run --quiet --locked -p stoker-crds --example schemas --";
        let step = Step::cargo(words).args([self.schemas()]);
        let log = self.dir.join("schemas.log");
        match self.runner.run(&step, &log, false, Instant::now() + LIMIT)? {
            Ending::Exited(status) if status.success() => Ok(()),
            Ending::Exited(_) | Ending::TooLong => {
                bail!("`{}` failed; what it said is in {}", step.shown(), log.display())
            }
        }
    }

    fn schemas(&self) -> PathBuf {
        self.dir.join("schemas")
    }

    fn tool(&self, name: &str) -> Step {
        Step::new(self.bin.join(name))
    }

    /// What helm makes of the chart, in the namespace `stoker`.
    fn rendered(&self, version: &str, values: &[&str]) -> Result<Captured> {
        let words = ["template", "stoker", CHART, "--namespace", "stoker", "--kube-version", version];
        let sets = values.iter().flat_map(|value| ["--set", value]);
        self.runner.capture(&self.tool("helm").args(words).args(sets))
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        std::fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
        Ok(path)
    }

    fn read(&self, path: &str) -> Result<String> {
        self.workspace.text(Path::new(path))?.with_context(|| format!("{path} is no text"))
    }

    /// A finding when a tool does not like something.
    fn judge(&self, what: &str, step: &Step, findings: &mut Vec<String>) -> Result<()> {
        let said = self.runner.capture(step)?;
        if !said.ok {
            findings.push(format!("{what}: `{}`:\n{}", step.shown(), indented(&said)));
        }
        Ok(())
    }
}

/// All that was said, set in; but what kube-score found in order.
fn indented(said: &Captured) -> String {
    let telling = |line: &&str| {
        !line.trim().is_empty() && !["[OK]", "[SKIPPED]"].iter().any(|start| line.starts_with(start))
    };
    let lines = said.out.lines().chain(said.err.lines()).filter(telling);
    lines.map(|line| format!("     {line}")).collect::<Vec<_>>().join("\n")
}
