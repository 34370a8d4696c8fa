//! What came of a run, for people and for programs.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Outcome, Trouble, Verdict};
use crate::expect::shown;
use crate::model::{Case, Story};
use crate::print::{Paint, openings};

/// Differences of one step that are shown: the first ones tell what is wrong.
const SHOWN: usize = 8;

/// What came of a run.
#[derive(Debug)]
pub struct Report<'a> {
    /// The stories whose cases were tried.
    pub stories: &'a [Story],
    /// In the order in which they are told.
    pub outcomes: Vec<Outcome>,
    /// All of them together.
    pub took: Duration,
}

impl Report<'_> {
    /// Whether every case was tried, came true, and left nothing behind.
    #[must_use]
    pub fn holds(&self) -> bool {
        let held = |outcome: &Outcome| matches!(outcome.verdict, Verdict::Held) && outcome.left.is_empty();
        !self.outcomes.is_empty() && self.outcomes.iter().all(held)
    }

    /// For programs: of each case what it is called, its verdict (`held`, `broken`, `not_tried`), what there is to say of
    /// it, what it left behind, and how long it took in seconds.
    #[must_use]
    pub fn json(&self) -> Value {
        let told = |outcome: &Outcome| {
            let story = self.stories.get(outcome.story)?;
            let case = story.cases.get(outcome.case)?;
            let (verdict, said) = match &outcome.verdict {
                Verdict::Held => ("held", None),
                Verdict::NotTried(why) => ("not_tried", Some(why.clone())),
                Verdict::Broken { step, trouble } => ("broken", Some(explained(story, case, *step, trouble))),
            };
            Some(json!({
                "case": story.calls(case),
                "verdict": verdict,
                "said": said,
                "left": outcome.left,
                "took_s": outcome.took.as_secs_f64(),
            }))
        };
        let cases: Vec<Value> = self.outcomes.iter().filter_map(told).collect();
        json!({"cases": cases, "took_s": self.took.as_secs_f64(), "holds": self.holds()})
    }

    /// As text: a line for each case, and for each that did not come true how far it came.
    #[must_use]
    pub fn text(&self, paint: Paint) -> String {
        let mut text = String::new();
        for outcome in &self.outcomes {
            let Some(story) = self.stories.get(outcome.story) else { continue };
            let Some(case) = story.cases.get(outcome.case) else { continue };
            let name = story.calls(case);
            let seconds = outcome.took.as_secs_f64();
            // Writing to a string cannot fail.
            let _ = match &outcome.verdict {
                Verdict::Held => writeln!(text, "{} {name} ({seconds:.1} s)", paint.green("held     ")),
                Verdict::NotTried(why) => writeln!(text, "{} {name}: {why}", paint.red("not tried")),
                Verdict::Broken { step, trouble } => {
                    writeln!(text, "{} {name} ({seconds:.1} s)", paint.red("BROKEN   "))
                        .and_then(|()| text.write_str(&explained(story, case, *step, trouble)))
                }
            };
            for left in &outcome.left {
                let _ = writeln!(text, "{} {name}: {left}", paint.red("left     "));
            }
        }
        let count = |of: fn(&Verdict) -> bool| self.outcomes.iter().filter(|one| of(&one.verdict)).count();
        let _ = writeln!(
            text,
            "\n{} held, {} broken, {} not tried, in {:.1} s",
            count(|verdict| matches!(verdict, Verdict::Held)),
            count(|verdict| matches!(verdict, Verdict::Broken { .. })),
            count(|verdict| matches!(verdict, Verdict::NotTried(_))),
            self.took.as_secs_f64()
        );
        text
    }
}

/// The story, the case, how far it came, and what was observed in place of what was expected.
fn explained(story: &Story, case: &Case, broken: usize, trouble: &Trouble) -> String {
    let mut text = format!("  the story: {} ({}.yaml)\n  the case:  {}\n", story.name, story.id, case.name);
    for (index, (opening, (_, step))) in openings(case).iter().zip(case.steps()).enumerate() {
        let mark = match index.cmp(&broken) {
            std::cmp::Ordering::Less => "held   ",
            std::cmp::Ordering::Equal => "BROKEN ",
            std::cmp::Ordering::Greater => "       ",
        };
        let _ = writeln!(text, "    {mark} {opening} {step}");
        if index != broken {
            continue;
        }
        match trouble {
            Trouble::Differs { differences, observed } => {
                for difference in differences.iter().take(SHOWN) {
                    for line in difference.to_string().lines() {
                        let _ = writeln!(text, "                  {line}");
                    }
                }
                let left_out = differences.len().saturating_sub(SHOWN);
                if left_out > 0 {
                    let _ = writeln!(text, "                  and {left_out} differences more");
                }
                let _ = writeln!(text, "                  all of it: {}", shown(observed));
            }
            Trouble::Failed(error) => {
                let _ = writeln!(text, "                  {error:#}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::decode::read;
    use crate::expect::differences;

    const TOLD: &str = r#"
story: Fail
text: Somebody is to know.
cases:
  - case: a fault is an alarm
    when:
      - device: boiler
    then:
      - get: /alarms?device={boiler}
        gives: {items: [{count: 1}]}
      - get: /status
"#;

    #[test]
    fn a_broken_case_is_explained() {
        let stories = [read("fail.yaml", TOLD).unwrap()];
        let observed = json!({"items": [{"count": 2}]});
        let differences = differences(&json!({"items": [{"count": 1}]}), &observed);
        let verdict = Verdict::Broken { step: 1, trouble: Trouble::Differs { differences, observed } };
        let outcome = Outcome { story: 0, case: 0, verdict, left: Vec::new(), took: Duration::from_secs(1) };
        let report = Report { stories: &stories, outcomes: vec![outcome], took: Duration::from_secs(1) };
        assert!(!report.holds());
        let expected = r#"BROKEN    fail: a fault is an alarm (1.0 s)
  the story: Fail (fail.yaml)
  the case:  a fault is an alarm
    held    When  a device boiler
    BROKEN  Then  GET /alarms?device={boiler} gives {items: [{count: 1}]}
                  expected /items/0/count: 1
                  observed /items/0/count: 2
                  all of it: {"items":[{"count":2}]}
            And   GET /status

0 held, 1 broken, 0 not tried, in 1.0 s
"#;
        assert_eq!(report.text(Paint::None), expected);
        let json = report.json();
        assert_eq!(json["cases"][0]["case"], "fail: a fault is an alarm");
        assert_eq!((&json["cases"][0]["verdict"], &json["holds"]), (&json!("broken"), &json!(false)));
        assert!(json["cases"][0]["said"].as_str().unwrap().contains("expected /items/0/count: 1"), "{json}");
    }

    #[test]
    fn what_was_not_tried_or_leaves_something_does_not_hold() {
        let stories = [read("fail.yaml", TOLD).unwrap()];
        let of = |verdict, left: &[&str]| {
            let left = left.iter().map(|text| (*text).to_owned()).collect();
            let outcome = Outcome { story: 0, case: 0, verdict, left, took: Duration::ZERO };
            Report { stories: &stories, outcomes: vec![outcome], took: Duration::ZERO }
        };
        assert!(of(Verdict::Held, &[]).holds());
        assert!(!of(Verdict::Held, &["/devices/a: 503"]).holds());
        let stopped = of(Verdict::NotTried("the run was stopped".to_owned()), &[]);
        assert!(!stopped.holds());
        assert!(
            stopped.text(Paint::None).contains("not tried fail: a fault is an alarm: the run was stopped")
        );
        assert!(!Report { stories: &stories, outcomes: Vec::new(), took: Duration::ZERO }.holds());
    }
}
