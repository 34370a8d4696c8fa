//! Rules for the sources of pure crates: no input or output, no clock, no chance. Their tests may have all of it.

use std::path::Path;

use super::Finding;
use super::code::Code;

const TIME: &str = "time is passed in";
const IO: &str = "a pure crate does no input or output";
const CHANCE: &str = "randomness is passed in";

/// Paths that must not be used, each with the reason.
const FORBIDDEN: [(&str, &str); 16] = [
    ("std::time::SystemTime", TIME),
    ("std::time::Instant", TIME),
    ("std::fs", IO),
    ("std::net", "a pure crate does no input or output; addresses are in core::net"),
    ("std::os", IO),
    ("std::io::stdin", IO),
    ("std::io::stdout", IO),
    ("std::io::stderr", IO),
    ("std::thread", "a pure crate starts and blocks no thread"),
    ("std::env", "configuration is passed in"),
    ("std::process", "a pure crate touches no process"),
    ("tokio", IO),
    ("rand", CHANCE),
    ("getrandom", CHANCE),
    ("fastrand", CHANCE),
    ("std::collections::hash_map::RandomState", CHANCE),
];

/// Modules and preludes whose import would hide what is used of them.
const HIDING: [&str; 5] = ["std", "std::*", "std::time", "std::time::self", "std::time::*"];

pub(super) fn check(path: &Path, code: &Code<'_>, findings: &mut Vec<Finding>) {
    let masked = code.masked();
    let mut found: Vec<(usize, String)> = Vec::new();
    for (at, full) in imports(masked) {
        if let Some((name, why)) = FORBIDDEN.iter().find(|(name, _)| is_or_below(&full, name)) {
            found.push((at, format!("{name} in a pure crate: {why}")));
        } else if HIDING.contains(&full.as_str()) {
            found.push((at, format!("`use {full}` hides what is used of it: import by name")));
        }
    }
    for (name, why) in FORBIDDEN {
        for at in super::whole_words(masked, name) {
            let after = &masked[at + name.len()..];
            // `env!` and the like happen when it is compiled; a bare crate name needs a path to be a use of it
            let used = if name.contains("::") { !after.starts_with('!') } else { after.starts_with("::") };
            if used && !masked[..at].ends_with("::") {
                found.push((at, format!("{name} in a pure crate: {why}")));
            }
        }
    }
    for (at, _) in masked.match_indices("::now(") {
        found.push((at, format!("a clock is read in a pure crate: {TIME}")));
    }
    for name in ["println", "eprintln", "print", "eprint"] {
        for at in super::whole_words(masked, name) {
            if masked[at + name.len()..].starts_with('!') {
                found.push((at, format!("{name}! in a pure crate: {IO}")));
            }
        }
    }
    for (at, what) in found {
        let line = code.line_at(at);
        if !code.in_tests(at) && !code.allows("pure", line) {
            findings.push(Finding::new(path, line, format!("{what} [pure]")));
        }
    }
}

fn is_or_below(full: &str, name: &str) -> bool {
    full.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Every path that a `use` brings in, in full, with the place of its `use`.
fn imports(masked: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in super::whole_words(masked, "use") {
        let rest = &masked[at + "use".len()..];
        let Some(end) = rest.find(';') else { continue };
        let mut paths = Vec::new();
        expand("", rest[..end].trim(), &mut paths);
        found.extend(paths.into_iter().map(|path| (at, path)));
    }
    found
}

/// Writes out the tree of a `use`: `a::{b, c::{d, self}}` is `a::b`, `a::c::d` and `a::c::self`.
fn expand(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let tree = tree.trim().trim_start_matches("::");
    if let Some((head, group)) = tree.split_once('{') {
        let prefix = format!("{prefix}{}", head.replace(char::is_whitespace, ""));
        let group = group.rsplit_once('}').map_or(group, |(inside, _)| inside);
        let mut depth = 0_usize;
        let mut start = 0;
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                ',' if depth == 0 => {
                    expand(&prefix, &group[start..at], paths);
                    start = at + 1;
                }
                _ => {}
            }
        }
        expand(&prefix, &group[start..], paths);
    } else if let Some(name) = tree.split(" as ").next().filter(|name| !name.trim().is_empty()) {
        paths.push(format!("{prefix}{}", name.replace(char::is_whitespace, "")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<Finding> {
        let mut found = Vec::new();
        check(Path::new("a.rs"), &Code::new(text), &mut found);
        found
    }

    #[test]
    fn a_use_is_written_out() {
        let mut paths = Vec::new();
        expand("", "a::{b, c::{d as e, self}, f::*}", &mut paths);
        assert_eq!(paths, ["a::b", "a::c::d", "a::c::self", "a::f::*"]);
    }

    #[test]
    fn clocks_input_and_output_and_chance_are_found() {
        for bad in [
            "use std::time::Instant;",
            "use std::time::{Duration, SystemTime};",
            "use std::{fmt, time::{Duration, Instant as I}};",
            "use std::time;",
            "use std::time::*;",
            "use std::{time::{self, Duration}};",
            "fn a(t: std::time::Instant) {}",
            "use std::fs::File;",
            "fn a() { std::fs::read(b) }",
            "use std::net::IpAddr;",
            "use std::thread;",
            "fn a() { std::env::var(b) }",
            "use std::process::Command;",
            "use rand::Rng;",
            "fn a() { rand::random() }",
            "use getrandom::fill;",
            "fn a() { jiff::Timestamp::now() }",
            "fn a() { println!() }",
            "use tokio::sync::mpsc;",
        ] {
            assert!(!findings(bad).is_empty(), "not found: {bad}");
        }
    }

    #[test]
    fn what_is_pure_passes() {
        for good in [
            "use std::time::Duration;",
            "use core::net::IpAddr;",
            "use crate::time::Instant;\nfn a(now: Instant) {}",
            "use std::{fmt, collections::HashMap};",
            "const V: &str = std::env!(\"X\");",
            "// std::fs is not used here\nfn operand() { brand::a(); my::rand::b(); }",
            "// tidy: allow(pure): the type alone, no clock\nuse std::time::Instant;",
            "#[cfg(test)]\nmod tests {\n use std::fs;\n}",
        ] {
            assert_eq!(findings(good), [], "{good}");
        }
    }
}
