//! Rules for all Rust sources.

use std::path::Path;

use super::Finding;
use super::code::{Code, closing};

/// A module of more lines has become two.
const MOST_LINES: usize = 500;

pub(super) fn check(path: &Path, code: &Code<'_>, findings: &mut Vec<Finding>) {
    if code.line_count() > MOST_LINES {
        let what = format!("{} lines; a module has at most {MOST_LINES}: split it", code.line_count());
        findings.push(Finding::new(path, 0, what));
    }
    let mut find = |rule: &str, at: usize, what: &str| {
        let line = code.line_at(at);
        if !code.allows(rule, line) {
            findings.push(Finding::new(path, line, format!("{what} [{rule}]")));
        }
    };
    for (at, _) in code.masked().match_indices("#[ignore") {
        find("ignored", at, "an ignored test shows nothing: mend it or remove it");
    }
    for name in ["todo", "unimplemented"] {
        for at in macro_calls(code.masked(), name) {
            find("unfinished", at, &format!("{name}! in the sources: finish it, or leave it out"));
        }
    }
    for (at, what) in detached(code.masked()) {
        if !is_test(path, code, at) {
            find(
                "detached",
                at,
                &format!("{what}: when the task dies nobody learns of it; join or supervise it"),
            );
        }
    }
    for (at, what) in without_bound(code.masked()) {
        find(
            "unbounded",
            at,
            &format!("{what} has no bound: every queue has one and says what happens at it"),
        );
    }
    for (at, what) in sleeps(code.masked()) {
        if is_test(path, code, at) && !may_sleep(path) {
            find(
                "sleep",
                at,
                &format!("{what} in a test makes it slow or flaky: pass time in, or pause the clock"),
            );
        }
    }
}

/// Whether only tests compile this place. A test module in a file of its own goes by its name.
fn is_test(path: &Path, code: &Code<'_>, at: usize) -> bool {
    let named = |name: &str| matches!(name, "tests" | "tests.rs" | "test_util.rs" | "testing.rs" | "benches");
    code.in_tests(at) || path.iter().any(|part| part.to_str().is_some_and(named)) || path.starts_with("e2e")
}

/// There, real processes are waited for, or what several of ours find out by the passing of real time.
fn may_sleep(path: &Path) -> bool {
    const PLACES: [&str; 6] = [
        "e2e",
        "bench",
        "xtask",
        "services/bus/tests/rabbit",
        "services/store/tests/cassandra",
        "services/core/tests/core/eventually.rs",
    ];
    PLACES.iter().any(|place| path.starts_with(place))
}

fn macro_calls<'a>(masked: &'a str, name: &'a str) -> impl Iterator<Item = usize> + 'a {
    super::whole_words(masked, name).filter(move |at| masked[at + name.len()..].starts_with('!'))
}

/// Spawned tasks whose handle is dropped where it is made, as far as text shows it: `spawn(…);` as a statement,
/// `let _… = spawn(…)`, `drop(spawn(…))`.
fn detached(masked: &str) -> Vec<(usize, String)> {
    const SPAWNS: [&str; 7] = [
        "tokio::spawn",
        "tokio::task::spawn",
        "task::spawn",
        "tokio::task::spawn_blocking",
        "task::spawn_blocking",
        "std::thread::spawn",
        "thread::spawn",
    ];
    let mut found = Vec::new();
    for name in SPAWNS {
        for at in super::whole_words(masked, name) {
            let before = masked[..at].trim_end();
            let open = at + name.len();
            // A longer path with the same end is another entry's.
            if before.ends_with("::") || !masked[open..].starts_with('(') {
                continue;
            }
            let after = masked[closing(masked, open)..].trim_start();
            let statement = before.is_empty() || before.ends_with([';', '{', '}']);
            if (statement && after.starts_with(';')) || before.ends_with("drop(") || bound_to_nothing(before)
            {
                found.push((at, format!("the handle of {name} is dropped")));
            }
        }
    }
    found
}

/// Whether the text ends in `let _… =`.
fn bound_to_nothing(before: &str) -> bool {
    let Some(rest) = before.strip_suffix('=') else { return false };
    let rest = rest.trim_end();
    let name = rest.rsplit(char::is_whitespace).next().unwrap_or_default();
    name.starts_with('_') && rest.strip_suffix(name).is_some_and(|start| start.trim_end().ends_with("let"))
}

fn without_bound(masked: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for name in ["unbounded_channel", "unbounded"] {
        for at in super::whole_words(masked, name) {
            let rest = masked[at + name.len()..].trim_start();
            if rest.starts_with('(') || rest.starts_with("::<") {
                found.push((at, name.to_owned()));
            }
        }
    }
    // The standard library's: `channel()` takes no bound, where tokio's takes one. `sync_channel` has one.
    for at in super::whole_words(masked, "channel") {
        let rest = &masked[at + "channel".len()..];
        let called = match rest.strip_prefix("::<") {
            Some(generic) => {
                generic.split_once(">(").is_some_and(|(_, rest)| rest.trim_start().starts_with(')'))
            }
            None => rest.strip_prefix('(').is_some_and(|rest| rest.trim_start().starts_with(')')),
        };
        if called && masked[..at].ends_with("mpsc::") {
            found.push((at, "std::sync::mpsc::channel".to_owned()));
        }
    }
    found
}

