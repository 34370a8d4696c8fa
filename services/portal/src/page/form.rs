//! Forms: where they come from and what they carry.
//!
//! Handlers get a form only by [`SessionForm`], which has looked at it, or by [`SignInForm`], of whoever has no session yet.

use std::collections::BTreeMap;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header};

use super::frame::refusal;
use super::names::is_known;
use super::session::Session;
use crate::App;
use crate::extract::read;
use crate::problem::Problem;

/// The fields of a form that one of our own pages sent.
#[derive(Debug)]
pub(crate) struct Form(BTreeMap<String, String>);

impl Form {
    /// Where the form says that it leads afterwards, if that is a page of ours.
    pub(crate) fn back<'a>(&'a self, otherwise: &'a str) -> &'a str {
        let back = self.field("back");
        let ours = back.starts_with('/')
            && !back.starts_with("//")
            && back.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        if ours { back } else { otherwise }
    }

    /// A field; empty when it is not there.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    async fn read(request: Request, app: &App) -> Result<Self, Problem> {
        if !is_ours(request.headers(), app.hostname.as_deref()) {
            let hint = match &app.hostname {
                Some(hostname) => format!("; this portal's own are at {hostname}"),
                None => String::new(),
            };
            return Err(Problem::forbidden(format!("this form was sent by another site's page{hint}")));
        }
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !content_type.is_some_and(|value| value.starts_with("application/x-www-form-urlencoded")) {
            return Err(Problem::unsupported_media_type("application/x-www-form-urlencoded"));
        }
        let body = read(request).await?;
        Ok(Self(form_urlencoded::parse(&body).into_owned().collect()))
    }
}

/// Who is signed in, and a form that stood on a page of that very session.
#[derive(Debug)]
pub(crate) struct SessionForm {
    pub(crate) session: Session,
    pub(crate) form: Form,
}

impl FromRequest<App> for SessionForm {
    type Rejection = Response;

    async fn from_request(request: Request, app: &App) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let session =
            Session::from_request_parts(&mut parts, app).await.map_err(IntoResponse::into_response)?;
        let taken = async {
            let form = Form::read(Request::from_parts(parts, body), app).await?;
            if session.owns(app, form.field("token")) {
                return Ok(form);
            }
            Err(Problem::forbidden("this form is not of your session: load its page anew, and send it again"))
        };
        match taken.await {
            Ok(form) => Ok(Self { session, form }),
            Err(problem) => Err(refusal(app, Some(&session), &problem)),
        }
    }
}

/// The form by which a session begins: none vouches for it yet, so it may do nothing else.
#[derive(Debug)]
pub(crate) struct SignInForm(pub(crate) Form);

impl FromRequest<App> for SignInForm {
    type Rejection = Response;

    async fn from_request(request: Request, app: &App) -> Result<Self, Response> {
        Form::read(request, app).await.map(Self).map_err(|problem| refusal(app, None, &problem))
    }
}

/// Whether a browser says that the form stood on a page of ours. Browsers send `Origin` with every form; what sends
/// none is no browser, and then no other site has made it do anything.
pub(crate) fn is_ours(headers: &HeaderMap, hostname: Option<&str>) -> bool {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    if !matches!(text(http::HeaderName::from_static("sec-fetch-site")), None | Some("same-origin" | "none")) {
        return false;
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let Some((_, origin)) = origin else { return false };
    let same = text(header::HOST).is_some_and(|host| origin.eq_ignore_ascii_case(host));
    let Some(hostname) = hostname else { return same };
    // Whoever stands in front may ask for us by another name.
    origin.eq_ignore_ascii_case(hostname) || same && is_known(origin, hostname)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_leads_to_no_other_site() {
        let form = |back: &str| Form(BTreeMap::from([("back".to_owned(), back.to_owned())]));
        assert_eq!(form("/alarms?state=active").back("/fleet"), "/alarms?state=active");
        for back in
            ["", "//evil.example", "/\\evil.example", "https://evil.example", "alarms", "/a\r\nx: y", "/ a"]
        {
            assert_eq!(form(back).back("/fleet"), "/fleet", "{back:?}");
        }
    }

    #[test]
    fn forms_are_taken_only_from_our_own_pages() {
        for (origin, site, ours) in [
            (None, None, true),
            (Some("http://stoker.example:8080"), None, true),
            (Some("http://stoker.example:8080"), Some("same-origin"), true),
            (Some("http://stoker.example:8080"), Some("cross-site"), false),
            (Some("http://stoker.example"), None, false),
            (Some("http://evil.example"), None, false),
            (Some("http://stoker.example:8080.evil.example"), None, false),
            (Some("null"), None, false),
            (None, Some("same-site"), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("host", "stoker.example:8080".parse().unwrap());
            if let Some(origin) = origin {
                headers.insert("origin", origin.parse().unwrap());
            }
            if let Some(site) = site {
                headers.insert("sec-fetch-site", site.parse().unwrap());
            }
            assert_eq!(is_ours(&headers, None), ours, "{origin:?} {site:?}");
        }
    }

    #[test]
    fn a_configured_name_counts_more_than_what_the_request_says() {
        for (host, origin, ours) in [
            // Through something that asks for us by another name.
            ("10.0.0.7:8080", "https://stoker.example", true),
            ("stoker.example", "https://stoker.example", true),
            ("stoker.example:8443", "https://Stoker.Example:8443", true),
            ("stoker.example", "https://stoker.example:8443", false),
            // Through a port of the person's own machine.
            ("127.0.0.1:8080", "http://127.0.0.1:8080", true),
            ("localhost:8080", "http://localhost:8080", true),
            ("[::1]:8080", "http://[::1]:8080", true),
            ("stoker.example", "http://127.0.0.1:8080", false),
            ("127.0.0.1:8080", "http://127.0.0.1:9999", false),
            // Of a name that leads to us, and is not ours.
            ("evil.example", "http://evil.example", false),
            ("10.0.0.7:8080", "http://10.0.0.7:8080", false),
            ("stoker.example.evil.example", "https://stoker.example.evil.example", false),
            ("stoker.example", "null", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("host", host.parse().unwrap());
            headers.insert("origin", origin.parse().unwrap());
            assert_eq!(is_ours(&headers, Some("stoker.example")), ours, "{host} {origin}");
        }
        let mut headers = HeaderMap::new();
        headers.insert("host", "10.0.0.7:8080".parse().unwrap());
        headers.insert("origin", "https://stoker.example".parse().unwrap());
        assert!(!is_ours(&headers, None));
    }
}
