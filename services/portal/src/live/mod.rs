//! `/live`: what happens, as it happens, over a WebSocket.

mod backlog;
mod hub;
mod item;
mod position;
mod reader;

use std::str::FromStr;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use futures_util::SinkExt;
use http::HeaderMap;
use serde::Deserialize;
use stoker_domain::OrganizationId;
use stoker_domain::model::pattern_matches;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::App;
use crate::auth;
use crate::extract::{Parsed, Query};
use crate::page;
use crate::problem::Problem;
use hub::{Listener, Refusal};
use item::Item;
use position::Position;
use reader::Told;

pub(crate) use hub::Hub;

/// How long whoever begins to listen waits for the bus.
const HEARD_WITHIN: Duration = Duration::from_secs(5);
/// A listener that takes nothing for so long is closed.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);
/// How often a listener is asked whether it is there, and how long it may say nothing.
const PING_EVERY: Duration = Duration::from_secs(30);
const SILENT_MOST: Duration = Duration::from_secs(90);
/// No longer than the session of a console lasts: who may not listen any more is not listened for ever.
const LIFETIME: Duration = Duration::from_secs(12 * 3_600);
/// Listeners say nothing but that they are there.
const HEARD_MOST: usize = 4 * 1024;
/// What waits to be written to one listener: what it takes at once, with the largest items.
const WRITTEN_MOST: usize = 8 * 1024 * 1024;
/// Patterns of one listener.
const PATTERNS_MOST: usize = 100;

/// What `type` says in a frame of the feed.
pub(crate) fn frames() -> impl Iterator<Item = &'static str> {
    item::frames()
}

/// Which devices: ids with `*` for any run of characters, between commas.
#[derive(Debug, Default)]
pub(crate) struct Patterns(Vec<String>);

impl FromStr for Patterns {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let patterns: Vec<String> = text.split(',').map(ToOwned::to_owned).collect();
        if patterns.len() > PATTERNS_MOST {
            return Err("at most 100 patterns at once");
        }
        if patterns.iter().any(|pattern| pattern.is_empty() || pattern.len() > 128) {
            return Err("a pattern has 1 to 128 bytes");
        }
        Ok(Self(patterns))
    }
}

/// Which types of items, between commas.
#[derive(Debug)]
pub(crate) struct Types(Vec<&'static str>);

impl FromStr for Types {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = |name: &str| item::KINDS.into_iter().find(|kind| *kind == name);
        let types: Option<Vec<_>> = text.split(',').take(item::KINDS.len() + 1).map(known).collect();
        let types = types.filter(|types| types.len() <= item::KINDS.len());
        types.map(Self).ok_or(
            "types are event, alarm, command, connection, telemetry, device, attributes, between commas",
        )
    }
}

/// From where on, of whom and of what.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LiveQuery {
    since: Option<Parsed<Position>>,
    devices: Option<Parsed<Patterns>>,
    types: Option<Parsed<Types>>,
}

/// Who may listen: whoever has the token, or has signed in to a page of ours.
fn admit(app: &App, headers: &HeaderMap) -> Result<(), Problem> {
    match auth::bearer(headers) {
        Some(token) if app.auth.is_admin(token) => Ok(()),
        Some(_) => Err(Problem::unauthenticated("this token is not known here")),
        None if !page::is_signed_in(app, headers) => {
            Err(Problem::unauthenticated("send `Authorization: Bearer TOKEN`, or sign in to the console"))
        }
        // A cookie goes with what any site makes a browser do.
        None if !page::is_ours(headers, app.hostname.as_deref()) => {
            Err(Problem::forbidden("the console's cookie is good for pages of the console only"))
        }
        None => Ok(()),
    }
}

/// The live feed.
pub(crate) async fn listen(
    State(app): State<App>,
    headers: HeaderMap,
    query: Result<Query<LiveQuery>, Problem>,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    admit(&app, &headers)?;
    let Query(LiveQuery { since, devices, types }) = query?;
    let upgrade = upgrade.map_err(|_| Problem::upgrade_required())?;
    let listener = app.live.join(HEARD_WITHIN).await.map_err(|refusal| match refusal {
        Refusal::Full => Problem::overloaded("as many listen to the live feed as may; try again"),
        Refusal::NoBus => Problem::unavailable("this portal has no live feed: its bus.url is not configured"),
        Refusal::Unheard => Problem::unavailable("the live feed cannot be heard now; try again"),
    })?;
    let client = Client {
        listener,
        organization: app.organization.clone(),
        patterns: devices.map(|Parsed(Patterns(patterns))| patterns),
        types: types.map_or_else(|| item::USUAL.to_vec(), |Parsed(Types(types))| types),
        since: since.map(|Parsed(position)| position),
    };
    Ok(upgrade
        .max_message_size(HEARD_MOST)
        .max_frame_size(HEARD_MOST)
        .max_write_buffer_size(WRITTEN_MOST)
        .on_upgrade(move |socket| client.serve(socket)))
}

