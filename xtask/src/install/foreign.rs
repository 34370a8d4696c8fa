//! The foreign clients of the end-to-end tests, from PyPI and npm, in the target directory.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::Tools;
use crate::process::Step;
use crate::workspace::Workspace;

const REQUIREMENTS: &str = "e2e/requirements.txt";
const NODE_FILES: [&str; 2] = ["package.json", "package-lock.json"];
/// Says in a made environment what it was made from, so that it is made again when that changes.
const STAMP: &str = "made-from";

fn venv(workspace: &Workspace) -> PathBuf {
    workspace.target.join("e2e-venv")
}

fn node(workspace: &Workspace) -> PathBuf {
    workspace.target.join("e2e-node")
}

/// The interpreter that finds the packages of `e2e/requirements.txt`.
pub(crate) fn python(workspace: &Workspace) -> PathBuf {
    venv(workspace).join("bin/python")
}

/// The directory that holds the packages of `e2e/package-lock.json`.
pub(crate) fn node_modules(workspace: &Workspace) -> PathBuf {
    node(workspace).join("node_modules")
}

pub(super) fn ensure_python(tools: &Tools<'_>) -> Result<()> {
    let requirements = read(&tools.workspace.root.join(REQUIREMENTS))?;
    let venv = venv(tools.workspace);
    let python = python(tools.workspace);
    let check = Step::new(&python).args(["-c", &script(&requirements)?]);
    if is_from(&venv, &requirements) && tools.works(&check)? {
        return Ok(());
    }

    let maker = interpreter(tools)?;
    tools.install(&Step::new(maker).args(["-m", "venv", "--clear"]).args([&venv]))?;
    let pip =
        ["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--requirement", REQUIREMENTS];
    tools.install(&Step::new(&python).args(pip))?;
    let said = tools.runner.capture(&check)?;
    if !said.ok {
        bail!("{} does not hold what {REQUIREMENTS} names: {}", venv.display(), said.err.trim());
    }
    stamp(&venv, &requirements)
}

/// An interpreter that can make virtual environments. The one in PATH may be without the module for it; Debian's
/// own gets it from a package.
fn interpreter(tools: &Tools<'_>) -> Result<&'static str> {
    let candidates = ["python3", "/usr/bin/python3"];
    let find = || -> Result<Option<&'static str>> {
        for candidate in candidates {
            let test = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))";
            if tools.works(&Step::new(candidate).args(["-c", test]))? {
                return Ok(Some(candidate));
            }
        }
        Ok(None)
    };
    if let Some(found) = find()? {
        return Ok(found);
    }
    tools.debian(
        &["python3", "python3-venv"],
        "there is no python3 of 3.10 or newer with venv and ensurepip",
    )?;
    find()?.context("there still is no python3 of 3.10 or newer with venv and ensurepip")
}

/// A script that fails, naming it, when a pinned package is missing or of another version.
fn script(requirements: &str) -> Result<String> {
    let mut script = String::from("from importlib.metadata import version\n");
    for (name, version) in pins(requirements)? {
        script.push_str(&format!("assert version('{name}') == '{version}', '{name} is not {version}'\n"));
    }
    Ok(script)
}

/// The `name==version` lines. Anything else but a comment is an error: what isn't pinned changes by itself.
fn pins(requirements: &str) -> Result<Vec<(&str, &str)>> {
    let plain = |word: &str| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "._-+".contains(c))
    };
    requirements
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
        .map(|line| match line.split_once("==") {
            Some((name, version)) if plain(name) && plain(version) => Ok((name, version)),
            _ => bail!("{REQUIREMENTS}: `{line}` is not of the form name==version"),
        })
        .collect()
}

pub(super) fn ensure_node(tools: &Tools<'_>) -> Result<()> {
    let from = tools.workspace.root.join("e2e");
    let mut source = String::new();
    for name in NODE_FILES {
        source.push_str(&read(&from.join(name))?);
    }
    let dir = node(tools.workspace);
    let list = Step::new("npm").args(["ls", "--all"]).dir(&dir);
    let test = "process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)";
    let new_enough = Step::new("node").args(["-e", test]);
    if !tools.works(&new_enough)? {
        tools.debian(&["nodejs"], "there is no node of 18 or newer")?;
        if !tools.works(&new_enough)? {
            bail!(
                "there still is no node of 18 or newer; the distribution's may be too old: nodejs.org says more"
            );
        }
    }
    tools.program("npm", &["npm"])?;
    if is_from(&dir, &source) && tools.works(&list)? {
        return Ok(());
    }

    fs::create_dir_all(&dir).with_context(|| format!("failed to make {}", dir.display()))?;
    for name in NODE_FILES {
        fs::copy(from.join(name), dir.join(name))
            .with_context(|| format!("failed to copy {name} to {}", dir.display()))?;
    }
    // No scripts: a package that we only test against has nothing to run on this machine while it is installed.
    let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
    tools.install(&Step::new("npm").args(install).dir(&dir))?;
    let said = tools.runner.capture(&list)?;
    if !said.ok {
        bail!("`{}` fails after the installation: {}{}", list.shown(), said.out.trim(), said.err.trim());
    }
    stamp(&dir, &source)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
}

fn is_from(dir: &Path, source: &str) -> bool {
    fs::read_to_string(dir.join(STAMP)).is_ok_and(|stamp| stamp == source)
}

fn stamp(dir: &Path, source: &str) -> Result<()> {
    let path = dir.join(STAMP);
    fs::write(&path, source).with_context(|| format!("failed to write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_versions_pass_for_pins() {
        let good = "# what\naiosmtpd==1.4.6  # why\n\npaho-mqtt==2.2.0\n";
        assert_eq!(pins(good).unwrap(), [("aiosmtpd", "1.4.6"), ("paho-mqtt", "2.2.0")]);
        for bad in ["requests", "requests>=2", "requests==2.*", "a==1; import os"] {
            assert!(pins(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_environment_of_another_source_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_from(dir.path(), "a==1"));
        stamp(dir.path(), "a==1").unwrap();
        assert!(is_from(dir.path(), "a==1") && !is_from(dir.path(), "a==2"));
    }
}
