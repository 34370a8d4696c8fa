//! Cassandra from Maven Central, each jar against its committed checksum, kept for the next lab.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::folder;
use super::template::{self, make_dir, read};
use crate::install::{self, Need};
use crate::process::{Ending, Runner, Step};
use crate::workspace::Workspace;

const SUMS: &str = "cassandra.sha256";
/// A hundred jars of 66 MB together, and as much for Maven itself.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// Where downloads are kept.
pub(super) struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// `chosen`, else what the environment says, else a directory among the build's.
    pub(super) fn new(workspace: &Workspace, chosen: Option<&Path>) -> Result<Self> {
        let dir = match (chosen, env::var_os("STOKER_LAB_CACHE"), env::var_os("XDG_CACHE_HOME")) {
            (Some(dir), _, _) => dir.to_path_buf(),
            (None, Some(dir), _) if !dir.is_empty() => PathBuf::from(dir),
            (None, _, Some(dir)) if !dir.is_empty() => Path::new(&dir).join("stoker-lab"),
            _ => workspace.target.join("lab"),
        };
        let dir = std::path::absolute(&dir).with_context(|| format!("{} is no directory", dir.display()))?;
        Ok(Self { dir })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory with the jars of Cassandra, which are fetched if they are not there yet.
    pub(super) fn cassandra(&self, workspace: &Workspace, runner: &Runner) -> Result<PathBuf> {
        let from = template::dir(workspace);
        let sums = read(&from.join(SUMS))?;
        let name = format!("cassandra-{}", version(&sums)?);
        let there = self.dir.join(&name);
        if there.is_dir() {
            return Ok(there);
        }
        make_dir(&self.dir)?;
        let _lock = folder::wait_for_lock(&self.dir.join("fetch.lock"), "another download", runner)?;
        if there.is_dir() {
            return Ok(there);
        }
        install::ensure(&Need::Maven, workspace, runner)?;
        let part = self.dir.join(format!("{name}.part"));
        if part.exists() {
            fs::remove_dir_all(&part).with_context(|| format!("failed to remove {}", part.display()))?;
        }
        make_dir(&part)?;
        self.maven(&from.join("pom.xml"), &part, runner)?;
        check(&part, &from.join(SUMS), &sums, runner)?;
        fs::rename(&part, &there).with_context(|| format!("failed to move {}", part.display()))?;
        Ok(there)
    }

    /// Has Maven put all jars into `to`.
    fn maven(&self, pom: &Path, to: &Path, runner: &Runner) -> Result<()> {
        // A repository of its own: what somebody else put into the user's would be taken for the real thing.
        let repository = self.dir.join("maven");
        let log = self.dir.join("maven.log");
        template::write(&log, "")?;
        let option = |name: &str, value: &Path| format!("-D{name}={}", value.display());
        let words = ["--batch-mode", "--no-transfer-progress", "--strict-checksums", "--file"];
        let step = Step::new("mvn").args(words).args([pom]).args([
            // By its full name: to look up a short one takes one more file, and hides why that did not come.
            "org.apache.maven.plugins:maven-dependency-plugin:copy-dependencies".to_owned(),
            "-DincludeScope=runtime".to_owned(),
            option("outputDirectory", to),
            option("maven.repo.local", &repository),
        ]);
        eprintln!("fetching Cassandra: {}", step.shown());
        let begun = Instant::now();
        let ending = runner.run(&step, &log, false, begun + LIMIT)?;
        let reason = match ending {
            Ending::Exited(status) if status.success() => {
                eprintln!("fetched Cassandra in {} s", begun.elapsed().as_secs());
                // What Maven fetched for itself is of no more use.
                return fs::remove_dir_all(&repository)
                    .with_context(|| format!("failed to remove {}", repository.display()));
            }
            Ending::Exited(status) => status.to_string(),
            Ending::TooLong => format!("not done after {} s", LIMIT.as_secs()),
        };
        let said = read(&log)?;
        let errors: Vec<&str> = said
            .lines()
            .filter_map(|line| line.strip_prefix("[ERROR]"))
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .take(3)
            .collect();
        bail!(
            "failed to fetch Cassandra from Maven Central ({reason}):\n     {}\n   the whole output is in {}; behind \
             a proxy or mirror, name it in ~/.m2/settings.xml",
            errors.join("\n     "),
            log.display()
        )
    }
}

