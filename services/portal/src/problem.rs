//! Refusals as `application/problem+json` (RFC 9457).

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use stoker_proto::problem::ProblemKind;
use utoipa::ToSchema;

/// The media type of every refusal.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// What is wrong with one field or parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FieldError {
    /// Where in the body, as a JSON pointer (RFC 6901).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "/token")]
    pub(crate) pointer: Option<String>,
    /// Which parameter of the path or the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parameter: Option<String>,
    /// What is wrong with it, for a person.
    pub(crate) detail: String,
}

/// A refusal.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({
    "type": "urn:stoker:problem:invalid_request",
    "title": "The request is not of the documented form",
    "status": 400,
    "detail": "limit is 1 to 1000, not 5000",
    "errors": [{ "parameter": "limit", "detail": "limit is 1 to 1000, not 5000" }]
}))]
pub(crate) struct Problem {
    /// `urn:stoker:problem:NAME`; the name never changes its meaning.
    #[serde(rename = "type", serialize_with = "as_urn")]
    #[schema(value_type = String, pattern = "^urn:stoker:problem:[a-z_]+$")]
    name: &'static str,
    /// What kind of problem it is, always the same text for one type.
    title: &'static str,
    /// The HTTP status again.
    #[serde(serialize_with = "as_number")]
    #[schema(value_type = u16)]
    status: StatusCode,
    /// What happened this time, for a person.
    detail: String,
    /// The fields and parameters that are to blame, where there are some.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<FieldError>,
}

// Serde hands both by reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn as_urn<S: serde::Serializer>(name: &&'static str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("urn:stoker:problem:{name}"))
}

fn as_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Problem {
    fn new(name: &'static str, title: &'static str, status: StatusCode, detail: impl Into<String>) -> Self {
        Self { name, title, status, detail: detail.into(), errors: Vec::new() }
    }

    /// One of the refusals that core has too.
    pub(crate) fn of(kind: ProblemKind, detail: impl Into<String>) -> Self {
        use ProblemKind as K;
        let (status, title) = match kind {
            K::InvalidRequest => (StatusCode::BAD_REQUEST, "The request is not of the documented form"),
            K::NotFound => (StatusCode::NOT_FOUND, "There is no such thing"),
            K::AlreadyExists => (StatusCode::CONFLICT, "It exists already"),
            K::InvalidToken => (StatusCode::BAD_REQUEST, "This credential cannot be used"),
            K::CommandEnded => (StatusCode::CONFLICT, "The command has ended already"),
            K::TooManyTests => (StatusCode::TOO_MANY_REQUESTS, "Too many test messages"),
            K::TooManyOpenCommands => (StatusCode::TOO_MANY_REQUESTS, "Too many open commands"),
            // Waiting does not help against a limit on what is stored; removing something does.
            K::LimitReached => (StatusCode::CONFLICT, "A limit of the platform is reached"),
            K::Conflict => (StatusCode::CONFLICT, "Somebody else changed it at the same time"),
            // Said among cores only.
            K::Unavailable | K::NotOwner => {
                (StatusCode::SERVICE_UNAVAILABLE, "The platform cannot answer now")
            }
            K::Unauthenticated => (StatusCode::UNAUTHORIZED, "The credential is missing or wrong"),
            K::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "A fault of the platform"),
        };
        let problem = Self::new(kind.name(), title, status, detail);
        if kind == K::InvalidToken { problem.pointing_at("/token") } else { problem }
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::of(ProblemKind::InvalidRequest, detail)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::of(ProblemKind::NotFound, detail)
    }

    pub(crate) fn internal() -> Self {
        Self::of(ProblemKind::Internal, "something went wrong here; x-request-id finds it in the logs")
    }

    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        Self::of(ProblemKind::Unavailable, detail)
    }

    pub(crate) fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::of(ProblemKind::Unauthenticated, detail)
    }

    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new("forbidden", "This may not be done that way", StatusCode::FORBIDDEN, detail)
    }

    pub(crate) fn method_not_allowed(method: &http::Method) -> Self {
        let detail = format!("{method} does nothing here; the Allow header says what does");
        Self::new("method_not_allowed", "Not this method", StatusCode::METHOD_NOT_ALLOWED, detail)
    }

    pub(crate) fn payload_too_large(limit: usize) -> Self {
        let detail = format!("a body has at most {limit} bytes");
        Self::new("payload_too_large", "The body is too large", StatusCode::PAYLOAD_TOO_LARGE, detail)
    }

    pub(crate) fn unsupported_media_type(wanted: &str) -> Self {
        let detail = format!("the body is to be {wanted}, and Content-Type to say so");
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self::new("unsupported_media_type", "The body is of another type", status, detail)
    }

    pub(crate) fn upgrade_required() -> Self {
        let detail = "this is a WebSocket: open it as one (RFC 6455, version 13)";
        Self::new("upgrade_required", "This is a WebSocket", StatusCode::UPGRADE_REQUIRED, detail)
    }

    pub(crate) fn request_timeout() -> Self {
        let detail = "the body came too slowly";
        Self::new("request_timeout", "The request took too long", StatusCode::REQUEST_TIMEOUT, detail)
    }

    pub(crate) fn overloaded(detail: impl Into<String>) -> Self {
        let title = "More requests than can be served";
        Self::new("overloaded", title, StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// The same, naming a field by its JSON pointer.
    pub(crate) fn pointing_at(mut self, pointer: impl Into<String>) -> Self {
        let detail = self.detail.clone();
        self.errors.push(FieldError { pointer: Some(pointer.into()), parameter: None, detail });
        self
    }

    /// The same, naming a parameter of the path or the query.
    pub(crate) fn about_parameter(mut self, parameter: impl Into<String>) -> Self {
        let detail = self.detail.clone();
        self.errors.push(FieldError { pointer: None, parameter: Some(parameter.into()), detail });
        self
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn title(&self) -> &'static str {
        self.title
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// Where in a body it is to blame, as a JSON pointer; none when it is about no field.
    pub(crate) fn pointer(&self) -> Option<&str> {
        self.errors.iter().find_map(|error| error.pointer.as_deref())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // A body of strings and numbers cannot fail to serialize; an empty one still has the right status.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response =
            (self.status, [(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON))], body)
                .into_response();
        let headers = response.headers_mut();
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"stoker\""));
            }
            // A hand-over of a slot takes about a second; a command of sixty seconds is not over in less, and a subscription
            // is tested once in so long.
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
            }
            _ => {}
        }
        response
    }
}
