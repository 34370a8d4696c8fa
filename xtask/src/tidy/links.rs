//! Links between the project's own documents.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::{Finding, allowed};

pub(super) fn check(root: &Path, path: &Path, text: &str, findings: &mut Vec<Finding>) {
    let lines: Vec<&str> = text.lines().collect();
    for (index, target) in targets(text) {
        if let Some(what) = problem(root, path, text, &target)
            && !allowed(&lines, index, "link")
        {
            findings.push(Finding::new(path, index + 1, format!("link to `{target}`: {what} [link]")));
        }
    }
}

/// What is wrong with a link, if it is one to a document of ours.
fn problem(root: &Path, path: &Path, text: &str, target: &str) -> Option<&'static str> {
    let has_scheme = target.split('/').next().is_some_and(|start| start.contains(':'));
    if has_scheme || target.starts_with("//") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    if file.is_empty() {
        return (!anchor.is_empty() && !has_heading(text, anchor)).then_some("there is no such heading");
    }
    let from = path.parent().unwrap_or(Path::new(""));
    let Some(to) = inside(from, file) else { return Some("it leads out of the project") };
    let full = root.join(to);
    if !full.exists() {
        return Some("there is no such file");
    }
    if anchor.is_empty() || full.extension().is_none_or(|extension| extension != "md") {
        return None;
    }
    let there = fs::read_to_string(&full).unwrap_or_default();
    (!has_heading(&there, anchor)).then_some("there is no such heading")
}

/// The path below the root, or nothing when it leads out of it. A leading slash means the root.
fn inside(from: &Path, target: &str) -> Option<PathBuf> {
    let mut path = if target.starts_with('/') { PathBuf::new() } else { from.to_path_buf() };
    for part in Path::new(target).components() {
        match part {
            // `pop` fails at the root
            Component::ParentDir if !path.pop() => return None,
            Component::ParentDir => {}
            Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    Some(path)
}

/// The targets of all links, with their lines (from 0); what stands in code is no link.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, line) in prose(text) {
        let line = without_code(line);
        let mut rest = line.as_str();
        while let Some(at) = rest.find("](") {
            rest = &rest[at + 2..];
            let end = rest.find([')', ' ']).unwrap_or(rest.len());
            found.push((index, rest[..end].trim_matches(['<', '>']).to_owned()));
        }
        // a definition: `[name]: target`
        if let Some((name, target)) = line.trim_start().split_once("]: ")
            && name.starts_with('[')
            && !name.starts_with("[^")
        {
            let target = target.split_whitespace().next().unwrap_or_default();
            found.push((index, target.trim_matches(['<', '>']).to_owned()));
        }
    }
    found
}

/// The lines outside of fenced code, with their numbers from 0.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fence: Option<&str> = None;
    text.lines().enumerate().filter(move |(_, line)| {
        let start = line.trim_start();
        let mark = ["```", "~~~"].into_iter().find(|mark| start.starts_with(mark));
        match (fence, mark) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            (None, None) => return true,
            _ => {}
        }
        false
    })
}

/// The line without what stands between backticks.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

/// Whether a heading of `text` gets this anchor, as GitHub makes them.
fn has_heading(text: &str, anchor: &str) -> bool {
    let mut seen: Vec<String> = Vec::new();
    for (_, line) in prose(text) {
        let title = line.trim_start_matches('#');
        if title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let slug: String = title
            .trim()
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let before = seen.iter().filter(|other| **other == slug).count();
        let unique = if before == 0 { slug.clone() } else { format!("{slug}-{before}") };
        if unique == anchor {
            return true;
        }
        seen.push(slug);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("docs")).unwrap();
        fs::write(root.path().join("docs/there.md"), "# A `title`, here\n```\n# no\n```\n").unwrap();
        let mut found = Vec::new();
        check(root.path(), Path::new("docs/a.md"), text, &mut found);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn dead_links_are_found() {
        for bad in [
            "[a](gone.md)",
            "[a](../gone/there.md)",
            "[a](/there.md)",
            "[a]: gone.md",
            "[a](../../outside.md)",
            "[a](there.md#nowhere)",
            "[a](there.md#no)",
            "[a](#nowhere)",
            "![a](gone.png \"title\")",
        ] {
            let found = findings(&format!("x\n\n{bad}\n"));
            assert!(found.len() == 1 && found[0].starts_with("docs/a.md:3: "), "{bad}: {found:?}");
        }
    }

    #[test]
    fn live_links_and_code_pass() {
        for good in [
            "[a](there.md)",
            "[a](../docs/there.md)",
            "[a](/docs/there.md)",
            "[a](there.md#a-title-here)",
            "# Here\n[a](#here)",
            "[a](https://example.org/gone.md) <mailto:a@example.org>",
            "`[a](gone.md)`",
            "```\n[a](gone.md)\n```",
            "[^1]: a note",
        ] {
            assert_eq!(findings(good), Vec::<String>::new(), "{good}");
        }
    }
}
