//! Webhooks: CloudEvents, signed, posted to public addresses only.

mod addresses;
mod client;
mod event;
mod signature;

pub(crate) use client::{WebhookClient, system_lookup};

use url::Url;

/// The lane's name for the host of a URL.
pub(crate) fn lane_host(url: &str) -> String {
    // What cannot be read is refused without a connection; its seats may be shared.
    Url::parse(url).ok().and_then(|url| host_and_port(&url)).unwrap_or_default()
}

fn host_and_port(url: &Url) -> Option<String> {
    Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?))
}
