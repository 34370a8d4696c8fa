//! The HTTP API keeps to its own description, in the eyes of schemathesis: no fault of the platform, every answer of
//! a documented status, type and form, nothing refused that the description allows, nothing taken that it does not,
//! nobody let in without the token.

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use stoker_e2e::{
    Clients, Connect, Foreign, Inquiry, Options, Platform, WebhookSink, eventually, inquire, topic,
};

const DEVICES: [&str; 3] = ["pump-1", "pump-2", "pump-3"];
const CODES: [&str; 3] = ["E1", "E2", "E3"];
/// More than any request waits for its device, so that these can be waited for and cancelled.
const OPEN_S: u32 = 3_600;

/// One of each thing at least, so that lists have pages and ids lead somewhere: what was made, for `hooks.py`.
async fn furnish(platform: &Platform, hooks: &WebhookSink) -> Result<Value> {
    let api = &platform.api;
    let mut made = Map::new();
    let mut subscriptions = Vec::new();
    for name in ["Day shift", "Night shift"] {
        let to = json!({"channel": "webhook", "url": hooks.url(), "secret": "a secret of the receiver"});
        let subscription = json!({"name": name, "match": {"devices": ["pump-*"]}, "deliver": [to]});
        let subscription = api.post("/subscriptions", &subscription).await?.expect(201)?;
        subscriptions.push(subscription["id"].clone());
    }
    let clients = Clients::start(Foreign::Paho).await?;
    let mut commands = Vec::new();
    for id in DEVICES {
        let new = json!({"id": id, "model": "K200", "site": "north", "tags": ["heating"]});
        let token = api.post("/devices", &new).await?.expect(201)?["token"].clone();
        let mut device = clients.device()?;
        let token = token.as_str().context("a device without a token")?;
        device.enter(&Connect::token(platform.mqtt, 5, token)).await?;
        let reading =
            json!({"t_supply": 71.2, "steps": 7, "burning": true, "mode": "eco", "raw": {"a": [1]}});
        let mut said = vec![(topic::TELEMETRY, reading.clone()), (topic::TELEMETRY, reading)];
        said.push((topic::ATTRIBUTES, json!({"firmware": "1.4", "limits": {"max": 80}})));
        said.extend(
            CODES.map(|code| (topic::EVENTS, json!({"kind": "fault", "code": code, "data": {"n": 1}}))),
        );
        // One of the alarms is over.
        said.push((topic::EVENTS, json!({"kind": "fault", "code": CODES[0], "cleared": true})));
        for (topic, payload) in said {
            ensure!(device.publish(topic, &payload.to_string(), 1).await? == 0, "refused: {payload}");
        }
        device.disconnect().await?;
        for _ in 0..4 {
            commands.push(api.command(id, "write_setpoint", OPEN_S).await?["id"].clone());
        }
    }
    let attributes = json!({"shared": {"setpoint": 55}, "server": {"contract": "gold"}});
    api.patch(&format!("/devices/{}/attributes", DEVICES[0]), &attributes).await?.expect(200)?;
    let alarms: Vec<Value> = api.all("/alarms").await?.iter().map(|alarm| alarm["id"].clone()).collect();
    ensure!(alarms.len() == DEVICES.len() * CODES.len(), "{alarms:?}");
    // Both subscriptions have one recipient, who is told once.
    let told = alarms.len() + DEVICES.len();
    eventually("all are told", || async { Ok((hooks.hooks().len() >= told).then_some(())) }).await?;

    let mut cursors = Map::new();
    let (of_commands, of_points) =
        (format!("/devices/{}/commands", DEVICES[0]), format!("/devices/{}/telemetry", DEVICES[0]));
    for (operation, path) in [
        ("listAlarms", "/alarms"),
        ("listCommands", &of_commands),
        ("listDevices", "/devices"),
        ("listEvents", "/events"),
        ("listNotifications", "/notifications"),
        ("listSubscriptions", "/subscriptions"),
        ("listTelemetry", &of_points),
    ] {
        let page = api.get(&format!("{path}?limit=1")).await?.expect(200)?;
        ensure!(page["next_cursor"].is_string(), "{path} has one page only: {page}");
        cursors.insert(operation.to_owned(), page["next_cursor"].clone());
    }
    made.insert("devices".to_owned(), json!(DEVICES));
    made.insert("alarms".to_owned(), json!(alarms));
    made.insert("commands".to_owned(), json!(commands));
    made.insert("subscriptions".to_owned(), json!(subscriptions));
    made.insert("cursors".to_owned(), Value::Object(cursors));
    Ok(Value::Object(made))
}

