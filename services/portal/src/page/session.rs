//! Who is signed in: a cookie that says until when, under a tag that only holders of the token can make.
//!
//! Nothing is kept here, so every portal of a platform knows every session, and a restart ends none. A new token ends
//! all. Signing out takes the cookie away; one that was copied before would last until its time is up, which is why it
//! is short and why nothing but the browser can read it.

use axum::extract::FromRequestParts;
use axum::response::Redirect;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};
use stoker_domain::Millis;

use super::SIGN_IN;
use crate::App;
use crate::time::now;

/// A shift.
const LIFETIME_S: i64 = 12 * 3_600;

/// A person who has signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    until: Millis,
    nonce: String,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |text, byte| text + &format!("{byte:02x}"))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pair = |at| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    text.len().is_multiple_of(2).then(|| (0..text.len()).step_by(2).map(pair).collect())?
}

/// The cookie's name. Browsers take one with that prefix only over HTTPS and only for this very host.
fn name(https: bool) -> &'static str {
    if https { "__Host-stoker" } else { "stoker" }
}

impl Session {
    /// A new one from `now` on; none without randomness.
    pub(crate) fn new(now: Millis) -> Option<Self> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).ok()?;
        Some(Self { until: now + LIFETIME_S * 1_000, nonce: hex(&nonce) })
    }

    fn message(&self) -> String {
        format!("stoker portal: session {} {}", self.until, self.nonce)
    }

    /// What forms of this session carry. Another site cannot know it.
    pub(crate) fn form_token(&self, app: &App) -> String {
        hex(&app.auth.tag(self.form_message().as_bytes()))
    }

    fn form_message(&self) -> String {
        format!("stoker portal: form {}", self.nonce)
    }

    /// Whether a form carries what [`Session::form_token`] gave it.
    pub(crate) fn owns(&self, app: &App, token: &str) -> bool {
        unhex(token).is_some_and(|tag| app.auth.verify(self.form_message().as_bytes(), &tag))
    }

    /// The header that makes a browser keep it.
    pub(crate) fn cookie(&self, app: &App) -> Option<HeaderValue> {
        let tag = hex(&app.auth.tag(self.message().as_bytes()));
        set_cookie(app.https, &format!("{}.{}.{tag}", self.until, self.nonce), LIFETIME_S)
    }

    fn read(app: &App, headers: &HeaderMap, now: Millis) -> Option<Self> {
        let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
        let mut pairs = cookies.flat_map(|value| value.split("; ")).filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.find(|(found, _)| *found == name(app.https))?;
        let mut parts = value.split('.');
        let (until, nonce, tag, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else {
            return None;
        };
        let session = Self { until: until.parse().ok()?, nonce: nonce.to_owned() };
        let genuine = app.auth.verify(session.message().as_bytes(), &unhex(tag)?);
        (genuine && now < session.until).then_some(session)
    }
}

fn set_cookie(https: bool, value: &str, max_age_s: i64) -> Option<HeaderValue> {
    let secure = if https { "; Secure" } else { "" };
    let name = name(https);
    HeaderValue::from_str(&format!(
        "{name}={value}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Strict{secure}"
    ))
    .ok()
}

/// The header that makes a browser forget its session.
pub(crate) fn forget(app: &App) -> Option<HeaderValue> {
    set_cookie(app.https, "", 0)
}

/// Whether a request comes from somebody who has signed in.
pub(crate) fn is_signed_in(app: &App, headers: &HeaderMap) -> bool {
    Session::read(app, headers, now()).is_some()
}

/// Sends whoever is not signed in to where they can.
impl FromRequestParts<App> for Session {
    type Rejection = Redirect;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Redirect> {
        Self::read(app, &parts.headers, now()).ok_or_else(|| Redirect::to(SIGN_IN))
    }
}
