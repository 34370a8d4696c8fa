//! Schemathesis: it reads the API's own description and asks everything that this promises, in a process of its own.
//! What the description cannot tell it is in `clients/schemathesis/`.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use crate::platform::Platform;
use crate::smtp::python;

/// A run takes a minute or two; this only ends one that hangs.
const LONGEST: Duration = Duration::from_secs(900);

/// What is to be asked.
#[derive(Debug, Clone)]
pub struct Inquiry<'a> {
    /// The description: a URL, or a file.
    pub description: &'a str,
    /// Only these operations, by their ids; all if empty.
    pub operations: &'a [&'a str],
    /// What there is already, for `hooks.py`.
    pub made: &'a Value,
    /// The same seed asks the same.
    pub seed: u32,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Findings {
    /// Whether the API keeps to its description. If not, standard output says where.
    pub none: bool,
    /// The report of the whole run, as schemathesis writes it.
    pub report: Value,
}

impl Findings {
    /// Requests that keep to the description and were answered by a success, by operation, such as `GET /status`.
    ///
    /// # Errors
    /// The report does not say.
    pub fn accepted(&self) -> Result<Vec<(&str, u64)>> {
        let rates = self.report["valid_rates"].as_object().context("a report without valid_rates")?;
        let accepted = |phases: &Value| {
            let phases = phases.as_object().into_iter().flat_map(serde_json::Map::values);
            phases.filter_map(|phase| phase["accepted"].as_u64()).sum()
        };
        Ok(rates.iter().map(|(operation, phases)| (operation.as_str(), accepted(phases))).collect())
    }
}

/// Runs schemathesis against a platform; what it says goes to standard output.
///
/// # Errors
/// It cannot be run, or does not come to its end.
pub async fn inquire(platform: &Platform, inquiry: &Inquiry<'_>) -> Result<Findings> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/schemathesis");
    let report = platform.scratch().join("schemathesis.json");
    let mut command = Command::new(python()?);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("SCHEMATHESIS_")) {
            command.env_remove(name);
        }
    }
    command
        .args(["-m", "schemathesis.cli", "--config-file"])
        .arg(own.join("schemathesis.toml"))
        .args(["run", inquiry.description, "--url", platform.api.base(), "--no-color"])
        .args(["--seed", &inquiry.seed.to_string(), "--report", "json", "--report-json-path"])
        .arg(&report);
    for operation in inquiry.operations {
        command.args(["--include-operation-id", operation]);
    }
    command
        .env("SCHEMATHESIS_HOOKS", own.join("hooks.py"))
        .env("STOKER_E2E_TOKEN", platform.api.token())
        .env("STOKER_E2E_MADE", inquiry.made.to_string())
        // Nothing of it stays behind in the sources.
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("HYPOTHESIS_STORAGE_DIRECTORY", platform.scratch().join("hypothesis"))
        .env("NO_PROXY", "127.0.0.1")
        .current_dir(platform.scratch())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let run = timeout(LONGEST, command.output()).await;
    let run = run.with_context(|| format!("schemathesis has not ended within {} s", LONGEST.as_secs()))?;
    let run = run.context("failed to start schemathesis")?;
    println!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    // 1 is for findings, everything else for a run that was none.
    let none = match run.status.code() {
        Some(0) => true,
        Some(1) => false,
        _ => bail!("schemathesis did not run to its end ({}); see what it said", run.status),
    };
    let report = std::fs::read(&report).context("schemathesis left no report")?;
    let report: Value = serde_json::from_slice(&report).context("the report of schemathesis is no JSON")?;
    if report["complete"] != true || report["stop_reason"] != "completed" {
        bail!("schemathesis stopped early: {}", report["stop_reason"]);
    }
    Ok(Findings { none, report })
}
