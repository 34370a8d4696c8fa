//! Counts tests by the lines that `cargo test` closes each binary with.

use crate::report::{Counts, Verdict};

/// The sum over all `test result:` lines of `output`.
pub(super) fn count(output: &str) -> Counts {
    let mut sum = Counts::default();
    for line in output.lines().filter_map(|line| line.trim().strip_prefix("test result: ")) {
        // "ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s"
        let Some((_, numbers)) = line.split_once(". ") else { continue };
        for item in numbers.split(';') {
            let mut words = item.split_whitespace();
            let (Some(Ok(number)), Some(what)) = (words.next().map(str::parse::<usize>), words.next()) else {
                continue;
            };
            match what {
                "passed" => sum.passed += number,
                "failed" => sum.failed += number,
                "ignored" => sum.ignored += number,
                _ => {}
            }
        }
    }
    sum
}

/// The names of the tests that failed, each once.
pub(super) fn failed(output: &str) -> Vec<&str> {
    let mut names: Vec<&str> =
        output.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED")).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// What the numbers say when the command itself succeeded.
pub(super) fn judge(tests: Counts) -> Verdict {
    if tests.failed > 0 {
        Verdict::Failed(format!("{} tests failed, though the command succeeded", tests.failed))
    } else if tests.ignored > 0 {
        Verdict::Failed(format!(
            "{} tests are ignored: mend or remove them; what must not run everywhere belongs into a part of its own",
            tests.ignored
        ))
    } else if tests.passed == 0 {
        Verdict::Failed("no test ran, so nothing was shown".to_owned())
    } else {
        Verdict::Passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
running 2 tests
test a ... ok
test b::c ... FAILED

test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

   Doc-tests stoker_domain
test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 1.50s
";

    #[test]
    fn all_binaries_are_summed() {
        assert_eq!(count(OUTPUT), Counts { passed: 5, failed: 1, ignored: 2 });
        assert_eq!(count("no such line"), Counts::default());
    }

    #[test]
    fn failed_tests_are_named() {
        assert_eq!(failed(OUTPUT), ["b::c"]);
    }

    #[test]
    fn failed_ignored_and_missing_tests_fail() {
        let counts = |passed, failed, ignored| Counts { passed, failed, ignored };
        assert_eq!(judge(counts(3, 0, 0)), Verdict::Passed);
        for bad in [counts(3, 1, 0), counts(3, 0, 1), counts(0, 0, 0)] {
            assert!(matches!(judge(bad), Verdict::Failed(_)), "{bad:?}");
        }
    }
}
