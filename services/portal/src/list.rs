//! Lists: how many at once, where to go on, and the shape of the answer.

use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

use crate::problem::Problem;

/// The greatest `limit`.
pub(crate) const MAX_LIMIT: u32 = 1_000;
const DEFAULT_LIMIT: u32 = 100;
/// The largest holds a time and two ids of 128 characters.
const LONGEST_CURSOR: usize = 1_024;

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct List<T> {
    /// The items.
    pub(crate) items: Vec<T>,
    /// Give this as `cursor` to get what follows; null at the end.
    #[schema(required = true)]
    pub(crate) next_cursor: Option<String>,
}

impl<T> List<T> {
    /// `at` is where the last item stands, and `more` whether something follows it.
    pub(crate) fn new<A: Serialize>(items: Vec<T>, more: bool, kind: &str, at: Option<A>) -> Self {
        let next_cursor = if more { at.and_then(|at| encode(kind, &at)) } else { None };
        Self { items, next_cursor }
    }
}

/// How many items at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit(pub(crate) u32);

impl Default for Limit {
    fn default() -> Self {
        Self(DEFAULT_LIMIT)
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(limit @ 1..=MAX_LIMIT) => Ok(Self(limit)),
            _ => Err(format!("limit is 1 to {MAX_LIMIT}, not {text:?}")),
        }
    }
}

fn encode<A: Serialize>(kind: &str, at: &A) -> Option<String> {
    serde_json::to_vec(&(kind, at)).ok().map(|json| URL_SAFE_NO_PAD.encode(json))
}

/// Where to go on: what [`List::new`] was given, for a cursor of the same kind of list.
pub(crate) fn position<A: DeserializeOwned>(cursor: Option<&str>, kind: &str) -> Result<Option<A>, Problem> {
    let Some(cursor) = cursor else { return Ok(None) };
    let decoded = (cursor.len() <= LONGEST_CURSOR).then(|| URL_SAFE_NO_PAD.decode(cursor).ok()).flatten();
    let parsed: Option<(String, A)> = decoded.and_then(|json| serde_json::from_slice(&json).ok());
    match parsed {
        Some((of, at)) if of == kind => Ok(Some(at)),
        _ => {
            let detail = "this cursor was not given out with this list; start without one";
            Err(Problem::invalid(detail).about_parameter("cursor"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_only_to_the_list_that_gave_it_out() {
        let list = List::new(vec![1], true, "points", Some((7_i64, "t_supply")));
        let cursor = list.next_cursor.unwrap();
        assert!(cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{cursor}");
        let at: Option<(i64, String)> = position(Some(&cursor), "points").unwrap();
        assert_eq!(at, Some((7, "t_supply".to_owned())));
        assert!(position::<(i64, String)>(Some(&cursor), "events").is_err());
        assert!(position::<String>(Some("nonsense"), "points").is_err());
        assert!(position::<String>(Some(&"A".repeat(100_000)), "points").is_err());
    }

    #[test]
    fn the_last_page_has_no_cursor() {
        assert_eq!(List::new(vec![1], false, "points", Some(1)).next_cursor, None);
    }

    #[test]
    fn a_limit_out_of_range_is_refused_with_the_range() {
        assert_eq!("1000".parse(), Ok(Limit(1_000)));
        for text in ["0", "1001", "-1", "ten", "", "99999999999"] {
            assert!(text.parse::<Limit>().unwrap_err().contains("1 to 1000"), "{text}");
        }
    }
}