/// `STOKER_E2E_SEED` asks something else than usual.
fn seed() -> Result<u32> {
    let seed = match std::env::var("STOKER_E2E_SEED") {
        Ok(seed) => seed.parse().context("STOKER_E2E_SEED is no number")?,
        Err(_) => 1,
    };
    println!("STOKER_E2E_SEED={seed}");
    Ok(seed)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_keeps_to_its_own_description() -> Result<()> {
    let hooks = WebhookSink::start().await?;
    let mut platform = Platform::start(Options::default()).await?;
    let made = furnish(&platform, &hooks).await?;
    let description = format!("{}/openapi.json", platform.api.base());
    let inquiry = Inquiry { description: &description, operations: &[], made: &made, seed: seed()? };
    let findings = inquire(&platform, &inquiry).await?;
    ensure!(findings.none, "the API and its description differ: schemathesis says above where");

    // It has asked, and asked everything.
    let report = &findings.report;
    let described = platform.api.get("/openapi.json").await?.expect(200)?;
    let described = described["paths"].as_object().context("a description without paths")?;
    let described: usize = described.values().filter_map(|path| Some(path.as_object()?.len())).sum();
    assert_eq!(report["operations"]["tested"], described);
    for phase in ["examples", "coverage", "fuzzing", "stateful"] {
        assert_eq!(report["phases"][phase]["status"], "success", "{phase}");
    }
    let accepted = findings.accepted()?;
    assert_eq!(accepted.len(), described, "{accepted:?}");
    let never: Vec<_> = accepted.iter().filter(|(_, times)| *times == 0).collect();
    ensure!(never.is_empty(), "nothing was ever asked of these that succeeded: {never:?}");
    let cases = report["test_cases"]["generated"].as_u64().context("a report without a count")?;
    ensure!(cases > 1_000, "{cases} requests are too few");

    // And the platform has taken no harm.
    platform.api.get("/status").await?.expect(200)?;
    assert_eq!(platform.api.values(DEVICES[0], "steps").await?, [7, 7]);
    let faults: Vec<_> =
        platform.log().lines().filter(|line| line.contains("ERROR")).map(str::to_owned).collect();
    ensure!(faults.is_empty(), "faults of the platform: {faults:#?}");
    ensure!(platform.terminate().await?.success(), "the platform did not end well");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_description_that_is_wrong_is_found_out() -> Result<()> {
    let platform = Platform::start(Options::default()).await?;
    let mut description = platform.api.get("/openapi.json").await?.expect(200)?;
    let count = &mut description["components"]["schemas"]["Status"]["properties"]["devices"];
    ensure!(count["type"] == "integer", "the description has changed: {count}");
    *count = json!({"type": "string"});
    let file = platform.scratch().join("openapi.json");
    std::fs::write(&file, description.to_string()).context("failed to write the wrong description")?;
    let file = file.to_str().context("the scratch directory is not UTF-8")?;
    let made = json!({"cursors": {}});
    let inquiry = Inquiry { description: file, operations: &["getStatus"], made: &made, seed: 1 };
    let findings = inquire(&platform, &inquiry).await?;
    ensure!(!findings.none, "a wrong description was taken for right");
    let failures = findings.report["failures"].as_array().context("a report without failures")?;
    let found: Vec<_> = failures.iter().map(|failure| failure["title"].clone()).collect();
    assert_eq!(found, ["Response violates schema"]);
    Ok(())
}
