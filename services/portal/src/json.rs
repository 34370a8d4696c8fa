//! JSON that passes through: parameters, replies, attribute values. It leaves as it came, less the blanks.

use std::str::FromStr;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use stoker_proto::core::v1 as wire;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use wire::value::Kind;

use crate::core::unreadable;
use crate::problem::Problem;

/// The deepest nesting that the platform takes.
const DEEPEST: usize = 16;

/// A value of a point or an attribute.
#[derive(Debug)]
pub(crate) enum Value {
    Boolean(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    Json(Box<RawValue>),
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Boolean(value) => serializer.serialize_bool(*value),
            Self::Integer(value) => serializer.serialize_i64(*value),
            Self::Number(value) => serializer.serialize_f64(*value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::Json(value) => value.serialize(serializer),
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Number(value) => write!(f, "{value}"),
            Self::Text(value) => f.write_str(value),
            Self::Json(value) => f.write_str(value.get()),
        }
    }
}

impl PartialSchema for Value {
    fn schema() -> RefOr<Schema> {
        <serde_json::Value as PartialSchema>::schema()
    }
}

impl ToSchema for Value {}

impl Value {
    pub(crate) fn from_wire(value: Option<wire::Value>) -> Result<Self, Problem> {
        match value.and_then(|value| value.kind) {
            Some(Kind::Boolean(value)) => Ok(Self::Boolean(value)),
            Some(Kind::Integer(value)) => Ok(Self::Integer(value)),
            Some(Kind::Number(value)) => Ok(Self::Number(value)),
            Some(Kind::Text(value)) => Ok(Self::Text(value)),
            Some(Kind::Json(text)) => raw(text).map(Self::Json),
            None => Err(unreadable("a value of no known kind")),
        }
    }
}

/// JSON text of core's as a part of an answer.
pub(crate) fn raw(text: String) -> Result<Box<RawValue>, Problem> {
    RawValue::from_string(text).map_err(unreadable)
}

/// A value for an attribute; none for null, which removes it.
pub(crate) fn to_wire(json: &RawValue) -> Result<Option<wire::Value>, String> {
    let text = json.get();
    let kind = match text.as_bytes().first() {
        Some(b'n') => return Ok(None),
        Some(b't') => Kind::Boolean(true),
        Some(b'f') => Kind::Boolean(false),
        Some(b'"') => Kind::Text(serde_json::from_str(text).map_err(|error| error.to_string())?),
        Some(b'{' | b'[') => Kind::Json(compact(json)?),
        _ => match (i64::from_str(text), f64::from_str(text)) {
            (Ok(value), _) => Kind::Integer(value),
            (_, Ok(value)) if value.is_finite() => Kind::Number(value),
            _ => return Err("this number is out of range".to_owned()),
        },
    };
    Ok(Some(wire::Value { kind: Some(kind) }))
}

/// The same JSON without the blanks between its parts; every number and text stays letter by letter.
pub(crate) fn compact(json: &RawValue) -> Result<String, String> {
    let text = json.get();
    let mut compact = String::with_capacity(text.len());
    let (mut in_text, mut escaped, mut depth) = (false, false, 0_usize);
    for c in text.chars() {
        if in_text {
            in_text = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else {
            match c {
                ' ' | '\t' | '\n' | '\r' => continue,
                '"' => in_text = true,
                '{' | '[' => {
                    depth += 1;
                    if depth > DEEPEST {
                        return Err(format!("JSON is nested at most {DEEPEST} deep"));
                    }
                }
                '}' | ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        compact.push(c);
    }
    Ok(compact)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn compact_json_keeps_numbers_and_texts_letter_by_letter() {
        let text = "{ \"a b\" : [ 1.50 , \"x \\\" ] y\\\\\" ,\n null ] , \"é\" : 1e3 }";
        assert_eq!(compact(&json(text)).unwrap(), "{\"a b\":[1.50,\"x \\\" ] y\\\\\",null],\"é\":1e3}");
    }

    #[test]
    fn json_deeper_than_the_limit_is_refused() {
        let deep = |n: usize| json(&format!("{}{}", "[".repeat(n), "]".repeat(n)));
        assert!(compact(&deep(16)).is_ok());
        assert!(compact(&deep(17)).unwrap_err().contains("16"));
        assert!(compact(&json("\"[[[[[[[[[[[[[[[[[[[[[[\"")).is_ok(), "brackets within a text nest nothing");
    }

    #[test]
    fn integers_stay_integers_and_floats_stay_floats() {
        for (text, kind) in [
            ("7", Kind::Integer(7)),
            ("-7", Kind::Integer(-7)),
            ("9223372036854775807", Kind::Integer(i64::MAX)),
            ("7.0", Kind::Number(7.0)),
            ("71.2", Kind::Number(71.2)),
            ("true", Kind::Boolean(true)),
            ("\"x\\n\"", Kind::Text("x\n".to_owned())),
            ("[1, 2]", Kind::Json("[1,2]".to_owned())),
        ] {
            let value = to_wire(&json(text)).unwrap().unwrap();
            assert_eq!(value.kind, Some(kind.clone()), "{text}");
            let back = serde_json::to_string(&Value::from_wire(Some(value)).unwrap()).unwrap();
            assert_eq!(back, text.replace(", ", ","), "{text}");
        }
        assert_eq!(to_wire(&json("null")).unwrap(), None);
        assert!(to_wire(&json("1e999")).is_err());
    }
}
