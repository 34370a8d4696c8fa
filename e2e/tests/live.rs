//! The live feed: what happens, as it happens, and nothing twice.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stoker_e2e::{Clients, Connect, Foreign, Listener, Options, Platform, topic};

fn fault(n: usize) -> String {
    json!({"id": format!("f-{n}"), "kind": "note", "code": n.to_string(), "severity": "minor"}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_told_in_the_words_of_the_api() -> Result<()> {
    let platform = Platform::start(Options::silence(60, 60)).await?;
    let clients = Clients::start(Foreign::Paho).await?;
    let token = platform.api.make_device("boiler-7").await?;
    let (mut all, _) = Listener::enter(&platform.api, "").await?;
    let (mut others, _) =
        Listener::enter(&platform.api, "?devices=pump-*,door-1&types=device,attributes,connection").await?;
    let mut device = clients.device()?;
    device.enter(&Connect::token(platform.mqtt, 5, &token)).await?;
    let online = all.next_of("connection").await?;
    let shown = platform.api.get("/devices/boiler-7").await?.expect(200)?;
    assert_eq!((&online["device"], &online["data"]), (&json!("boiler-7"), &shown["connection"]));

    assert_eq!(device.publish(topic::TELEMETRY, "{\"t_supply\":71.2,\"on\":true}", 1).await?, 0);
    let reading = all.next_of("telemetry").await?;
    let latest = platform.api.get("/devices/boiler-7/telemetry/latest").await?.expect(200)?;
    assert_eq!(reading["data"], latest);

    let fault = json!({"kind": "fault", "code": "E42", "severity": "critical", "text": "flame lost"});
    assert_eq!(device.publish(topic::EVENTS, &fault.to_string(), 1).await?, 0);
    let event = all.next_of("event").await?;
    assert_eq!(event["data"], platform.api.events("boiler-7", "fault").await?[0]);
    let alarm = all.next_of("alarm").await?;
    assert_eq!(alarm["data"], platform.api.alarms("boiler-7", "fault", "active").await?[0]);

    device.subscribe(topic::COMMANDS, 1).await?;
    let command = platform.api.command("boiler-7", "restart", 60).await?;
    let number = device.message().await?.number()?;
    device.publish(&topic::reply(number), "{}", 1).await?;
    let ended = platform.api.command_in(&command, "succeeded").await?;
    let mut states = Vec::new();
    loop {
        let told = all.next_of("command").await?["data"].take();
        states.push(told["state"].as_str().context("no state")?.to_owned());
        if states.last().is_some_and(|state| state == "succeeded") {
            assert_eq!(told, ended);
            break;
        }
    }
    assert_eq!(states.first().map(String::as_str), Some("queued"), "{states:?}");

    let token = platform.api.make_device("pump-3").await?;
    let mut pump = clients.device()?;
    pump.enter(&Connect::token(platform.mqtt, 4, &token)).await?;
    let first = others.next().await?;
    assert_eq!((&first["type"], &first["device"]), (&json!("device"), &json!("pump-3")), "of nobody else");
    let mut shown = platform.api.get("/devices/pump-3").await?.expect(200)?;
    shown.as_object_mut().context("no device")?.remove("connection");
    assert_eq!(first["data"], shown);
    assert_eq!(others.next_of("connection").await?["device"], "pump-3");
    let attributes = json!({"server": {"contract": "gold"}});
    platform.api.patch("/devices/pump-3/attributes", &attributes).await?.expect(200)?;
    let told = others.next_of("attributes").await?;
    assert_eq!((&told["device"], &told["data"]), (&json!("pump-3"), &Value::Null));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_loses_its_connection_again_and_again_misses_nothing_and_hears_nothing_twice() -> Result<()> {
    const EVENTS: usize = 400;
    let platform = Platform::start(Options::silence(60, 60)).await?;
    let clients = Clients::start(Foreign::Paho).await?;
    let token = platform.api.make_device("boiler-7").await?;
    let (mut listener, mut position) = Listener::enter(&platform.api, "").await?;
    let connect = Connect::token(platform.mqtt, 5, &token);
    let device = clients.device()?;
    let reporting = tokio::spawn(async move {
        let mut device = device;
        device.enter(&connect).await?;
        for n in 0..EVENTS {
            ensure!(device.publish(topic::EVENTS, &fault(n), 1).await? == 0);
        }
        Ok(())
    });
    let (mut heard, mut after) = (Vec::new(), 0);
    while heard.len() < EVENTS {
        let frame = listener.next().await?;
        ensure!(frame["type"] != "gap", "a gap after {} events", heard.len());
        if let Some(at) = frame["position"].as_str() {
            at.clone_into(&mut position);
        }
        if frame["type"] != "event" {
            continue;
        }
        heard.push(frame["data"]["code"].as_str().context("an event without a code")?.to_owned());
        after += 1;
        // At other places each time, also in the midst of what it is told of the past.
        if after % 17 == 0 {
            let kind = if after % 34 == 0 { "&devices=boiler-*" } else { "" };
            (listener, _) = Listener::enter(&platform.api, &format!("?since={position}{kind}")).await?;
        }
    }
    reporting.await??;
    let all: Vec<String> = (0..EVENTS).map(|n| n.to_string()).collect();
    assert_eq!(heard, all);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_had_any_more_is_said() -> Result<()> {
    let mut platform = Platform::start(Options::silence(60, 60)).await?;
    let (listener, position) = Listener::enter(&platform.api, "").await?;
    drop(listener);
    platform.kill9()?;
    platform.restart().await?;
    let (mut listener, again) = Listener::enter(&platform.api, &format!("?since={position}")).await?;
    assert_eq!(again, position);
    assert_eq!(listener.next().await?, json!({"type": "gap"}));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_may_listens() -> Result<()> {
    let platform = Platform::start(Options::default()).await?;
    let refused = async |parameters: &str, headers: Value| -> Result<(Value, Value)> {
        let mut listener = Listener::dial_with(&platform.api, parameters, &headers)?;
        let said = listener.next().await?;
        let problem: Value = serde_json::from_str(said["body"].as_str().context(format!("{said}"))?)?;
        Ok((said["refused"].clone(), problem["type"].clone()))
    };
    let token = json!({"authorization": format!("Bearer {}", platform.api.admin_token())});
    let unauthenticated = (json!(401), json!("urn:stoker:problem:unauthenticated"));
    let invalid = (json!(400), json!("urn:stoker:problem:invalid_request"));
    assert_eq!(refused("", json!({})).await?, unauthenticated);
    assert_eq!(refused("", json!({"authorization": "Bearer 0123456789abcdef"})).await?, unauthenticated);
    assert_eq!(refused("", json!({"cookie": "stoker=1.2.3"})).await?, unauthenticated);
    assert_eq!(refused("?since=nonsense", token.clone()).await?, invalid);
    assert_eq!(refused("?devices=", token.clone()).await?, invalid);
    assert_eq!(refused("?tokens=1", token).await?, invalid);
    let plain = platform.api.get("/live").await?;
    assert_eq!(plain.status, 426);

    // The console's cookie, from a page of the console and from another one.
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
    let origin = format!("http://{}", platform.http);
    let form = [("secret", platform.api.admin_token())];
    let body = form.map(|(name, value)| format!("{name}={value}")).join("&");
    let signed_in = http
        .post(format!("{origin}/sign-in"))
        .header("content-type", "application/x-www-form-urlencoded")
        .header("origin", &origin)
        .body(body)
        .send()
        .await?;
    let cookie = signed_in.headers().get("set-cookie").context("no cookie")?.to_str()?;
    let cookie = cookie.split(';').next().context("an empty cookie")?.to_owned();
    let mut listener = Listener::dial_with(&platform.api, "", &json!({"cookie": cookie, "origin": origin}))?;
    assert_eq!(listener.next().await?["type"], "hello");
    let elsewhere = json!({"cookie": cookie, "origin": "https://elsewhere.example"});
    assert_eq!(refused("", elsewhere).await?, (json!(403), json!("urn:stoker:problem:forbidden")));
    Ok(())
}
