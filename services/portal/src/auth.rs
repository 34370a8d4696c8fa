//! Who is asking.

use std::fmt;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, header};
use sha2::Sha256;

use crate::App;
use crate::layers::trust_trace;
use crate::problem::Problem;

/// Checks tokens without holding them.
#[derive(Clone)]
pub(crate) struct Auth {
    /// HMAC-SHA256 keyed by the administrator's token: who cannot make its tags does not have the token.
    keyed: Arc<Hmac<Sha256>>,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Auth")
    }
}

/// A tag by a key derived from the token.
pub(crate) type Tag = [u8; 32];

/// Any text will do: both sides of the comparison are tags over it.
const PROOF: &[u8] = b"stoker portal: bearer token";

impl Auth {
    /// `None` for a token that no key can be made of, which HMAC does not know.
    pub(crate) fn new(token: &str) -> Option<Self> {
        Some(Self { keyed: Arc::new(Hmac::new_from_slice(token.as_bytes()).ok()?) })
    }

    /// Whether it is the administrator's token. How long it takes says nothing about how much of it is right.
    pub(crate) fn is_admin(&self, token: &str) -> bool {
        let Some(presented) = Self::new(token) else { return false };
        self.verify(PROOF, &presented.tag(PROOF))
    }

    /// A tag over `message` that only holders of the token can make. It is the same in every portal that has the
    /// token, and void once the token is another.
    pub(crate) fn tag(&self, message: &[u8]) -> Tag {
        let mut mac = Hmac::clone(&self.keyed);
        mac.update(message);
        mac.finalize().into_bytes().into()
    }

    /// Whether `tag` is that of `message`, in constant time.
    pub(crate) fn verify(&self, message: &[u8], tag: &[u8]) -> bool {
        let mut mac = Hmac::clone(&self.keyed);
        mac.update(message);
        mac.verify_slice(tag).is_ok()
    }
}

/// The name under which the holder of the administrator's token acts.
pub(crate) const ADMIN: &str = "admin";

pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Lets through who has the token.
pub(crate) async fn require_token(State(app): State<App>, request: Request, next: Next) -> Response {
    match bearer(request.headers()) {
        Some(token) if app.auth.is_admin(token) => {
            trust_trace(&request);
            next.run(request).await
        }
        Some(_) => Problem::unauthenticated("this token is not known here").into_response(),
        None => {
            let detail = "send `Authorization: Bearer TOKEN`; `stoker up` says where the token is";
            Problem::unauthenticated(detail).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_token_is_taken() {
        let auth = Auth::new("secret-token").unwrap();
        assert!(auth.is_admin("secret-token"));
        for wrong in ["", "secret-toke", "secret-tokem", "secret-token ", "SECRET-TOKEN"] {
            assert!(!auth.is_admin(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn a_tag_is_void_under_another_token() {
        let auth = Auth::new("secret-token").unwrap();
        let tag = auth.tag(b"session");
        assert!(auth.verify(b"session", &tag));
        assert!(!auth.verify(b"other", &tag));
        assert!(!Auth::new("another").unwrap().verify(b"session", &tag));
    }

    #[test]
    fn the_scheme_is_read_in_any_case() {
        let mut headers = HeaderMap::new();
        for (value, token) in
            [("Bearer abc", Some("abc")), ("bearer abc", Some("abc")), ("Basic abc", None), ("abc", None)]
        {
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            assert_eq!(bearer(&headers), token, "{value}");
        }
    }
}
