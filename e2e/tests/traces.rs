//! One trace from what a device says to what becomes of it, whichever processes it goes through.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stoker_e2e::{
    Clients, Collector, Connect, Device, Foreign, Options, Platform, Span, WebhookSink, eventually, topic,
    way,
};

const ID: &str = "boiler-7";
const REPORT: &str = "/stoker.core.v1.GatewayService/ReportEvent";
/// Text that is in no span: what a device says stays its own.
const SAID: &str = "flame lost at noon";

async fn platform(collector: &Collector) -> Result<(Platform, Device)> {
    let platform = Platform::start(Options::config(&collector.config())).await?;
    let token = platform.api.make_device(ID).await?;
    let mut device = Clients::start(Foreign::Paho).await?.device()?;
    device.enter(&Connect::token(platform.mqtt, 5, &token)).await?;
    Ok((platform, device))
}

/// Waits until a span of that name has this way above it, in the trace.
async fn comes(collector: &Collector, trace: &str, expected: &[&str]) -> Result<Span> {
    eventually(&expected.join(" > "), || async {
        let spans = collector.trace(trace);
        let found = spans.values().find(|span| way(&spans, span) == expected).cloned();
        Ok(found)
    })
    .await
    .with_context(|| {
        let spans = collector.trace(trace);
        format!("{:#?}", spans.values().map(|span| way(&spans, span)).collect::<Vec<_>>())
    })
}

/// Where there is a database, what is asked of it is in the trace, and none of the values.
async fn statements(collector: &Collector, trace: &str, above: &[&str]) -> Result<()> {
    if !collector.spans().iter().any(|span| span.service == "stoker-core") {
        return Ok(());
    }
    let statement = eventually("a statement", || async {
        let spans = collector.trace(trace);
        let is_meant = |span: &&Span| {
            span.attributes.contains_key("db.query.text")
                && way(&spans, span)
                    .starts_with(&above.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        };
        Ok(spans.values().find(is_meant).map(|span| span.attributes["db.query.text"].clone()))
    });
    let statement = statement.await?;
    ensure!(statement.contains('?'), "a statement with values: {statement}");
    Ok(())
}

#[tokio::test]
async fn a_fault_is_one_trace_from_its_publish_to_the_attempt() -> Result<()> {
    let (collector, hooks) = tokio::try_join!(Collector::start(), WebhookSink::start())?;
    let (platform, device) = platform(&collector).await?;
    let deliver = json!({"channel": "webhook", "url": hooks.url(), "secret": "a secret of the receiver"});
    let subscription = json!({"name": "Night shift", "match": {}, "deliver": [deliver]});
    platform.api.post("/subscriptions", &subscription).await?.expect(201)?;
    let fault = json!({"kind": "fault", "code": "E42", "severity": "critical", "text": SAID});
    ensure!(device.publish(topic::EVENTS, &fault.to_string(), 1).await? == 0);

    let hook = hooks.hooks_once(1).await?.remove(0);
    let parts: Vec<&str> = hook.header("traceparent")?.split('-').collect();
    let [_, trace, attempt, "01"] = parts[..] else { anyhow::bail!("{parts:?} is no traceparent") };

    let root = comes(&collector, trace, &["PUBLISH event"]).await?;
    ensure!(root.attributes["device"] == format!("default/{ID}"), "{root:?}");
    ensure!(root.attributes.contains_key("session"), "{root:?}");
    let commit = ["PUBLISH event", REPORT, "commit", "store commit"];
    comes(&collector, trace, &commit).await?;
    statements(&collector, trace, &commit).await?;
    let way = ["PUBLISH event", REPORT, "publish work", "attempt"];
    let found = comes(&collector, trace, &way).await?;
    ensure!(found.id == attempt, "the receiver was told of {attempt}, not of {found:?}");
    let report = "/stoker.core.v1.NotifierService/ReportAttempt";
    comes(&collector, trace, &[&way[..], &[report, "commit", "store commit"]].concat()).await?;

    let all = format!("{:?}", collector.spans());
    ensure!(!all.contains(SAID) && !all.contains("a secret of"), "spans tell what was said: {all}");
    // The line of the log that tells of the alarm can be found by the trace.
    let lines: Vec<Value> =
        platform.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let line = lines.iter().find(|line| line["message"] == "alarm").context("no line of the alarm")?;
    ensure!(line["trace_id"] == trace && line["device"] == format!("default/{ID}"), "{line}");
    ensure!(!platform.log().contains(SAID), "the log tells what was said");
    Ok(())
}

#[tokio::test]
async fn a_reading_is_one_trace_from_its_publish_to_the_store() -> Result<()> {
    let collector = Collector::start().await?;
    let (_platform, device) = platform(&collector).await?;
    ensure!(device.publish(topic::TELEMETRY, "{\"t\":71.2}", 1).await? == 0);
    let root = eventually("the reading's span", || async {
        Ok(collector.spans().into_iter().find(|span| span.name == "PUBLISH telemetry"))
    });
    let trace = root.await?.trace;
    let way = ["PUBLISH telemetry", "readings batch", "store readings", "store append"];
    comes(&collector, &trace, &way).await?;
    statements(&collector, &trace, &way).await
}

#[tokio::test]
async fn a_request_goes_on_with_its_callers_trace_and_is_found_by_its_id() -> Result<()> {
    let collector = Collector::start().await?;
    let (platform, _device) = platform(&collector).await?;
    let (trace, caller) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let token = std::fs::read_to_string(platform.data_dir().join("admin.token"))?;
    let answer = reqwest::Client::new()
        .get(format!("{}/devices/{ID}", platform.api.base()))
        .bearer_auth(token.trim())
        .header("traceparent", format!("00-{trace}-{caller}-01"))
        .header("x-request-id", "find-me-1")
        .send()
        .await?;
    ensure!(answer.headers()["x-request-id"] == "find-me-1", "{answer:?}");
    // Each process exports its own at a moment of its own.
    let root = eventually("a span below the caller's", || async {
        Ok(collector.trace(trace).into_values().find(|span| span.parent == caller))
    })
    .await?;
    ensure!(root.attributes["request_id"] == "find-me-1", "{root:?}");
    ensure!(root.name == "GET /api/v1/devices/{id}", "{root:?}");
    Ok(())
}
