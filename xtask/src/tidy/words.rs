//! Words that must not stand in any text of the project.

use std::path::Path;

use super::{Finding, allowed, whole_words};

/// Made by tools.
const GENERATED: [&str; 2] = ["Cargo.lock", "package-lock.json"];
/// Put together, since this file is checked too.
const MARKERS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
/// The folders of whoever works on it. Nothing here may depend on how somebody's machine is laid out.
const MACHINE: [&str; 3] = [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];
/// A neighbour of the repository that a clone doesn't have.
const NEIGHBOUR: &str = concat!("../sha", "red");

pub(super) fn check(root: &Path, path: &Path, text: &str, findings: &mut Vec<Finding>) {
    if GENERATED.iter().any(|name| path.file_name().is_some_and(|file| file == *name)) {
        return;
    }
    let lines: Vec<&str> = text.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let mut find = |rule: &str, what: String| {
            if !allowed(&lines, index, rule) {
                findings.push(Finding::new(path, index + 1, format!("{what} [{rule}]")));
            }
        };
        for marker in MARKERS {
            if whole_words(line, marker).next().is_some() {
                find("marker", format!("{marker}: do it now, or file it where work is kept"));
            }
        }
        for start in MACHINE {
            if line.match_indices(start).any(|(at, _)| begins_a_path(&line[..at])) {
                find("machine", format!("{start} is a place on one machine only: use a path below the root"));
            }
        }
        for (at, _) in line.match_indices(NEIGHBOUR) {
            if !resolves(root, path, &line[at..]) {
                find(
                    "machine",
                    format!("{NEIGHBOUR} is outside of the project, which must not depend on it"),
                );
            }
        }
    }
}

/// Whether a slash after this is the first of a path, not one within a path or URL.
fn begins_a_path(before: &str) -> bool {
    !before.ends_with(|c: char| c.is_alphanumeric() || "._-}~/".contains(c))
}

/// Whether the path that `rest` begins with, seen from the file, is within the project.
fn resolves(root: &Path, path: &Path, rest: &str) -> bool {
    let end = rest.find(|c: char| c.is_whitespace() || "\"'`()<>,;".contains(c)).unwrap_or(rest.len());
    let depth = path.parent().map_or(0, |dir| dir.iter().count());
    depth > 0 && root.join(path.parent().unwrap_or(Path::new(""))).join(&rest[..end]).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("a/b")).unwrap();
        std::fs::create_dir_all(root.path().join("a/shared")).unwrap();
        check(root.path(), Path::new(path), text, &mut found);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn markers_are_found_as_whole_words() {
        for marker in MARKERS {
            assert_eq!(findings("a.py", &format!("x\n# {marker}: y")).len(), 1, "{marker}");
        }
        let fine = concat!("mktemp a.XX", "XXXX; TO", "DOS");
        assert!(findings("a.sh", fine).is_empty());
        assert!(findings("Cargo.lock", MARKERS[0]).is_empty());
    }

    #[test]
    fn places_on_one_machine_are_found() {
        for start in MACHINE {
            assert_eq!(findings("a.md", &format!("see {start}main")).len(), 1, "{start}");
            assert!(findings("a.md", &format!("https://example.org{start}x")).is_empty());
        }
    }

    #[test]
    fn neighbours_of_the_repository_are_found() {
        assert_eq!(findings("a/b/c.rs", &format!("include!(\"{NEIGHBOUR}/x.rs\")")).len(), 1);
        assert_eq!(findings("c.toml", NEIGHBOUR).len(), 1);
        assert!(findings("a/b/c.rs", &format!("see {NEIGHBOUR}")).is_empty());
        let granted = format!("# tidy: allow{} it is in the archive\n{NEIGHBOUR}", "(machine):");
        assert!(findings("c.toml", &granted).is_empty());
    }
}
