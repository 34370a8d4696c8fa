//! What is named in several files, and has to be the same in all.

use anyhow::{Context, Result};

use super::{CHART, Tools};

pub(super) fn check(tools: &Tools<'_>, findings: &mut Vec<String>) -> Result<()> {
    let toolchain = after(&tools.read("rust-toolchain.toml")?, "channel = ").context("no channel")?;
    let version = after(&tools.read("Cargo.toml")?, "version = ").context("no version")?;
    let named = [
        ("Dockerfile", "FROM docker.io/library/rust:", format!("{toolchain}-trixie")),
        ("Dockerfile", "ENV RUSTUP_TOOLCHAIN=", toolchain),
        ("Dockerfile", "ARG VERSION=", version.clone()),
        (&*format!("{CHART}/Chart.yaml"), "version: ", version.clone()),
        (&*format!("{CHART}/Chart.yaml"), "appVersion: ", version),
    ];
    for (path, start, expected) in named {
        let found = after(&tools.read(path)?, start);
        if found.as_deref() != Some(&expected) {
            findings.push(format!("{path}: `{start}` has {found:?} after it, not {expected}"));
        }
    }
    // What is built there has to run on what it is put onto.
    let dockerfile = tools.read("Dockerfile")?;
    let base = after(&dockerfile, "ARG BASE=").context("the Dockerfile names no base")?;
    for path in ["Dockerfile", "Tiltfile"] {
        if !tools.read(path)?.contains(&base) {
            findings.push(format!("{path} does not put the binaries onto {base}, as the other one does"));
        }
    }
    Ok(())
}

/// The first word of the first line that begins so, without quotation marks.
fn after(text: &str, start: &str) -> Option<String> {
    let rest = text.lines().find_map(|line| line.strip_prefix(start))?;
    Some(rest.split_whitespace().next()?.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_is_the_first_word() {
        let text = "# version = 1\nFROM rust:1.95.0 AS build\nversion = \"0.1.0\"\nversion = \"2\"\n";
        assert_eq!(after(text, "version = ").as_deref(), Some("0.1.0"));
        assert_eq!(after(text, "FROM rust:").as_deref(), Some("1.95.0"));
        assert_eq!(after(text, "ENV "), None);
    }
}
