//! What handlers take from a request. Every refusal names what it is about.

use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::request::Parts;
use http::{HeaderMap, header};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_path_to_error::{Path as ErrorPath, Segment};
use stoker_domain::IdError;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::problem::Problem;

/// The largest body but an import's. A command's parameters end at 32 KiB and a device's attributes are a few hundred
/// short values, so this is far beyond what any of them needs.
pub(crate) const BODY_LIMIT: usize = 1024 * 1024;
/// How long a body may take. A mebibyte in that time is a slow telephone line.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The query. Unknown, repeated and malformed parameters are refused by name.
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parse_query(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

fn parse_query<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs)).map_err(|error| {
        let detail = error.inner().to_string();
        let name = error.path().iter().find_map(|segment| match segment {
            Segment::Map { key } => Some(key.clone()),
            _ => None,
        });
        match name.or_else(|| quoted(&detail)) {
            Some(name) => Problem::invalid(format!("{name}: {detail}")).about_parameter(name),
            None => Problem::invalid(detail),
        }
    })
}

/// The id in the path. A malformed one of the user's is refused, a malformed one of ours is not found.
pub(crate) struct Id<T>(pub(crate) T);

impl<S: Send + Sync, T: FromStr<Err = IdError>> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::invalid("the path is not UTF-8").about_parameter("id"))?;
        match text.parse() {
            Ok(id) => Ok(Self(id)),
            Err(IdError::Foreign(_)) => Err(Problem::not_found("nothing has this id")),
            Err(error) => Err(Problem::invalid(error.to_string()).about_parameter("id")),
        }
    }
}

/// A JSON body. Unknown fields are refused by pointer.
pub(crate) struct Json<T>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::unsupported_media_type("application/json"));
        }
        let body = read(request).await?;
        parse_json(&body).map(Self)
    }
}

/// A JSON body that may be left out.
pub(crate) struct MaybeJson<T>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned + Default> FromRequest<S> for MaybeJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let json = is_json(request.headers());
        let body = read(request).await?;
        // Where a body may be left out, null says the same.
        match (body.is_empty() || body.trim_ascii() == b"null", json) {
            (true, _) => Ok(Self(T::default())),
            (false, true) => parse_json(&body).map(Self),
            (false, false) => Err(Problem::unsupported_media_type("application/json")),
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    // RFC 7396 has a type of its own for what PATCH takes here.
    ["application/json", "application/merge-patch+json"].iter().any(|json| essence.eq_ignore_ascii_case(json))
}

/// The whole body, in bounded space and time.
pub(crate) async fn read(request: Request) -> Result<Bytes, Problem> {
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<usize>().ok());
    if announced.is_some_and(|length| length > BODY_LIMIT) {
        return Err(Problem::payload_too_large(BODY_LIMIT));
    }
    tokio::time::timeout(BODY_TIMEOUT, collect(request.into_body()))
        .await
        .unwrap_or_else(|_| Err(Problem::request_timeout()))
}

async fn collect(body: Body) -> Result<Bytes, Problem> {
    let mut stream = body.into_data_stream();
    let mut all = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| Problem::invalid("the body ended too early"))?;
        if all.len() + chunk.len() > BODY_LIMIT {
            return Err(Problem::payload_too_large(BODY_LIMIT));
        }
        all.extend_from_slice(&chunk);
    }
    Ok(all.freeze())
}

/// Parses one JSON object.
pub(crate) fn parse_json<T: DeserializeOwned>(text: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let Object(parsed) = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let message = error.inner().to_string();
        if !error.inner().is_data() {
            return Problem::invalid(format!("the body is not JSON: {message}"));
        }
        // Where it stands in the text is said better by the pointer.
        let detail = message.rsplit_once(" at line ").map_or(message.as_str(), |(detail, _)| detail);
        let mut pointer = pointer(error.path());
        if let Some(field) = detail.strip_prefix("missing field ").and_then(quoted) {
            pointer.push('/');
            pointer.push_str(&field);
        }
        Problem::invalid(detail).pointing_at(pointer)
    })?;
    let trailing = |error: serde_json::Error| Problem::invalid(format!("the body is not JSON: {error}"));
    deserializer.end().map_err(trailing)?;
    Ok(parsed)
}

/// What stands between the first two backticks: how serde names fields.
fn quoted(message: &str) -> Option<String> {
    let (_, rest) = message.split_once('`')?;
    let (name, _) = rest.split_once('`')?;
    Some(name.to_owned())
}

