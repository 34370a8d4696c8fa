//! The console of a large fleet: how long its pages take.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use reqwest::redirect::Policy;
use reqwest::{Client, header};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::board::Board;
use super::target::{Setup, Who};
use crate::api::Api;
use crate::device::{Device, EVENTS, Incoming, Login, logins};
use crate::histogram::Histogram;
use crate::platform::Platform;
use crate::report::{Report, grouped};

/// The longest that a page may take before it counts as not given.
const PAGE_WITHIN: Duration = Duration::from_secs(30);
/// Devices of one site, and how many different tags there are.
const OF_A_SITE: usize = 50;
const TAGS: usize = 20;
/// A point a minute, for 30 days.
const MINUTES: i64 = 30 * 24 * 60;
const MINUTE_MS: i64 = 60_000;
/// Points of one message: about 10 kB.
const POINTS_AT_ONCE: usize = 200;
/// Messages that wait for their PUBACK: what the platform grants.
const WINDOW: usize = 32;
/// How long a PUBACK may take.
const ACKED_WITHIN: Duration = Duration::from_secs(30);
/// Faults that are open: as many as the page of the fleet lists.
const FAULTS: usize = 20;
/// Where readings go.
const READINGS: &str = "v1/devices/me/telemetry";
/// Devices of one page of the API.
const PAGE: usize = 1_000;

/// One round: a fleet of that size, and so many requests of each page.
pub(super) async fn measure(
    setup: &Setup<'_>,
    (devices, requests): (u32, u32),
    board: &mut Board,
    report: &mut Report,
) -> Result<()> {
    let logins = logins(devices);
    let mut platform = Platform::new(setup.common, Vec::new())?;
    platform.start().await?;
    let api = platform.api()?;
    let begun = Instant::now();
    let lines: Vec<String> = (0..).zip(&logins).map(|(number, login)| line(number, login)).collect();
    api.import(&lines).await?;
    let name = format!("{} devices", grouped(devices.into()));
    let rate = f64::from(devices) / begun.elapsed().as_secs_f64();
    board.note(Who::Stoker, &format!("{name}: imported"), "/s", rate);
    let first = logins.first().context("no device")?;
    let mut device = Device::connect(platform.mqtt, None, first, 3_600).await?;
    publish_month(&mut device).await?;
    // Not the first: it is connected, and of two connections of a device the older ends.
    for login in logins.iter().skip(1).take(FAULTS) {
        fail(&platform, login).await?;
    }
    let reader = Reader::sign_in(&platform).await?;
    let deep = cursor_at(&api, logins.len() / 2).await?;
    let middle = logins.get(logins.len() / 2).context("no device")?;
    let fleet = format!("{name}: fleet");
    let month = format!("{} points, a month", grouped(u64::try_from(MINUTES)?));
    let pages = [
        (format!("{fleet}, first page"), "/fleet".to_owned(), first.id.clone()),
        (
            format!("{fleet}, a page in the middle"),
            format!("/fleet?cursor={deep}"),
            "href=\"/devices/".to_owned(),
        ),
        (format!("{fleet}, search"), format!("/fleet?q={}", middle.id), middle.id.clone()),
        (format!("{fleet}, search without a result"), "/fleet?q=nobody".to_owned(), "No device".to_owned()),
        (format!("{fleet}, of a site"), "/fleet?site=site-1".to_owned(), "site-1".to_owned()),
        (format!("{fleet}, with a tag"), "/fleet?tag=tag-7".to_owned(), "tag-7".to_owned()),
        (format!("{fleet}, online"), "/fleet?state=online".to_owned(), first.id.clone()),
        (
            format!("{month}: device's page"),
            format!("/devices/{}?key=t_supply&range=1m", first.id),
            month_is_drawn(),
        ),
    ];
    for (what, path, shows) in &pages {
        let times = reader.time(path, shows, requests).await?;
        note(board, what, &times);
    }
    let to = now_ms()?;
    let from = to - MINUTES * MINUTE_MS;
    let path = format!("/api/v1/devices/{}/telemetry/summary?key=t_supply&from={from}&to={to}", first.id);
    let times = reader.time(&path, "complete_from", requests).await?;
    note(board, &format!("{month}: summary"), &times);
    let points = api.get::<Value>(path.trim_start_matches("/api/v1")).await?;
    let points = points.get("items").and_then(Value::as_array).context("no summary")?.iter();
    let points: u64 = points.filter_map(|part| part.get("count")?.as_u64()).sum();
    // The oldest minute may have left the month since it was published.
    let whole = u64::try_from(MINUTES)? - points <= 10;
    report.promise(whole, format!("a month is {MINUTES} points, less the minutes of the run, not {points}"));
    drop(device);
    platform.finish(report)
}

fn month_is_drawn() -> String {
    // What a chart says of itself begins with its key.
    "aria-label=\"t_supply: ".to_owned()
}

fn note(board: &mut Board, what: &str, times: &Histogram) {
    for (part, share) in [("p50", 0.5), ("p99", 0.99)] {
        let took = times.quantile(share).as_secs_f64() * 1e3;
        board.note(Who::Stoker, &format!("{what}, {part}"), "ms", took);
    }
}

fn now_ms() -> Result<i64> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(i64::try_from(since.as_millis())?)
}

