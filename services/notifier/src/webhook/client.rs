//! The HTTP client: one for all webhooks, which reaches nothing but addresses that were checked.

#[cfg(test)]
mod tests;

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use rustls::{ClientConfig, RootCertStore};
use stoker_domain::{Millis, Notification};
use stoker_telemetry::trace::{HEADER, Remote};
use tokio::time::timeout;
use url::{Host, Url};

use super::addresses::{AddressPolicy, ForbiddenAddress};
use super::{event, signature};
use crate::config::NotifierLimits;
use crate::outcome::{Outcome, root_cause};
use crate::run::NotifierError;
use crate::text::{bounded, one_line};

/// What is read of an answer's body, and what of it is told.
const ANSWER_BYTES: usize = 4 * 1024;
const ANSWER_TOLD: usize = 200;
/// How long is waited for an answer's body once its status has come: it is only for people to read.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// How long an unused connection is kept.
const KEEP: Duration = Duration::from_secs(15);

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Finds the addresses of a name.
pub(crate) type Lookup =
    Arc<dyn Fn(String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> + Send + Sync>;

/// The system's resolver.
pub(crate) fn system_lookup() -> Lookup {
    Arc::new(|name| {
        Box::pin(async move {
            let addresses = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(addresses.map(|address| address.ip()).collect())
        })
    })
}

/// Posts webhooks.
#[derive(Debug)]
pub(crate) struct WebhookClient {
    http: Client,
    policy: AddressPolicy,
    within: Duration,
}

impl WebhookClient {
    pub(crate) fn new(
        allow: &[String],
        limits: &NotifierLimits,
        lookup: Lookup,
    ) -> Result<Self, NotifierError> {
        let policy = AddressPolicy::new(allow)?;
        let resolver = CheckedResolver { policy: policy.clone(), lookup, within: limits.connect_within };
        let http = Client::builder()
            .tls_backend_preconfigured(tls()?)
            .dns_resolver(Arc::new(resolver))
            .redirect(Policy::none())
            .referer(false)
            // A proxy would resolve names itself, past every check.
            .no_proxy()
            .connect_timeout(limits.connect_within)
            .timeout(limits.webhook_within)
            .pool_idle_timeout(KEEP)
            .pool_max_idle_per_host(limits.webhook.under_way)
            .tcp_nodelay(true)
            .user_agent(concat!("stoker-notifier/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(NotifierError::HttpClient)?;
        Ok(Self { http, policy, within: limits.webhook_within })
    }

    /// One attempt.
    pub(crate) async fn deliver(
        &self,
        notification: &Notification,
        url: &str,
        secret: &str,
        now: Millis,
    ) -> Outcome {
        let url = match self.checked(url) {
            Ok(url) => url,
            Err(why) => return Outcome::refused(&why),
        };
        let request = match request(notification, secret, now) {
            Ok((headers, body)) => traced(self.http.post(url).headers(headers).body(body)),
            Err(why) => return Outcome::refused(&why),
        };
        match request.send().await {
            Ok(response) => judge(response).await,
            Err(error) => self.failed(error),
        }
    }

    /// An address in the URL itself is connected to without asking a resolver, so it is checked here.
    fn checked(&self, url: &str) -> Result<Url, String> {
        let url = Url::parse(url).map_err(|error| format!("not a URL: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("neither http:// nor https:// but {}://", bounded(url.scheme(), 32)));
        }
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) => None,
            None => return Err("a URL without a host".into()),
        };
        if let Some(address) = literal {
            self.policy.check(address).map_err(|forbidden| forbidden.to_string())?;
        }
        Ok(url)
    }

    fn failed(&self, error: reqwest::Error) -> Outcome {
        // The URL may carry a token; whoever reads the detail knows the URL.
        let error = error.without_url();
        if let Some(forbidden) = cause::<ForbiddenAddress>(&error) {
            return Outcome::refused(&forbidden.to_string());
        }
        let cause = root_cause(&error);
        if error.is_connect() {
            Outcome::retry(&format!("failed to connect: {cause}"))
        } else if error.is_timeout() {
            Outcome::retry(&format!("no answer within {} s", self.within.as_secs()))
        } else {
            Outcome::retry(&format!("no answer: {cause}"))
        }
    }
}

/// With the context of its trace, so that the receiver's goes on with it.
fn traced(request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
    match Remote::current() {
        Some(current) => request.header(HEADER, current.traceparent()),
        None => request,
    }
}

/// Trusts what the system trusts. On a machine without certificates every https webhook is to be retried, with that as
/// the reason; all else works.
fn tls() -> Result<ClientConfig, NotifierError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, _ignored) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        tracing::warn!(errors = ?found.errors, "found no root certificates; webhooks over https will fail");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(NotifierError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

fn request(notification: &Notification, secret: &str, now: Millis) -> Result<(HeaderMap, Vec<u8>), String> {
    let body = event::body(notification).map_err(|error| format!("failed to write the event: {error}"))?;
    let id = notification.id.to_string();
    let timestamp_s = now.div_euclid(1_000);
    let signature = signature::signature(secret, &id, timestamp_s, &body);
    let value = |text: &str| HeaderValue::from_str(text).map_err(|error| error.to_string());
    let headers = HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static(event::CONTENT_TYPE)),
        (WEBHOOK_ID, value(&id)?),
        (WEBHOOK_TIMESTAMP, HeaderValue::from(timestamp_s)),
        (WEBHOOK_SIGNATURE, value(&signature)?),
    ]);
    Ok((headers, body))
}

/// What an answer means. Only what may pass by itself is worth another attempt.
async fn judge(response: Response) -> Outcome {
    let status = response.status();
    if status.is_redirection() {
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let to = location.map_or(String::new(), |to| format!(" to {}", bounded(&one_line(to), ANSWER_TOLD)));
        return Outcome::refused(&format!("HTTP {status}{to}: redirects are not followed"));
    }
    let said = excerpt(response).await;
    let detail = if said.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status}: {said}") };
    let may_pass =
        matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS);
    if status.is_success() {
        Outcome::delivered(&detail)
    } else if may_pass || status.is_server_error() {
        Outcome::retry(&detail)
    } else {
        Outcome::refused(&detail)
    }
}

/// The beginning of an answer's body. What is longer, or slow, is left unread and its connection closed.
async fn excerpt(mut response: Response) -> String {
    let mut read = Vec::new();
    let reading = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            let room = ANSWER_BYTES.saturating_sub(read.len());
            read.extend(chunk.iter().take(room));
            if chunk.len() >= room {
                break;
            }
        }
    };
    let _late_is_short = timeout(ANSWER_WITHIN, reading).await;
    bounded(&one_line(&String::from_utf8_lossy(&read)), ANSWER_TOLD)
}

/// The cause of that type, however deep.
fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// Resolves names to addresses that may be connected to. The connection is made to these very addresses, so nothing
/// can change between check and use, however short-lived the name's records are.
struct CheckedResolver {
    policy: AddressPolicy,
    lookup: Lookup,
    within: Duration,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (policy, within) = (self.policy.clone(), self.within);
        let name = name.as_str().to_owned();
        let lookup = (self.lookup)(name.clone());
        Box::pin(async move {
            let addresses = timeout(within, lookup)
                .await
                .map_err(|_| format!("{name} was not resolved within {} s", within.as_secs()))?
                .map_err(|error| format!("{name} cannot be resolved: {error}"))?;
            if addresses.is_empty() {
                return Err(format!("{name} has no address").into());
            }
            policy.check_all(&addresses)?;
            // The port is the URL's.
            let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}
