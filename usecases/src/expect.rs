//! Whether what was observed is as expected, and where not.
//!
//! An object expects its members and allows others; an array expects as many items as it has, each in its place; all
//! else is equal or not. An object of one member that begins with `$` says more: see [`Matcher`].

use std::fmt;

use serde_json::Value;

/// One place at which the observed is not as expected.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// A JSON pointer.
    pub at: String,
    /// What was to be there, in words or as JSON.
    pub expected: String,
    /// What was there; none when nothing was.
    pub observed: Option<Value>,
}

/// As much of one value as a line shows.
const SHOWN: usize = 300;

/// A value on one line, cut where it is long.
pub(crate) fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = if self.at.is_empty() { "all of it" } else { &self.at };
        writeln!(f, "expected {at}: {}", self.expected)?;
        match &self.observed {
            Some(value) => write!(f, "observed {at}: {}", shown(value)),
            None => write!(f, "observed {at}: nothing"),
        }
    }
}

/// What can be expected beside values themselves.
enum Matcher<'a> {
    /// `$present`: something but null is there, or nothing but null.
    Present(bool),
    /// `$like`: a text with `*` for any run of characters.
    Like(&'a str),
    /// `$contains`: an array that has an item like each of these, among others.
    Contains(&'a [Value]),
    /// `$at_least`: a number.
    AtLeast(f64),
    /// `$one_of`: like any of these.
    OneOf(&'a [Value]),
}

/// The matcher that this is, if it is one.
fn matcher(expected: &Value) -> Result<Option<Matcher<'_>>, String> {
    let Some((key, value)) = expected.as_object().and_then(|object| object.iter().next()) else {
        return Ok(None);
    };
    let alone = expected.as_object().is_some_and(|object| object.len() == 1);
    if !key.starts_with('$') {
        return Ok(None);
    }
    let found = match key.as_str() {
        "$present" => value.as_bool().map(Matcher::Present),
        "$like" => value.as_str().map(Matcher::Like),
        "$contains" => value.as_array().map(|items| Matcher::Contains(items)),
        "$at_least" => value.as_f64().map(Matcher::AtLeast),
        "$one_of" => value.as_array().map(|items| Matcher::OneOf(items)),
        _ => {
            let known = "$present, $like, $contains, $at_least or $one_of";
            return Err(format!("{key} is no matcher; it is {known}"));
        }
    };
    match found {
        Some(matcher) if alone => Ok(Some(matcher)),
        Some(_) => Err(format!("beside {key} nothing else can stand")),
        None => Err(format!("{key} does not take {value}")),
    }
}

/// Whether an expectation can be understood.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(expected: &Value) -> Result<(), String> {
    matcher(expected)?;
    match expected {
        Value::Array(items) => items.iter().try_for_each(check),
        Value::Object(members) => members.values().try_for_each(check),
        _ => Ok(()),
    }
}

/// Every place at which the observed is not as expected; empty when it is.
#[must_use]
pub fn differences(expected: &Value, observed: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(expected, Some(observed), "", &mut found);
    found
}

fn compare(expected: &Value, observed: Option<&Value>, at: &str, found: &mut Vec<Difference>) {
    let mut differs = |expected: String| {
        found.push(Difference { at: at.to_owned(), expected, observed: observed.cloned() });
    };
    match matcher(expected) {
        Err(what) => return differs(what),
        Ok(Some(matcher)) => {
            if let Some(expected) = unmet(&matcher, observed) {
                differs(expected);
            }
            return;
        }
        Ok(None) => {}
    }
    match (expected, observed) {
        (Value::Object(members), Some(Value::Object(there))) => {
            for (key, value) in members {
                let at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                compare(value, there.get(key), &at, found);
            }
        }
        (Value::Array(items), Some(Value::Array(there))) => {
            if items.len() != there.len() {
                return differs(format!("{} items: {}", items.len(), shown(expected)));
            }
            for (index, (item, there)) in items.iter().zip(there).enumerate() {
                compare(item, Some(there), &format!("{at}/{index}"), found);
            }
        }
        (Value::Number(one), Some(Value::Number(other))) if one.as_f64() == other.as_f64() => {}
        (one, Some(other)) if one == other => {}
        _ => differs(shown(expected)),
    }
}