/// A device as `devices:import` takes it, with what pages show and search.
fn line(number: usize, login: &Login) -> String {
    json!({
        "id": login.id, "token": login.token, "model": format!("B{}", number % 7),
        "site": format!("site-{}", number / OF_A_SITE), "tags": [format!("tag-{}", number % TAGS)],
    })
    .to_string()
}

/// A month of one series in messages, oldest first.
fn month(now: i64) -> Vec<String> {
    let points: Vec<Value> = (0..MINUTES)
        .map(|minute| {
            let value = 60.0 + (minute as f64 / 200.0).sin() * 10.0;
            json!({ "ts": now - (MINUTES - 1 - minute) * MINUTE_MS, "values": { "t_supply": value } })
        })
        .collect();
    points.chunks(POINTS_AT_ONCE).map(|part| Value::from(part).to_string()).collect()
}

async fn publish_month(device: &mut Device) -> Result<()> {
    let mut waiting = 0;
    for message in month(now_ms()?) {
        device.publish(READINGS, message.as_bytes()).await?;
        waiting += 1;
        if waiting == WINDOW {
            acked(device).await?;
            waiting -= 1;
        }
    }
    for _ in 0..waiting {
        acked(device).await?;
    }
    Ok(())
}

async fn acked(device: &mut Device) -> Result<()> {
    let incoming = timeout(ACKED_WITHIN, device.next()).await.context("no PUBACK came")??;
    ensure!(matches!(incoming, Incoming::Acked(_)), "a PUBACK was due, not {incoming:?}");
    Ok(())
}

/// Has a device say that it has failed, and go.
async fn fail(platform: &Platform, login: &Login) -> Result<()> {
    let mut device = Device::connect(platform.mqtt, None, login, 3_600).await?;
    device.publish(EVENTS, br#"{"kind":"fault","code":"E42","text":"flame lost"}"#).await?;
    acked(&mut device).await?;
    device.leave().await
}

/// The cursor of the API's page that begins behind so many devices; the console's pages take the same.
async fn cursor_at(api: &Api, devices: usize) -> Result<String> {
    let mut cursor = String::new();
    for _ in 0..devices.div_ceil(PAGE).max(1) {
        let more = if cursor.is_empty() { String::new() } else { format!("&cursor={cursor}") };
        let size = PAGE.min(devices);
        let page: Value = api.get(&format!("/devices?limit={size}{more}")).await?;
        let next = page.get("next_cursor").and_then(Value::as_str);
        cursor = next.context("there are fewer devices than were made")?.to_owned();
    }
    Ok(cursor)
}

/// Somebody who has signed in to the console.
struct Reader {
    client: Client,
    base: String,
    cookie: String,
    token: String,
}

impl Reader {
    async fn sign_in(platform: &Platform) -> Result<Self> {
        let client = Client::builder()
            .no_proxy()
            .timeout(PAGE_WITHIN)
            .tcp_nodelay(true)
            .redirect(Policy::none())
            .build()?;
        let (base, token) = (format!("http://{}", platform.http), platform.token()?);
        // Tokens are made of what a form needs no escapes for.
        let answer = client
            .post(format!("{base}/sign-in"))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(format!("secret={token}"))
            .send()
            .await?;
        let cookie = answer.headers().get(header::SET_COOKIE).context("not signed in: there is no cookie")?;
        let cookie = cookie.to_str()?.split(';').next().unwrap_or_default().to_owned();
        Ok(Self { client, base, cookie, token })
    }

    /// Gets a page again and again, one after the other, from the request to its last byte.
    async fn time(&self, path: &str, shows: &str, requests: u32) -> Result<Histogram> {
        let mut times = Histogram::default();
        for _ in 0..requests {
            let begun = Instant::now();
            let request = self.client.get(format!("{}{path}", self.base));
            let request = if path.starts_with("/api/") {
                request.bearer_auth(&self.token)
            } else {
                request.header(header::COOKIE, &self.cookie)
            };
            let answer = request.send().await?;
            let status = answer.status();
            let text = answer.text().await?;
            times.record(begun.elapsed());
            // A page of the fleet repeats what is looked for in its filter: only what it has found counts.
            let found = match text.split_once("id=\"rows\"") {
                Some((_, rows)) => rows.split_once("</main>").map_or(rows, |(rows, _)| rows),
                None => text.as_str(),
            };
            ensure!(status.is_success(), "{path} was answered by {status}");
            ensure!(found.contains(shows), "{path} does not show {shows:?}");
        }
        Ok(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_has_a_point_for_each_minute_and_ends_now() {
        let now = 1_700_000_000_000;
        let messages = month(now);
        let points: Vec<Value> = messages
            .iter()
            .flat_map(|message| serde_json::from_str::<Vec<Value>>(message).unwrap())
            .collect();
        assert_eq!(points.len(), 43_200);
        assert!(messages.iter().all(|message| message.len() < 64 * 1024));
        assert_eq!(points.last().unwrap()["ts"], json!(now));
        assert!(
            points.windows(2).all(|pair| {
                pair[1]["ts"].as_i64().unwrap() - pair[0]["ts"].as_i64().unwrap() == MINUTE_MS
            })
        );
    }
}
