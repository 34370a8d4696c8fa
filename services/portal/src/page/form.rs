//! Forms: where they come from and what they carry.

use std::collections::BTreeMap;

use axum::extract::{FromRequest, Request};
use http::{HeaderMap, header};

use crate::App;
use crate::extract::read;
use crate::problem::Problem;

/// The fields of a form that one of our own pages sent.
#[derive(Debug)]
pub(crate) struct Form(BTreeMap<String, String>);

impl Form {
    /// A field; empty when it is not there.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

impl FromRequest<App> for Form {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        if !is_ours(request.headers(), app.hostname.as_deref()) {
            return Err(Problem::forbidden("this form was sent by another site's page"));
        }
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !content_type.is_some_and(|value| value.starts_with("application/x-www-form-urlencoded")) {
            return Err(Problem::unsupported_media_type("application/x-www-form-urlencoded"));
        }
        let body = read(request).await?;
        Ok(Self(form_urlencoded::parse(&body).into_owned().collect()))
    }
}

/// Whether a browser says that the form stood on a page of ours. Browsers send `Origin` with every form; what sends
/// none is no browser, and then no other site has made it do anything.
pub(crate) fn is_ours(headers: &HeaderMap, hostname: Option<&str>) -> bool {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    if !matches!(text(http::HeaderName::from_static("sec-fetch-site")), None | Some("same-origin" | "none")) {
        return false;
    }
    match (headers.get(header::ORIGIN), hostname.or_else(|| text(header::HOST))) {
        (None, _) => true,
        (Some(origin), Some(host)) => {
            let origin = origin.to_str().unwrap_or_default();
            origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
        }
        (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut headers = HeaderMap::new();
        headers.insert("host", "10.0.0.7:8080".parse().unwrap());
        headers.insert("origin", "https://stoker.example".parse().unwrap());
        assert!(is_ours(&headers, Some("stoker.example")));
        assert!(!is_ours(&headers, None));
    }
}