/// Succeeds when the directory holds the pinned jars, and no others.
fn check(dir: &Path, list: &Path, sums: &str, runner: &Runner) -> Result<()> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir).with_context(|| format!("failed to list {}", dir.display()))? {
        let entry = entry.with_context(|| format!("failed to list {}", dir.display()))?;
        found.insert(entry.file_name().to_string_lossy().into_owned());
    }
    let pinned = names(sums);
    let differing: Vec<&String> = found.symmetric_difference(&pinned).collect();
    if !differing.is_empty() {
        bail!("what was fetched is not what {} names: {differing:?}", list.display());
    }
    let step = Step::new("sha256sum").args(["--check", "--strict", "--quiet"]).args([list]).dir(dir);
    let said = runner.capture(&step)?;
    if !said.ok {
        bail!(
            "what was fetched is not what {} names: {}{}; it lies in {}",
            list.display(),
            said.out.trim(),
            said.err.trim(),
            dir.display()
        );
    }
    Ok(())
}

/// The names in lines of a checksum, two spaces and a name.
fn names(sums: &str) -> BTreeSet<String> {
    sums.lines().filter_map(|line| Some(line.split_once("  ")?.1.to_owned())).collect()
}

/// The version of Cassandra that the checksums are of.
pub(super) fn version(sums: &str) -> Result<String> {
    names(sums)
        .iter()
        .find_map(|name| Some(name.strip_prefix("cassandra-all-")?.strip_suffix(".jar")?.to_owned()))
        .with_context(|| format!("{SUMS} names no cassandra-all"))
}

/// The version of Cassandra that labs are made of.
pub(super) fn pinned_version(workspace: &Workspace) -> Result<String> {
    version(&read(&template::dir(workspace).join(SUMS))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    // of the texts "a\n" and "b\n"
    const A: &str = "87428fc522803d31065e7bce3cf03fe475096631e5e07bbd7a0fde60c4cf25c7  a.jar\n";
    const B: &str = "0263829989b6fd954f72baaf2fc64bc2e2f01d692d4de72986ea808f6e99813f  b.jar\n";

    #[test]
    fn jars_are_those_that_are_pinned() {
        let workspace = Workspace::find().unwrap();
        let runner = Runner::new(&workspace).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let jars = dir.path().join("jars");
        fs::create_dir(&jars).unwrap();
        let list = dir.path().join(SUMS);
        let checked = |sums: &str| {
            fs::write(&list, sums).unwrap();
            check(&jars, &list, sums, &runner)
        };
        fs::write(jars.join("a.jar"), "a\n").unwrap();
        checked(A).unwrap();
        let both = format!("{A}{B}");
        assert!(checked(&both).unwrap_err().to_string().contains("b.jar"), "one is missing");
        fs::write(jars.join("b.jar"), "b\n").unwrap();
        checked(&both).unwrap();
        assert!(checked(A).unwrap_err().to_string().contains("b.jar"), "one is too many");
        fs::write(jars.join("b.jar"), "c\n").unwrap();
        assert!(checked(&both).unwrap_err().to_string().contains("b.jar: FAILED"), "one is another");
    }

    #[test]
    fn the_version_is_that_of_the_checksums() {
        assert_eq!(version("ab  zstd-1.jar\ncd  cassandra-all-5.0.4.jar\n").unwrap(), "5.0.4");
        assert!(version(A).is_err());
        pinned_version(&Workspace::find().unwrap()).unwrap();
    }
}
