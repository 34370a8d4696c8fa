//! What the lab is made of, as far as the distribution has it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::Tools;
use crate::process::{Runner, Step};

/// The one that Cassandra 5.0 is run on; it refuses later ones.
const JAVA: &str = "17";
const JAVA_HOMES: &str = "/usr/lib/jvm";
/// The script that knows RabbitMQ's own folders. The one in `PATH` only calls it as another user.
const RABBITMQ_SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

pub(super) fn ensure_java(tools: &Tools<'_>) -> Result<()> {
    if java(tools.runner).is_ok() {
        return Ok(());
    }
    let because = format!("there is no Java {JAVA}");
    tools.debian(&["openjdk-17-jre-headless"], &because).with_context(|| {
        format!("where no package brings it, unpack one from adoptium.net and set JAVA_HOME ({because})")
    })?;
    java(tools.runner).map(drop)
}

/// The `java` of the right version: that of `JAVA_HOME`, that in `PATH`, or one that lies where Linux keeps them.
pub(crate) fn java(runner: &Runner) -> Result<PathBuf> {
    let mut candidates: Vec<PathBuf> = Vec::new();
    candidates.extend(env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin/java")));
    candidates.push(PathBuf::from("java"));
    let mut homes: Vec<PathBuf> =
        fs::read_dir(JAVA_HOMES).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    homes.sort();
    candidates.extend(homes.into_iter().map(|home| home.join("bin/java")));
    for candidate in candidates {
        runner.check()?;
        let said = runner.capture(&Step::new(&candidate).args(["-version"]));
        // It says `openjdk version "17.0.15" 2025-04-15`, and not on standard output.
        if said.is_ok_and(|said| said.ok && is_version(&said.err, JAVA)) {
            return Ok(candidate);
        }
    }
    bail!("there is no Java {JAVA} in JAVA_HOME, PATH or {JAVA_HOMES}")
}

fn is_version(said: &str, major: &str) -> bool {
    said.split('"').nth(1).is_some_and(|version| version.split(['.', '-', '+']).next() == Some(major))
}

pub(super) fn ensure_maven(tools: &Tools<'_>) -> Result<()> {
    tools.program("mvn", &["maven"])
}

pub(super) fn ensure_rabbitmq(tools: &Tools<'_>) -> Result<()> {
    if rabbitmq_server().is_ok() {
        return Ok(());
    }
    // Some of Debian's installations start a node of the machine's own with it; `lab up` says so if that has its port.
    tools.debian(&["rabbitmq-server"], &format!("there is no {RABBITMQ_SERVER}"))?;
    rabbitmq_server().map(drop)
}

pub(crate) fn rabbitmq_server() -> Result<PathBuf> {
    let path = PathBuf::from(RABBITMQ_SERVER);
    if !path.is_file() {
        bail!("there is no {RABBITMQ_SERVER}");
    }
    Ok(path)
}

/// What the distribution calls its version, such as `3.10.8-1.1+deb12u1`; else RabbitMQ's own.
pub(crate) fn rabbitmq_version(runner: &Runner) -> Result<String> {
    let query = Step::new("dpkg-query").args(["--show", "--showformat=${Version}", "rabbitmq-server"]);
    if let Ok(said) = runner.capture(&query)
        && said.ok
        && !said.out.trim().is_empty()
    {
        return Ok(said.out.trim().to_owned());
    }
    let server = rabbitmq_server()?;
    let real = server.canonicalize().with_context(|| format!("failed to follow {}", server.display()))?;
    let named = |part: &std::ffi::OsStr| Some(part.to_str()?.strip_prefix("rabbitmq_server-")?.to_owned());
    real.iter().find_map(named).with_context(|| format!("{} does not name its version", real.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_java_is_its_first_number() {
        assert!(is_version("openjdk version \"17.0.15\" 2025-04-15\n", "17"));
        assert!(is_version("openjdk version \"17-ea\" 2021-09-14\n", "17"));
        assert!(!is_version("java version \"1.8.0_17\"\n", "17"));
        assert!(!is_version("openjdk version \"21.0.17\" 2025-04-15\n", "17"));
        assert!(!is_version("", "17"));
    }
}