/// Waits for real time. Tokio's sleep is fine where the test pauses the clock, which is seen per file only, and as
/// a deadline, which isn't awaited where it is made.
fn sleeps(masked: &str) -> Vec<(usize, &'static str)> {
    let paused = ["start_paused", "time::pause("].iter().any(|sign| masked.contains(sign));
    let mut found: Vec<(usize, &str)> =
        masked.match_indices("thread::sleep(").map(|(at, _)| (at, "thread::sleep")).collect();
    if !paused {
        const SLEEP: &str = "time::sleep(";
        let awaited =
            |at: usize| masked[closing(masked, at + SLEEP.len() - 1)..].trim_start().starts_with(".await");
        let waits = masked.match_indices(SLEEP).map(|(at, _)| at).filter(|at| awaited(*at));
        found.extend(waits.map(|at| (at, "tokio::time::sleep")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        check(Path::new(path), &Code::new(text), &mut found);
        found.iter().map(ToString::to_string).collect()
    }

    #[track_caller]
    fn bad(path: &str, text: &str, line: usize, rule: &str) {
        let found = findings(path, text);
        let [one] = found.as_slice() else { panic!("{text}: {found:?}") };
        assert!(one.starts_with(&format!("{path}:{line}: ")) && one.ends_with(&format!("[{rule}]")), "{one}");
    }

    #[track_caller]
    fn good(path: &str, text: &str) {
        assert_eq!(findings(path, text), Vec::<String>::new(), "{text}");
    }

    #[test]
    fn long_files_are_found() {
        good("a.rs", &"x\n".repeat(500));
        assert!(findings("a.rs", &"x\n".repeat(501))[0].contains("501 lines"));
    }

    #[test]
    fn ignored_tests_are_found() {
        bad("a.rs", "#[test]\n#[ignore]\nfn a() {}", 2, "ignored");
        bad("a.rs", "#[test]\n#[ignore = \"slow\"]\nfn a() {}", 2, "ignored");
        good("a.rs", "// #[ignore]\n");
    }

    #[test]
    fn unfinished_code_is_found() {
        bad("a.rs", "fn a() { todo!() }", 1, "unfinished");
        bad("a.rs", "fn a() { unimplemented!(\"x\") }", 1, "unfinished");
        good("a.rs", "fn a() { \"todo!()\"; my_todo!(); }");
    }

    #[test]
    fn dropped_handles_are_found() {
        bad("a.rs", "fn a() {\n    tokio::spawn(async { (b)() });\n}", 2, "detached");
        bad("a.rs", "fn a() {\n    b();\n    tokio::spawn(c);\n}", 3, "detached");
        bad("a.rs", "fn a() { let _ = tokio::spawn(b); }", 1, "detached");
        bad("a.rs", "fn a() { let _task = tokio::task::spawn(b); }", 1, "detached");
        bad("a.rs", "fn a() { drop(tokio::spawn(b)); }", 1, "detached");
        bad("a.rs", "fn a() { std::thread::spawn(|| b()); }", 1, "detached");
    }

    #[test]
    fn kept_handles_are_not() {
        good("a.rs", "fn a() { let task = tokio::spawn(b); }");
        good("a.rs", "fn a() -> JoinHandle<()> {\n    tokio::spawn(b)\n}");
        good("a.rs", "fn a() {\n    tokio::spawn(b).await;\n}");
        good("a.rs", "fn a() {\n    keep(\n        tokio::spawn(b),\n    );\n}");
        good("a.rs", "fn a() { tasks.spawn(b); }");
        good("a.rs", "// tidy: allow(detached): ends with the process, and may\nfn a() { tokio::spawn(b); }");
        good("a.rs", "#[cfg(test)]\nmod tests {\n fn a() { tokio::spawn(b); }\n}");
        good("e2e/tests/a.rs", "fn a() { tokio::spawn(b); }");
    }

    #[test]
    fn unbounded_channels_are_found() {
        bad("a.rs", "fn a() { mpsc::unbounded_channel::<u8>() }", 1, "unbounded");
        bad("a.rs", "fn a() { futures::channel::mpsc::unbounded() }", 1, "unbounded");
        bad("a.rs", "fn a() { std::sync::mpsc::channel() }", 1, "unbounded");
        bad("a.rs", "fn a() { mpsc::channel::<Vec<u8>>() }", 1, "unbounded");
        good("a.rs", "fn a() { mpsc::channel(8); mpsc::channel::<u8>(8); mpsc::sync_channel(8); }");
        good("a.rs", "// the default is unbounded (bad)\nfn a() { s.unbounded }");
    }

    #[test]
    fn tests_that_wait_for_time_are_found() {
        let test = |body: &str| format!("#[cfg(test)]\nmod tests {{\n{body}\n}}\n");
        bad("a.rs", &test("fn a() { std::thread::sleep(b); }"), 3, "sleep");
        bad("a.rs", &test("async fn a() { tokio::time::sleep(b).await; }"), 3, "sleep");
        bad("x/tests/a.rs", "fn a() { thread::sleep(b); }", 1, "sleep");
        good(
            "a.rs",
            &test("#[tokio::test(start_paused = true)]\nasync fn a() { tokio::time::sleep(b).await; }"),
        );
        good("a.rs", "async fn a() { tokio::time::sleep(b).await; }");
        good("a.rs", &test("async fn a() { let deadline = tokio::time::sleep(b(c)).fuse(); }"));
        good("e2e/tests/a.rs", "fn a() { thread::sleep(b); }");
        good("services/store/tests/cassandra/a.rs", "fn a() { thread::sleep(b); }");
    }
}
