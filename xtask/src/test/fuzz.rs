//! The fuzz part: every target of the protocol's fuzz crate, from a copy of its corpus.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::Bench;
use crate::process::Step;
use crate::report::{Counts, Verdict};

const FUZZ_DIR: &str = "services/protocol/fuzz";
/// All targets together: a smoke test that finds what is shallow. Long runs are started by hand.
const TOTAL_SECONDS: usize = 60;
/// A target needs a moment to read its corpus before it finds anything.
const LEAST_SECONDS: usize = 10;
/// One input may take this long. libFuzzer's own limit of 20 minutes would outlast the part.
const INPUT_SECONDS: usize = 10;

pub(super) fn run(bench: &mut Bench<'_>, deadline: Instant) -> Result<Verdict> {
    let dir = bench.workspace.root.join(FUZZ_DIR);
    let targets = targets(bench, &dir)?;
    let seconds = (TOTAL_SECONDS / targets.len()).max(LEAST_SECONDS);
    let found = bench.workspace.target.join("xtask/fuzz-findings");
    fs::create_dir_all(&found).with_context(|| format!("failed to make {}", found.display()))?;

    let mut tests = Counts::default();
    let mut failures = Vec::new();
    for target in &targets {
        // The fuzzer adds what it finds to the corpus, and the repository's own must not change under a test.
        let corpus = tempfile::tempdir().context("failed to make a directory for the corpus")?;
        copy_files(&dir.join("corpus").join(target), corpus.path())?;
        let mut step = Step::cargo("+nightly fuzz run --fuzz-dir").args([FUZZ_DIR, target]);
        step = step.args([corpus.path()]).args(["--"]).args([
            format!("-max_total_time={seconds}"),
            format!("-timeout={INPUT_SECONDS}"),
            format!("-artifact_prefix={}/{target}-", found.display()),
        ]);
        match bench.steps(&[step], deadline)? {
            None => tests.passed += 1,
            Some(Verdict::Failed(reason)) => {
                tests.failed += 1;
                failures.push(reason);
            }
            Some(other) => return Ok(other),
        }
    }
    bench.tests = Some(tests);
    Ok(if failures.is_empty() {
        Verdict::Passed
    } else {
        Verdict::Failed(format!("{}; inputs are kept in {}", failures.join("; "), found.display()))
    })
}

/// The binaries of the fuzz crate. Also checks that its lock file is up to date: cargo-fuzz knows no `--locked`.
fn targets(bench: &Bench<'_>, dir: &Path) -> Result<Vec<String>> {
    let manifest = dir.join("Cargo.toml");
    if !manifest.is_file() {
        bail!("{FUZZ_DIR}/Cargo.toml does not exist: `cargo +nightly fuzz init` makes it");
    }
    let step = Step::cargo("+nightly metadata --format-version 1 --locked --manifest-path").args([&manifest]);
    let said = bench.runner.capture(&step)?;
    if !said.ok {
        bail!(
            "`{}` failed: {}\nif its Cargo.lock is missing or out of date: `cargo +nightly update --workspace \
             --manifest-path {FUZZ_DIR}/Cargo.toml`, and commit it",
            step.shown(),
            said.err.trim()
        );
    }
    let targets = binaries(&said.out, &manifest)?;
    if targets.is_empty() {
        bail!("{FUZZ_DIR}/Cargo.toml names no [[bin]], so there is nothing to fuzz");
    }
    Ok(targets)
}

fn binaries(metadata: &str, manifest: &Path) -> Result<Vec<String>> {
    let metadata: serde_json::Value =
        serde_json::from_str(metadata).context("failed to read what cargo metadata said")?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let package = packages
        .iter()
        .find(|package| package["manifest_path"].as_str().is_some_and(|path| Path::new(path) == manifest))
        .with_context(|| format!("cargo metadata doesn't know {}", manifest.display()))?;
    let binary = |target: &serde_json::Value| {
        let kinds = target["kind"].as_array()?;
        let is_binary = kinds.iter().any(|kind| kind == "bin");
        if is_binary { target["name"].as_str().map(str::to_owned) } else { None }
    };
    Ok(package["targets"].as_array().into_iter().flatten().filter_map(binary).collect())
}

/// Copies the files of a directory, which need not exist.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    if !from.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(from).with_context(|| format!("failed to list {}", from.display()))? {
        let entry = entry.with_context(|| format!("failed to list {}", from.display()))?;
        fs::copy(entry.path(), to.join(entry.file_name()))
            .with_context(|| format!("failed to copy {}", entry.path().display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_the_binaries_of_the_fuzz_crate_alone() {
        let metadata = r#"{"packages":[
            {"manifest_path":"/x/fuzz/Cargo.toml","targets":[
                {"kind":["bin"],"name":"decode"},{"kind":["lib"],"name":"help"}]},
            {"manifest_path":"/x/Cargo.toml","targets":[{"kind":["bin"],"name":"other"}]}]}"#;
        assert_eq!(binaries(metadata, Path::new("/x/fuzz/Cargo.toml")).unwrap(), ["decode"]);
        assert!(binaries(metadata, Path::new("/y/Cargo.toml")).is_err());
    }

    #[test]
    fn a_corpus_is_copied_and_may_be_missing() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(from.path().join("seed"), b"\x10").unwrap();
        copy_files(from.path(), to.path()).unwrap();
        assert_eq!(fs::read(to.path().join("seed")).unwrap(), b"\x10");
        copy_files(&from.path().join("none"), to.path()).unwrap();
    }
}
