//! `cargo xtask tidy`: the rules of the project that no compiler checks.
//!
//! A finding can be allowed where it stands, in a comment on its line or the one before, with the reason:
//! `tidy: allow(RULE): reason`. What the dependency graph says can't be allowed.

mod code;
mod deps;
mod links;
mod members;
mod pure;
mod rust;
mod words;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::process::Runner;
use crate::workspace::Workspace;

/// The crates that decide and never act: no input or output, no clock, no chance. By directory, and
/// whether it has to be there.
const PURE: [(&str, bool); 4] =
    [("services/domain", true), ("services/protocol", true), ("crds", true), ("operator/plan", true)];

/// Something that breaks a rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: PathBuf,
    /// From 1; 0 when it is about the whole file.
    line: usize,
    what: String,
}

impl Finding {
    fn new(path: &Path, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_path_buf(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line.max(1), self.what)
    }
}

/// Prints the findings; true when there are none.
pub(crate) fn run(workspace: &Workspace, runner: &Runner) -> Result<bool> {
    let findings = check(workspace, runner)?;
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => println!("tidy: nothing found"),
        count => println!("tidy: {count} findings"),
    }
    Ok(findings.is_empty())
}

/// All findings, by file and line.
pub(crate) fn check(workspace: &Workspace, runner: &Runner) -> Result<Vec<String>> {
    let files = workspace.files()?;
    let mut findings = Vec::new();
    let members = members::read(workspace, runner)?;
    members::check(workspace, &files, &members, &mut findings)?;
    for (dir, required) in PURE {
        match members.iter().find(|member| member.dir == Path::new(dir)) {
            Some(member) => deps::check(member, runner, &mut findings)?,
            None if required => {
                let what =
                    "this crate is to be checked for purity and does not exist; change the list in tidy.rs";
                findings.push(Finding::new(Path::new(dir), 0, what));
            }
            None => {}
        }
    }
    for path in &files {
        let Some(text) = workspace.text(path)? else { continue };
        words::check(&workspace.root, path, &text, &mut findings);
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("rs") => {
                let code = code::Code::new(&text);
                rust::check(path, &code, &mut findings);
                if PURE.iter().any(|(dir, _)| path.starts_with(Path::new(dir).join("src"))) {
                    pure::check(path, &code, &mut findings);
                }
            }
            Some("md") => links::check(&workspace.root, path, &text, &mut findings),
            _ => {}
        }
    }
    findings.sort();
    findings.dedup();
    Ok(findings.iter().map(ToString::to_string).collect())
}

/// Whether a comment in `lines` allows `rule` for line `index` (from 0), on it or on the one before, with a reason.
fn allowed(lines: &[&str], index: usize, rule: &str) -> bool {
    // Put together here, or this very line would be an allowance without a reason.
    let marker = format!("tidy: allow({rule}):");
    let grants = |line: &str| line.split_once(&marker).is_some_and(|(_, reason)| !reason.trim().is_empty());
    let before = index.checked_sub(1).and_then(|index| lines.get(index));
    lines.get(index).into_iter().chain(before).any(|line| grants(line))
}

/// The places in `line` where `word` stands as a whole word.
fn whole_words<'a>(line: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        !line[..at].chars().next_back().is_some_and(part)
            && !line[at + word.len()..].chars().next().is_some_and(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_allowed_only_with_a_reason_and_only_where_it_stands() {
        let granted = "// tidy: allow(unbounded): filled once, at start";
        assert!(allowed(&[granted, "x"], 1, "unbounded"));
        assert!(allowed(&["x // tidy: allow(unbounded): filled once"], 0, "unbounded"));
        assert!(!allowed(&[granted, "x"], 1, "detached"));
        assert!(!allowed(&[granted, "", "x"], 2, "unbounded"));
        assert!(!allowed(&["// tidy: allow(unbounded):", "x"], 1, "unbounded"));
        assert!(!allowed(&["// tidy: allow(unbounded)", "x"], 1, "unbounded"));
    }

    #[test]
    fn a_finding_says_where_it_stands() {
        assert_eq!(Finding::new(Path::new("a.rs"), 3, "x").to_string(), "a.rs:3: x");
        assert_eq!(Finding::new(Path::new("a.rs"), 0, "x").to_string(), "a.rs:1: x");
    }

    #[test]
    fn words_are_whole() {
        assert_eq!(whole_words("ab cab ab_ ab", "ab").collect::<Vec<_>>(), [0, 11]);
    }
}