fn pointer(path: &ErrorPath) -> String {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => {
                pointer.push('/');
                pointer.push_str(&index.to_string());
            }
            Segment::Map { key } => {
                pointer.push('/');
                pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
            }
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

/// A text that is checked by parsing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Parsed<T>(pub(crate) T);

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// A short text for people: 1 to 128 characters, none of them a control character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label(pub(crate) String);

impl FromStr for Label {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !(1..=128).contains(&text.chars().count()) {
            return Err("this text has 1 to 128 characters");
        }
        if text.chars().any(char::is_control) {
            return Err("this text has no control characters");
        }
        Ok(Self(text.to_owned()))
    }
}

/// A JSON object. Serde would take a list of the fields in order too, which nobody documented.
#[derive(Debug, Default)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnlyMaps<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OnlyMaps<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(OnlyMaps(PhantomData))
    }
}

impl PartialSchema for Label {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(r"^[^\x00-\x1f\x7f-\x9f]{1,128}$"))
            .description(Some("1 to 128 characters, none of them a control character."))
            .into()
    }
}

impl ToSchema for Label {}

/// A whole number. JSON knows no difference between `60` and `60.0`, and some clients write the latter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Whole(pub(crate) u32);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = Whole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number up to {}", u32::MAX)
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Whole, E> {
                let unexpected = serde::de::Unexpected::Unsigned(number);
                u32::try_from(number).map(Whole).map_err(|_| E::invalid_value(unexpected, &self))
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Whole, E> {
                if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number) {
                    // In range and without a fraction, so this loses nothing.
                    return Ok(Whole(number as u32));
                }
                Err(E::invalid_value(serde::de::Unexpected::Float(number), &self))
            }
        }

        deserializer.deserialize_u32(Number)
    }
}

/// For fields where null means something else than absence.
pub(crate) fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;
    use serde_json::{Value, json};

    use super::*;
    use crate::list::Limit;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[allow(dead_code)]
        name: String,
        #[serde(default)]
        #[allow(dead_code)]
        tags: Vec<Parsed<Label>>,
        #[serde(default, deserialize_with = "present")]
        data: Option<Box<RawValue>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Parameters {
        limit: Option<Parsed<Limit>>,
    }

    fn errors(problem: &Problem) -> Value {
        serde_json::to_value(problem).unwrap()["errors"].clone()
    }

    #[test]
    fn a_bad_field_is_named_by_its_pointer() {
        for (text, pointer) in [
            (r#"{"name":"a","nmae":1}"#, "/nmae"),
            (r#"{"name":1}"#, "/name"),
            (r#"{}"#, "/name"),
            (r#"{"name":"a","tags":["x",""]}"#, "/tags/1"),
            (r#"{"name":"a","tags":["x","\u0007"]}"#, "/tags/1"),
            (r#"{"name":"a","a/b~c":1}"#, "/a~1b~0c"),
            ("[\"a\"]", ""),
            ("null", ""),
        ] {
            let problem = parse_json::<Body>(text.as_bytes()).unwrap_err();
            assert_eq!(errors(&problem)[0]["pointer"], json!(pointer), "{text}: {problem:?}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused_as_such() {
        for text in ["", "{", "{\"name\":\"a\"} x", "nul"] {
            let problem = parse_json::<Body>(text.as_bytes()).unwrap_err();
            assert!(problem.detail().contains("not JSON"), "{text}: {problem:?}");
        }
    }

    #[test]
    fn embedded_json_stays_as_it_was_written() {
        let body: Body = parse_json(br#"{"name":"a","data":{"x":12345678901234567890.10}}"#).unwrap();
        assert_eq!(body.data.unwrap().get(), r#"{"x":12345678901234567890.10}"#);
        let body: Body = parse_json(br#"{"name":"a","data":null}"#).unwrap();
        assert_eq!(body.data.unwrap().get(), "null");
    }

    #[test]
    fn a_whole_number_may_be_written_with_a_fraction_of_zero() {
        #[derive(Debug, Deserialize)]
        struct Body {
            n: Whole,
        }
        for (text, number) in [
            ("60", Some(60)),
            ("60.0", Some(60)),
            ("6e1", Some(60)),
            ("60.5", None),
            ("-1", None),
            ("4294967296", None),
        ] {
            let parsed = parse_json::<Body>(format!("{{\"n\":{text}}}").as_bytes());
            assert_eq!(parsed.ok().map(|body| body.n.0), number, "{text}");
        }
    }

    #[test]
    fn a_bad_parameter_is_named() {
        for (query, name) in
            [("limit=0", "limit"), ("limti=5", "limti"), ("limit=1&limit=2", "limit"), ("limit=", "limit")]
        {
            let problem = parse_query::<Parameters>(query).unwrap_err();
            assert_eq!(errors(&problem)[0]["parameter"], json!(name), "{query}: {problem:?}");
        }
        assert_eq!(parse_query::<Parameters>("limit=7").unwrap().limit, Some(Parsed(Limit(7))));
    }
}
