//! What pure crates must not depend on, directly or not.

use anyhow::{Result, bail};

use super::Finding;
use super::members::Member;
use crate::process::{Runner, Step};

/// Not at any depth. A runtime, a socket, a store or a client means input and output.
const NOWHERE: [&str; 27] = [
    "async-std",
    "axum",
    "cassandra-cpp",
    "fastrand",
    "hyper",
    "hyper-util",
    "kube-client",
    "kube-runtime",
    "lapin",
    "lettre",
    "mio",
    "prost",
    "quanta",
    "rand",
    "redb",
    "reqwest",
    "rustls",
    "scylla",
    "smol",
    "socket2",
    "stoker-bus",
    "stoker-store",
    "tokio",
    "tokio-util",
    "tonic",
    "tonic-prost",
    "ureq",
];
/// Not by our own choice; below another crate it serves that one (seeds of hash maps).
const NOT_DIRECTLY: [&str; 2] = ["getrandom", "uuid"];
/// Not with these features, which read the clock.
const WITHOUT_CLOCK: [(&str, &[&str]); 2] = [("chrono", &["clock", "now"]), ("time", &["local-offset"])];

/// Looks at the normal dependencies of `member` at all depths, with the features that it asks for itself: those of
/// the whole workspace together would blame it for what others need.
pub(super) fn check(member: &Member, runner: &Runner, findings: &mut Vec<Finding>) -> Result<()> {
    let step = Step::cargo("tree --locked --edges normal --target all --prefix depth").args([
        "--format",
        " {p} | {f}",
        "--package",
        &member.name,
    ]);
    let said = runner.capture(&step)?;
    if !said.ok {
        bail!("`{}` failed: {}", step.shown(), said.err.trim());
    }
    let manifest = member.dir.join("Cargo.toml");
    findings.extend(forbidden(&said.out).into_iter().map(|what| Finding::new(&manifest, 0, what)));
    Ok(())
}

/// What is wrong with a tree of lines `DEPTH NAME vVERSION (…) | FEATURE,FEATURE`, with the way to it.
fn forbidden(tree: &str) -> Vec<String> {
    let mut way: Vec<&str> = Vec::new();
    let mut found = Vec::new();
    for line in tree.lines() {
        let Some((depth, rest)) = line.split_once(' ') else { continue };
        let (Ok(depth), Some(name)) = (depth.parse::<usize>(), rest.split_whitespace().next()) else {
            continue;
        };
        way.truncate(depth);
        way.push(name);
        let features: Vec<&str> = rest
            .split_once(" | ")
            .map(|(_, features)| features.trim_end_matches("(*)").trim().split(',').collect())
            .unwrap_or_default();
        let clock = WITHOUT_CLOCK.iter().find(|(of, _)| *of == name).and_then(|(_, clocks)| {
            clocks.iter().find(|clock| features.contains(clock)).map(|clock| format!("its feature `{clock}`"))
        });
        let reason = if depth == 0 {
            None
        } else if NOWHERE.contains(&name) || (depth == 1 && NOT_DIRECTLY.contains(&name)) {
            Some("it".to_owned())
        } else {
            clock
        };
        if let Some(what) = reason {
            found.push(format!(
                "a pure crate must not depend on {name} ({what} brings input, output, a clock or chance): {} [pure]",
                way.join(" -> ")
            ));
        }
    }
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "\
0 stoker-domain v0.1.0 (/x) | default
1 bytes v1.10.0 | default,std
1 helper v1.0.0 | net
2 tokio v1.48.0 | net (*)
1 chrono v0.4.42 | clock,std
1 serde v1.0.0 | 
2 getrandom v0.3.0 | std
";

    #[test]
    fn forbidden_crates_are_found_at_any_depth_with_the_way() {
        let found = forbidden(TREE);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("stoker-domain -> helper -> tokio"), "{}", found[0]);
        assert!(found[1].contains("chrono") && found[1].contains("`clock`"), "{}", found[1]);
    }

    #[test]
    fn chance_is_forbidden_directly() {
        assert_eq!(forbidden("0 a v1 | \n1 getrandom v0.3.0 | \n").len(), 1);
    }

    #[test]
    fn what_is_pure_passes() {
        let tree =
            "0 stoker-domain v0.1.0 (/x) | \n1 bytes v1 | std\n1 chrono v0.4.42 | std\n1 jiff v0.2 | std\n";
        assert_eq!(forbidden(tree), Vec::<String>::new());
    }

    #[test]
    fn the_list_is_sorted_for_those_who_add_to_it() {
        assert!(NOWHERE.is_sorted());
    }
}