struct Client {
    listener: Listener,
    organization: OrganizationId,
    patterns: Option<Vec<String>>,
    types: Vec<&'static str>,
    since: Option<Position>,
}

/// Why a listener is not served any longer.
enum Gone {
    /// It has gone, or does not take what it is sent.
    Away,
    /// It is to be told that it may come again.
    Again,
}

impl Client {
    async fn serve(mut self, mut socket: WebSocket) {
        let told = tokio::time::timeout(LIFETIME, self.tell(&mut socket)).await;
        if !matches!(told, Ok(Gone::Away)) {
            let reason = Utf8Bytes::from_static("come again, with the last position as `since`");
            let goodbye = Message::Close(Some(CloseFrame { code: close_code::AGAIN, reason }));
            drop(tokio::time::timeout(Duration::from_secs(1), socket.send(goodbye)).await);
        }
    }

    async fn tell(&mut self, socket: &mut WebSocket) -> Gone {
        let (mut reader, position) = self.listener.begin(self.since.take().as_ref());
        let Ok(hello) = item::hello(&position.text()) else { return Gone::Again };
        if write(socket, vec![hello.into()]).await.is_err() {
            return Gone::Away;
        }
        let mut watch = Watch::begin();
        loop {
            let told = self.listener.next(&mut reader, |item| self.wants(item));
            // What cannot be made into a frame is left out; it is said where that happens.
            let frames: Vec<_> = told.iter().filter_map(Told::frame).collect();
            if !frames.is_empty() && write(socket, frames).await.is_err() {
                return Gone::Away;
            }
            // In no order: what it says is read also while there is always more to tell.
            tokio::select! {
                more = self.listener.more(reader.cursor()) => if !more { return Gone::Again },
                said = socket.recv() => match said {
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return Gone::Away,
                    Some(Ok(_)) => watch.heard(),
                },
                there = watch.asks() => {
                    if !there {
                        return Gone::Away;
                    }
                    let ping = socket.send(Message::Ping(Vec::new().into()));
                    if !matches!(tokio::time::timeout(TAKEN_WITHIN, ping).await, Ok(Ok(()))) {
                        return Gone::Away;
                    }
                }
            }
        }
    }

    fn wants(&self, item: &Item) -> bool {
        let id = item.key.device.as_str();
        item.key.organization == self.organization
            && self.types.contains(&item.kind)
            && self
                .patterns
                .as_ref()
                .is_none_or(|patterns| patterns.iter().any(|pattern| pattern_matches(pattern, id)))
    }
}

/// Whether a listener is still there.
struct Watch {
    pings: Interval,
    heard: Instant,
}

impl Watch {
    fn begin() -> Self {
        let now = Instant::now();
        let mut pings = interval_at(now + PING_EVERY, PING_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { pings, heard: now }
    }

    /// It has said something.
    fn heard(&mut self) {
        self.heard = Instant::now();
    }

    /// Comes when it is to be asked, however often this is begun anew; false when it has said nothing for too long.
    async fn asks(&mut self) -> bool {
        self.pings.tick().await;
        self.heard.elapsed() <= SILENT_MOST
    }
}

/// Writes frames, within a time.
async fn write(socket: &mut WebSocket, frames: Vec<Utf8Bytes>) -> Result<(), ()> {
    let all = async {
        for frame in frames {
            socket.feed(Message::Text(frame)).await?;
        }
        socket.flush().await
    };
    match tokio::time::timeout(TAKEN_WITHIN, all).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// Whoever is told something each second, and never waits for anything else for longer.
    async fn told_each_second(seconds: u64, answers: bool) -> (u32, Option<u64>) {
        let (mut watch, mut asked) = (Watch::begin(), 0);
        for second in 1..=seconds {
            tokio::time::advance(Duration::from_secs(1)).await;
            match watch.asks().now_or_never() {
                Some(true) => asked += 1,
                Some(false) => return (asked, Some(second)),
                None => {}
            }
            if answers {
                watch.heard();
            }
        }
        (asked, None)
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_found_however_much_there_is_to_tell() {
        assert_eq!(told_each_second(600, false).await, (3, Some(120)));
        assert_eq!(told_each_second(600, true).await, (20, None));
    }

    #[test]
    fn types_are_those_that_there_are() {
        assert_eq!("alarm".parse::<Types>().unwrap().0, ["alarm"]);
        let all = item::KINDS.join(",");
        assert_eq!(all.parse::<Types>().unwrap().0, item::KINDS);
        for bad in ["", "alarm,", "alarms", "alarm event", &format!("{all},alarm")] {
            assert!(bad.parse::<Types>().is_err(), "{bad}");
        }
    }
}
