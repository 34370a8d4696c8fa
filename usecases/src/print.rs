//! Stories and their summary as text.

use std::fmt::Write as _;

use crate::coverage::Coverage;
use crate::model::{Case, Phase, Story};

/// Whether a terminal shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// Plain text.
    None,
    /// With colours.
    Terminal,
}

impl Paint {
    pub(crate) fn red(self, text: &str) -> String {
        self.with("31", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.with("32", text)
    }

    fn with(self, colour: &str, text: &str) -> String {
        match self {
            Self::None => text.to_owned(),
            Self::Terminal => format!("\u{1b}[{colour}m{text}\u{1b}[0m"),
        }
    }
}

/// The word that begins the line of each step of a case: `And` where the phase goes on.
pub(crate) fn openings(case: &Case) -> Vec<String> {
    let mut before: Option<Phase> = None;
    let of = |(phase, _)| {
        let word = if before.replace(phase) == Some(phase) { "And".to_owned() } else { phase.to_string() };
        format!("{word:5}")
    };
    case.steps().map(of).collect()
}

/// Stories in whole sentences.
#[must_use]
pub fn story(stories: &[&Story]) -> String {
    let mut text = String::new();
    for story in stories {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{} ({})", story.name, story.id);
        for line in story.text.trim().lines() {
            let _ = writeln!(text, "  {}", line.trim());
        }
        for case in &story.cases {
            let _ = writeln!(text, "\n  {}", case.name);
            for (opening, (_, step)) in openings(case).iter().zip(case.steps()) {
                let _ = writeln!(text, "    {opening} {step}");
            }
        }
        text.push('\n');
    }
    text
}

/// How many cases there are, and what they touch and do not.
#[must_use]
pub fn summary(stories: &[Story], coverage: &Coverage, paint: Paint) -> String {
    let mut text = String::new();
    let width = stories.iter().map(|story| story.id.len()).max().unwrap_or_default();
    for story in stories {
        let touched = coverage.items.iter().filter(|(_, by)| by.contains(&story.id)).count();
        let cases = story.cases.len();
        let _ = writeln!(text, "{:width$}  {cases:3} cases  touches {touched:3}  {}", story.id, story.name);
    }
    let cases: usize = stories.iter().map(|story| story.cases.len()).sum();
    let _ = writeln!(text, "\n{cases} cases in {} stories", stories.len());
    for (family, touched, all) in coverage.counts() {
        let line = format!("{family:12} {touched:3} of {all:3} touched");
        let _ = writeln!(text, "{}", if touched == all { line } else { paint.red(&line) });
    }
    for item in coverage.untouched() {
        let _ = writeln!(text, "{}", paint.red(&format!("UNTOUCHED: {item} ({})", item.family())));
    }
    for missing in &coverage.missing {
        let line = format!(
            "NO SUCH ROUTE: {}, of the case {:?} of {}",
            missing.request, missing.case, missing.story
        );
        let _ = writeln!(text, "{}", paint.red(&line));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{read, read_all, shipped};
    use crate::surface::{Item, Route, Surface};

    #[test]
    fn a_case_reads_as_given_when_then() {
        let told = r#"
story: Report
text: An owner wants to see what a boiler measures.
cases:
  - case: a reading is stored before it is acknowledged
    given:
      - device: boiler
      - connects: boiler
        version: 4
    when:
      - publishes: boiler
        topic: v1/devices/me/telemetry
        payload: {t_supply: 71.2}
    then:
      - get: /devices/{boiler}/telemetry/latest
        gives: {t_supply: {value: 71.2}}
"#;
        let read = read("report.yaml", told).unwrap();
        let expected = r#"Report (report)
  An owner wants to see what a boiler measures.

  a reading is stored before it is acknowledged
    Given a device boiler
    And   boiler connects by MQTT 3.1.1
    When  boiler publishes {"t_supply":71.2} to v1/devices/me/telemetry, which is acknowledged
    Then  GET /devices/{boiler}/telemetry/latest gives {t_supply: {value: 71.2}}

"#;
        assert_eq!(story(&[&read]), expected);
    }

    #[test]
    fn what_is_untouched_is_red() {
        let mut surface = Surface::derive().unwrap();
        let route = Route { method: "PUT".to_owned(), path: "/devices/{id}/name".to_owned() };
        surface.items.push(Item::Route(route));
        let stories = read_all(&shipped()).unwrap();
        let coverage = Coverage::of(&surface, &stories);
        let text = summary(&stories, &coverage, Paint::Terminal);
        assert!(text.contains("\u{1b}[31mUNTOUCHED: PUT /devices/{id}/name (routes)\u{1b}[0m"), "{text}");
        assert!(
            summary(&stories, &coverage, Paint::None)
                .contains("\nUNTOUCHED: PUT /devices/{id}/name (routes)\n")
        );
    }
}
