//! Where the end is: devices of which nothing was told before say something of each type, after everything else. What a core
//! tells comes in its order, so whoever has heard these has heard all that came before.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::timeout;

use crate::api::Api;
use crate::device::{Device, EVENTS, Incoming, Login};
use crate::template::TOPIC;

/// So many that of three cores, as by default, one owns none of them only once in 100,000 runs.
const DEVICES: u32 = 32;
/// What their ids begin with.
const PREFIX: &str = "end-";
/// All of them, as the feed is asked.
pub(super) const PATTERN: &str = "end-*";
/// The types of which something is said.
const TYPES: [&str; 6] = ["event", "alarm", "command", "connection", "telemetry", "device"];
/// What one of them says takes no longer than that.
const SAID_WITHIN: Duration = Duration::from_secs(30);
/// Until its command runs out: after everybody has heard of it.
const EXPIRES_S: u32 = 3_600;

/// How many of them whoever listens to these types is told.
pub(super) fn expected(types: &[&str]) -> usize {
    let marked = types.iter().filter(|kind| TYPES.contains(kind)).count();
    marked * usize::try_from(DEVICES).unwrap_or(usize::MAX)
}

/// Whether the device is one of these, of which nothing is compared.
pub(super) fn is_of_the_end(device: &str) -> bool {
    device.starts_with(PREFIX)
}

/// Whether an item is one of them.
pub(super) fn is_mark(kind: &str, device: &str) -> bool {
    is_of_the_end(device) && TYPES.contains(&kind)
}

/// Says all of it.
pub(super) async fn put(api: &Api, mqtt: SocketAddr) -> Result<()> {
    let login = |number| Login { id: format!("{PREFIX}{number}"), token: format!("bench-end-{number:08}") };
    let logins: Vec<Login> = (1..=DEVICES).map(login).collect();
    let lines: Vec<String> = logins.iter().map(Login::import_line).collect();
    api.import(&lines).await?;
    for login in &logins {
        let said = timeout(SAID_WITHIN, say(api, mqtt, login)).await;
        said.with_context(|| format!("{} could not say everything in time", login.id))??;
    }
    Ok(())
}

async fn say(api: &Api, mqtt: SocketAddr, login: &Login) -> Result<()> {
    let mut device = Device::connect(mqtt, None, login, 60).await?;
    let fault = r#"{"kind":"fault","code":"END","severity":"minor","text":"nothing follows"}"#;
    for (topic, payload) in [(TOPIC, r#"{"end":1}"#), (EVENTS, fault)] {
        let sent = device.publish(topic, payload.as_bytes()).await?;
        while !matches!(device.next().await?, Incoming::Acked(id) if id == sent) {}
    }
    api.command(&login.id, "end", EXPIRES_S).await?;
    device.leave().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_listens_to_any_type_but_attributes_is_told() {
        assert_eq!(expected(&["event"]), 32);
        assert_eq!(expected(&["telemetry", "attributes"]), 32);
        assert_eq!(expected(&["attributes"]), 0);
        assert!(
            is_mark("alarm", "end-7") && !is_mark("attributes", "end-7") && !is_mark("alarm", "boiler-7")
        );
    }
}
