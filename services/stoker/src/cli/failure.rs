//! Why something was not done, in words that help to get it done.

use std::fmt::{self, Display};
use std::process::ExitCode;

use serde::Deserialize;

use super::table::plain;

/// Why a command line was not carried out.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was asked for wrongly: exit code 2.
    Use(String),
    /// It failed: exit code 1.
    Failed {
        /// What.
        what: String,
        /// What may help.
        hint: Option<String>,
        /// The name of the portal's problem, where it was the portal that refused.
        problem: Option<String>,
    },
    /// The reader of our output has gone, as `head` does: nothing to say.
    Deaf,
}

/// The parts of a problem (RFC 9457) that are shown.
#[derive(Debug, Deserialize)]
struct Problem {
    #[serde(default, rename = "type")]
    name: String,
    title: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    errors: Vec<Field>,
}

#[derive(Debug, Deserialize)]
struct Field {
    pointer: Option<String>,
    parameter: Option<String>,
    detail: String,
}

impl Field {
    /// What it is about, as a person writes it: `tags.2` for the pointer `/tags/2`.
    fn name(&self) -> String {
        let name = self.pointer.as_deref().or(self.parameter.as_deref()).unwrap_or_default();
        let segments = name.trim_start_matches('/').split('/');
        segments.map(|part| part.replace("~1", "/").replace("~0", "~")).collect::<Vec<_>>().join(".")
    }

    fn said(&self) -> String {
        let (name, detail) = (self.name(), &self.detail);
        let named = detail.starts_with(&format!("{name}:")) || detail.starts_with(&format!("{name} "));
        if name.is_empty() || named { detail.clone() } else { format!("{name}: {detail}") }
    }
}

impl Problem {
    fn said(&self) -> String {
        match self.errors.as_slice() {
            [] if self.detail.is_empty() => plain(&self.title),
            [] => plain(&self.detail),
            [field] if field.detail == self.detail => plain(&field.said()),
            fields => {
                let mut what = plain(&self.detail);
                for field in fields {
                    what.push_str("\n  ");
                    what.push_str(&plain(&field.said()));
                }
                what
            }
        }
    }
}

impl Failure {
    pub(crate) fn failed(what: impl Into<String>) -> Self {
        Self::Failed { what: what.into(), hint: None, problem: None }
    }

    pub(crate) fn with_hint(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Failed { what: what.into(), hint: Some(hint.into()), problem: None }
    }

    /// What an answer says that is no success. `body` is a problem, unless something between us and the portal
    /// answered.
    pub(crate) fn refused(status: u16, body: &str) -> Self {
        let Ok(problem) = serde_json::from_str::<Problem>(body) else {
            return Self::with_hint(
                format!("the server answered {status}, and not as a Stoker portal does"),
                "does --server name the portal, as http://127.0.0.1:8080 does?",
            );
        };
        let hint = match status {
            429 => Some("wait for some of them to end, or cancel them"),
            503 => Some("the platform may be starting or moving; try again in a moment"),
            _ => None,
        };
        let name = problem.name.strip_prefix("urn:stoker:problem:").map(ToOwned::to_owned);
        Self::Failed { what: problem.said(), hint: hint.map(ToOwned::to_owned), problem: name }
    }

    /// True when the portal answered, and refused this.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Failed { problem: Some(_), .. })
    }

    /// The same with a hint, if the portal refused it by that name and there is no hint yet.
    pub(crate) fn hint_when(mut self, name: &str, text: impl Into<String>) -> Self {
        if let Self::Failed { hint: hint @ None, problem: Some(problem), .. } = &mut self
            && problem == name
        {
            *hint = Some(text.into());
        }
        self
    }

    /// The same, naming what it is about where the portal refused it and did not.
    pub(crate) fn about(mut self, id: &str) -> Self {
        if let Self::Failed { what, problem: Some(_), .. } = &mut self
            && !what.contains(id)
        {
            *what = format!("{id}: {what}");
        }
        self
    }

    /// The same with what else may help.
    pub(crate) fn and_hint(mut self, text: String) -> Self {
        if let Self::Failed { hint, .. } = &mut self {
            *hint = Some(match hint.take() {
                Some(before) => format!("{before}\nhint: {text}"),
                None => text,
            });
        }
        self
    }

    /// Says it on standard error and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Self::Use(what) => {
                eprintln!("error: {what}\nhint: --help says more");
                ExitCode::from(2)
            }
            Self::Failed { .. } => {
                eprintln!("error: {self}");
                ExitCode::from(1)
            }
            Self::Deaf => ExitCode::SUCCESS,
        }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Use(what) => f.write_str(what),
            Self::Failed { what, hint: Some(hint), .. } => write!(f, "{what}\nhint: {hint}"),
            Self::Failed { what, hint: None, .. } => f.write_str(what),
            Self::Deaf => f.write_str("nobody reads standard output"),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, body: &str) -> (String, Option<String>) {
        match Failure::refused(status, body) {
            Failure::Failed { what, hint, .. } => (what, hint),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_refusal_names_the_field_as_a_person_writes_it() {
        for (pointer, detail, what) in [
            ("/id", "too long", "id: too long"),
            ("/match/devices/0", "bad", "match.devices.0: bad"),
            ("/shared/a~1b", "bad", "shared.a/b: bad"),
            ("/limit", "limit is 1 to 3", "limit is 1 to 3"),
            ("", "not JSON", "not JSON"),
        ] {
            let body = serde_json::json!({
                "type": "urn:stoker:problem:invalid_request", "title": "t", "status": 400, "detail": detail,
                "errors": [{"pointer": pointer, "detail": detail}]
            });
            assert_eq!(said(400, &body.to_string()), (what.to_owned(), None));
        }
    }

    #[test]
    fn a_hint_is_added_to_the_refusal_it_is_for_and_to_no_other() {
        let gone = r#"{"type":"urn:stoker:problem:not_found","title":"t","status":404,"detail":"gone"}"#;
        for (name, hint) in [("not_found", Some("look")), ("conflict", None)] {
            let Failure::Failed { hint: given, .. } = Failure::refused(404, gone).hint_when(name, "look")
            else {
                panic!()
            };
            assert_eq!(given.as_deref(), hint);
        }
    }

    #[test]
    fn an_answer_of_somebody_else_is_not_taken_for_a_portals() {
        let (what, hint) = said(502, "<html>Bad Gateway</html>");
        assert!(what.contains("502") && hint.unwrap().contains("--server"));
    }

    #[test]
    fn a_refusal_does_not_steer_the_terminal() {
        let (what, _) = said(400, r#"{"type":"x","title":"t","detail":"no \u001b[2J here"}"#);
        assert!(!what.contains('\u{1b}'), "{what:?}");
    }
}
