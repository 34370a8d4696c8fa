//! Why something was not done, in words that help to get it done.

use std::fmt::Write;
use std::process::ExitCode;

use serde::Deserialize;

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
    },
    /// The reader of our output has gone, as `head` does: nothing to say.
    Deaf,
}

/// The parts of a problem (RFC 9457) that are shown.
#[derive(Debug, Deserialize)]
struct Problem {
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

impl Failure {
    pub(crate) fn failed(what: impl Into<String>) -> Self {
        Self::Failed { what: what.into(), hint: None }
    }

    pub(crate) fn with_hint(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Failed { what: what.into(), hint: Some(hint.into()) }
    }

    /// What an answer says that is no success. `body` is a problem, unless something between us and the portal
    /// answered.
    pub(crate) fn refused(status: u16, body: &str) -> Self {
        let Ok(problem) = serde_json::from_str::<Problem>(body) else {
            return Self::with_hint(
                format!("the server answered {status}, and not as a Stoker portal does"),
                "does --server name the portal?",
            );
        };
        let mut what = match problem.detail.is_empty() {
            true => problem.title,
            false => problem.detail.clone(),
        };
        for field in &problem.errors {
            let name = field.pointer.as_deref().or(field.parameter.as_deref()).unwrap_or_default();
            if field.detail == problem.detail {
                let _ = write!(what, " ({name})");
            } else {
                let _ = write!(what, "\n  {name}: {}", field.detail);
            }
        }
        let hint = match status {
            401 => {
                "the token comes from --token, STOKER_TOKEN or admin.token in the data directory of `stoker up`"
            }
            429 => "wait for some of them to end, or cancel them",
            503 => "the platform may be starting or moving; try again in a moment",
            _ => return Self::failed(what),
        };
        Self::with_hint(what, hint)
    }

    /// Says it on standard error and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Self::Use(what) => {
                eprintln!("error: {what}\nhint: --help says more");
                ExitCode::from(2)
            }
            Self::Failed { what, hint } => {
                eprintln!("error: {what}");
                if let Some(hint) = hint {
                    eprintln!("hint: {hint}");
                }
                ExitCode::from(1)
            }
            Self::Deaf => ExitCode::SUCCESS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, body: &str) -> (String, Option<String>) {
        match Failure::refused(status, body) {
            Failure::Failed { what, hint } => (what, hint),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_refusal_names_the_field() {
        let body = r#"{"type":"urn:stoker:problem:invalid_request","title":"t","status":400,"detail":"too long",
            "errors":[{"pointer":"/id","detail":"too long"}]}"#;
        assert_eq!(said(400, body), ("too long (/id)".to_owned(), None));
    }

    #[test]
    fn a_wrong_token_says_where_tokens_come_from() {
        let (_, hint) = said(401, r#"{"type":"x","title":"t","status":401,"detail":"d"}"#);
        assert!(hint.unwrap().contains("STOKER_TOKEN"));
    }

    #[test]
    fn an_answer_of_somebody_else_is_not_taken_for_a_portals() {
        let (what, hint) = said(502, "<html>Bad Gateway</html>");
        assert!(what.contains("502") && hint.unwrap().contains("--server"));
    }
}