/// What is expected, if it is not so.
fn unmet(matcher: &Matcher<'_>, observed: Option<&Value>) -> Option<String> {
    let fits = |expected: &Value, observed: &Value| differences(expected, observed).is_empty();
    match matcher {
        Matcher::Present(there) => {
            let is = observed.is_some_and(|value| !value.is_null());
            (is != *there).then(|| if *there { "something" } else { "nothing" }.to_owned())
        }
        Matcher::Like(pattern) => {
            let is = observed.and_then(Value::as_str).is_some_and(|text| like(pattern, text));
            (!is).then(|| format!("a text like {pattern:?}"))
        }
        Matcher::Contains(wanted) => {
            let items = observed.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let missing = wanted.iter().find(|wanted| !items.iter().any(|item| fits(wanted, item)));
            missing.map(|missing| format!("among others {}", shown(missing)))
        }
        Matcher::AtLeast(least) => {
            let is = observed.and_then(Value::as_f64).is_some_and(|number| number >= *least);
            (!is).then(|| format!("{least} or more"))
        }
        Matcher::OneOf(any) => {
            let is = observed.is_some_and(|observed| any.iter().any(|one| fits(one, observed)));
            (!is).then(|| format!("one of {}", shown(&Value::from(any.to_vec()))))
        }
    }
}

/// Whether a text is like a pattern in which `*` stands for any run of characters.
pub(crate) fn like(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fits(expected: &Value, observed: &Value) -> bool {
        differences(expected, observed).is_empty()
    }

    #[test]
    fn objects_allow_more_and_arrays_do_not() {
        assert!(fits(&json!({"a": 1}), &json!({"a": 1.0, "b": 2})));
        assert!(!fits(&json!({"a": 1}), &json!({"b": 1})));
        assert!(fits(&json!([{"a": 1}, 2]), &json!([{"a": 1, "b": 2}, 2])));
        assert!(!fits(&json!([1]), &json!([1, 2])));
        assert!(!fits(&json!("1"), &json!(1)));
        assert!(fits(&json!({"a": null}), &json!({"a": null})));
    }

    #[test]
    fn matchers_say_more() {
        for (expected, good, bad) in [
            (json!({"$present": true}), json!(0), json!(null)),
            (json!({"$present": false}), json!(null), json!("x")),
            (json!({"$like": "stk_*"}), json!("stk_1"), json!("st")),
            (json!({"$contains": [{"a": 1}]}), json!([2, {"a": 1, "b": 1}]), json!([{"a": 2}])),
            (json!({"$at_least": 2}), json!(2), json!(1.9)),
            (json!({"$one_of": ["a", {"$like": "b*"}]}), json!("bb"), json!("c")),
        ] {
            assert!(fits(&expected, &good) && !fits(&expected, &bad), "{expected}");
            check(&expected).unwrap();
        }
        assert!(fits(&json!({"a": {"$present": false}}), &json!({})));
        for bad in [json!({"$lik": "a"}), json!({"$like": 1}), json!([{"a": {"$like": "a", "b": 1}}])] {
            check(&bad).unwrap_err();
        }
    }

    #[test]
    fn stars_stand_for_any_run() {
        for (pattern, good, bad) in [
            ("a*c", "abbc", "abb"),
            ("*", "", "-"),
            ("a*b*c", "axbxbc", "acb"),
            ("ab", "ab", "abc"),
            ("aa*aa", "aaaa", "aaa"),
        ] {
            assert!(like(pattern, good), "{pattern}");
            assert!(pattern == "*" || !like(pattern, bad), "{pattern} {bad}");
        }
    }

    #[test]
    fn a_difference_says_where_and_what() {
        let found = differences(&json!({"items": [{"count": 1}]}), &json!({"items": [{"count": 2}]}));
        assert_eq!(found[0].to_string(), "expected /items/0/count: 1\nobserved /items/0/count: 2");
        let found = differences(&json!({"a/b": 1}), &json!({}));
        assert_eq!(found[0].to_string(), "expected /a~1b: 1\nobserved /a~1b: nothing");
    }
}
