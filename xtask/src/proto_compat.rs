//! `cargo xtask proto`: the .proto files have only grown since the committed baseline.
//!
//! Two versions of the platform run side by side while one replaces the other, and stored messages outlive both:
//! so a number, once given a meaning, keeps it.

mod compare;
mod surface;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;
use surface::Surface;

const BASELINE: &str = "proto/compat/baseline.txt";
/// Where imports are looked for, and where our own packages are.
const INCLUDE: &str = "proto";
const OWN: &str = "proto/stoker";

/// Check that the .proto files have only grown since the committed baseline.
///
/// An addition makes the baseline out of date; a removal, a new number, a new type or a new meaning is an error.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write the additions into the baseline; refused when something isn't compatible
    #[arg(long)]
    pub(crate) accept: bool,
}

/// Prints what is wrong, or writes the baseline; true when nothing is.
pub(crate) fn run(workspace: &Workspace, accept: bool) -> Result<bool> {
    let findings = if accept { self::accept(workspace)? } else { check(workspace)? };
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("proto: compatible with {BASELINE}");
    } else {
        println!("proto: {} findings", findings.len());
    }
    Ok(findings.is_empty())
}

/// Compares the .proto files with the baseline.
pub(crate) fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let now = compile(&workspace.root)?;
    let Some(before) = baseline(&workspace.root)? else {
        return Ok(vec![format!("{BASELINE}: does not exist; `cargo xtask proto --accept` writes it")]);
    };
    let mut findings = broken(&before, &now);
    if findings.is_empty() && before != now {
        let added = now.lines().into_iter().filter(|line| !before.lines().contains(line)).count();
        findings.push(format!(
            "{BASELINE}: out of date ({added} lines to add): run `cargo xtask proto --accept` and commit it"
        ));
    }
    Ok(findings)
}

fn accept(workspace: &Workspace) -> Result<Vec<String>> {
    let now = compile(&workspace.root)?;
    if let Some(before) = baseline(&workspace.root)? {
        let findings = broken(&before, &now);
        if !findings.is_empty() {
            return Ok(findings);
        }
    }
    let path = workspace.root.join(BASELINE);
    let dir = path.parent().context("the baseline has no directory")?;
    fs::create_dir_all(dir).with_context(|| format!("failed to make {}", dir.display()))?;
    fs::write(&path, now.to_text()).with_context(|| format!("failed to write {}", path.display()))?;
    Ok(Vec::new())
}

fn broken(before: &Surface, now: &Surface) -> Vec<String> {
    compare::compare(before, now).into_iter().map(|what| format!("{OWN}: {what}")).collect()
}

fn baseline(root: &Path) -> Result<Option<Surface>> {
    let path = root.join(BASELINE);
    match fs::read_to_string(&path) {
        Ok(text) => Surface::parse(&text).with_context(|| format!("failed to read {BASELINE}")).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("failed to read {BASELINE}")),
    }
}

/// Compiles every .proto file of ours.
fn compile(root: &Path) -> Result<Surface> {
    let include = root.join(INCLUDE);
    let mut files = Vec::new();
    list(&root.join(OWN), &mut files)?;
    if files.is_empty() {
        bail!("there is no .proto file below {OWN}, so nothing can be compared");
    }
    files.sort();
    // `Debug` of these errors, unlike `Display`, says file and line.
    let failed = |error: protox::Error| anyhow::anyhow!("failed to compile: {error:?}");
    let mut compiler = protox::Compiler::new([&include]).map_err(failed)?;
    for file in &files {
        compiler.open_file(file).map_err(failed)?;
    }
    let own: Vec<String> = files
        .iter()
        .map(|file| file.strip_prefix(&include).unwrap_or(file).to_string_lossy().into_owned())
        .collect();
    Ok(Surface::of(&compiler.descriptor_pool(), |file| own.iter().any(|name| name == file)))
}

fn list(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !dir.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(dir).with_context(|| format!("failed to list {}", dir.display()))? {
        let path = entry.with_context(|| format!("failed to list {}", dir.display()))?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "syntax = \"proto3\"; package stoker.v1; message Device { string id = 1; }";
    const GROWN: &str =
        "syntax = \"proto3\"; package stoker.v1; message Device { string id = 1; bytes hash = 2; }";
    const BROKEN: &str = "syntax = \"proto3\"; package stoker.v1; message Device { string id = 2; }";

    fn workspace(proto: &str) -> (tempfile::TempDir, Workspace) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_path_buf();
        write(&root, proto);
        (dir, Workspace { target: root.join("target"), root })
    }

    fn write(root: &Path, proto: &str) {
        fs::create_dir_all(root.join("proto/stoker/v1")).unwrap();
        fs::write(root.join("proto/stoker/v1/a.proto"), proto).unwrap();
    }

    #[test]
    fn additions_are_accepted_and_breaks_are_not() {
        let (_dir, workspace) = workspace(FIRST);
        assert!(check(&workspace).unwrap()[0].contains("--accept"), "no baseline yet");
        assert!(accept(&workspace).unwrap().is_empty());
        assert!(check(&workspace).unwrap().is_empty());

        write(&workspace.root, GROWN);
        assert!(check(&workspace).unwrap()[0].contains("out of date (1 lines to add)"));
        assert!(accept(&workspace).unwrap().is_empty());
        assert!(check(&workspace).unwrap().is_empty());

        write(&workspace.root, BROKEN);
        let before = fs::read_to_string(workspace.root.join(BASELINE)).unwrap();
        assert!(!check(&workspace).unwrap().is_empty());
        assert!(!accept(&workspace).unwrap().is_empty());
        assert_eq!(fs::read_to_string(workspace.root.join(BASELINE)).unwrap(), before);
    }

    #[test]
    fn nothing_to_compare_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(compile(dir.path()).is_err());
    }

    #[test]
    fn a_file_that_does_not_compile_is_named_with_its_line() {
        let (_dir, workspace) = workspace("syntax = \"proto3\";\nmessage A { Gone b = 1; }");
        let error = compile(&workspace.root).unwrap_err().to_string();
        assert!(error.contains("stoker/v1/a.proto:2:"), "{error}");
    }
}
