//! Crates: each is a member of the workspace, with its lints, and not for crates.io.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::Finding;
use crate::process::{Runner, Step};
use crate::workspace::Workspace;

/// A crate of the workspace.
pub(super) struct Member {
    pub(super) name: String,
    /// Below the root.
    pub(super) dir: PathBuf,
    /// Whether it could be published by mistake.
    publishable: bool,
}

/// The members, as cargo sees them.
pub(super) fn read(workspace: &Workspace, runner: &Runner) -> Result<Vec<Member>> {
    let step = Step::cargo("metadata --format-version 1 --locked --no-deps");
    let said = runner.capture(&step)?;
    if !said.ok {
        bail!("`{}` failed: {}", step.shown(), said.err.trim());
    }
    let metadata: serde_json::Value =
        serde_json::from_str(&said.out).context("failed to read what cargo metadata said")?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    packages
        .iter()
        .map(|package| {
            let text = |key: &str| package[key].as_str().with_context(|| format!("a package without {key}"));
            let manifest = Path::new(text("manifest_path")?);
            let dir = manifest.parent().context("a manifest without a directory")?;
            // `publish = false` is an empty list of registries
            let publishable = package["publish"].as_array().is_none_or(|registries| !registries.is_empty());
            Ok(Member {
                name: text("name")?.to_owned(),
                dir: workspace.relative(dir).to_path_buf(),
                publishable,
            })
        })
        .collect()
}

pub(super) fn check(
    workspace: &Workspace,
    files: &[PathBuf],
    members: &[Member],
    findings: &mut Vec<Finding>,
) -> Result<()> {
    for path in files.iter().filter(|path| path.file_name().is_some_and(|name| name == "Cargo.toml")) {
        let Some(text) = workspace.text(path)? else { continue };
        let dir = path.parent().unwrap_or(Path::new(""));
        let member = members.iter().find(|member| member.dir == dir);
        findings.extend(problems(&text, member).into_iter().map(|what| Finding::new(path, 0, what)));
    }
    Ok(())
}

/// What is wrong with a manifest. One that is a workspace of its own (fuzzing needs that) has rules of its own.
fn problems(manifest: &str, member: Option<&Member>) -> Vec<&'static str> {
    let mut found = Vec::new();
    let is_package = manifest.lines().any(|line| line.trim() == "[package]");
    let is_workspace = manifest.lines().any(|line| line.trim() == "[workspace]");
    if !is_package {
        return found;
    }
    match member {
        None if is_workspace => return found,
        None => found.push("this crate is no member of the workspace: nothing builds or tests it [member]"),
        Some(member) if member.publishable => {
            found.push("`publish.workspace = true` is missing: it could be published by mistake [member]");
        }
        Some(_) => {}
    }
    if !has_workspace_lints(manifest) {
        found.push("`[lints] workspace = true` is missing: unwrap and unsafe would pass unseen [lints]");
    }
    found
}

fn has_workspace_lints(manifest: &str) -> bool {
    let mut in_lints = false;
    for line in manifest.lines() {
        let line: String = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        if line.starts_with('[') {
            in_lints = line == "[lints]";
        } else if line == "lints.workspace=true" || (in_lints && line == "workspace=true") {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(publishable: bool) -> Member {
        Member { name: "a".into(), dir: "a".into(), publishable }
    }

    const GOOD: &str = "[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n\n[dependencies]\n";

    #[test]
    fn a_member_with_lints_passes() {
        assert!(problems(GOOD, Some(&member(false))).is_empty());
    }

    #[test]
    fn missing_lints_are_found() {
        let bad = "[package]\nname = \"a\"\n[lints]\n# workspace = true\n[dependencies]\nworkspace = true\n";
        assert!(problems(bad, Some(&member(false)))[0].contains("[lints]"));
    }

    #[test]
    fn crates_outside_the_workspace_are_found() {
        assert!(problems(GOOD, None)[0].contains("[member]"));
        assert!(problems("[package]\nname = \"fuzz\"\n[workspace]\n", None).is_empty());
        assert!(problems("[workspace]\nmembers = []\n", None).is_empty());
    }

    #[test]
    fn publishable_crates_are_found() {
        assert!(problems(GOOD, Some(&member(true)))[0].contains("publish"));
    }
}
