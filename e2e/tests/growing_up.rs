//! From a try-out to services: what `stoker up` held is what the services answer, and they go on with it.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stoker_e2e::{
    Api, Cli, Clients, Connect, Device, Foreign, Options, Platform, Services, WebhookSink, topic,
};

const SECRET: &str = "0123456789abcdef";
/// Each way of the readings of a device: more than one page, and than one look into the database.
const MESSAGES: i64 = 500;
const PAYLOADS: i64 = 6;
/// Long enough that nobody is missed here.
const SILENCE: &str = "silence: {after: 300s, grace: 300s}";

async fn fault(device: &Device, code: &str, cleared: bool) -> Result<()> {
    let event = json!({"kind": "fault", "code": code, "severity": "critical", "text": "flame lost", "cleared": cleared});
    let answer = device.publish(topic::EVENTS, &event.to_string(), 1).await?;
    ensure!(answer == 0, "the event was answered by {answer:#04x}");
    Ok(())
}

/// The device does the next order.
async fn obey(device: &mut Device) -> Result<()> {
    let order = device.message().await?;
    let reply = format!("v1/devices/me/rpc/response/{}", order.number()?);
    ensure!(device.publish(&reply, "{\"done\":true}", 1).await? == 0, "the reply was refused");
    Ok(())
}

async fn enter(clients: &Clients, connect: &Connect) -> Result<Device> {
    let mut device = clients.device()?;
    device.enter(connect).await?;
    ensure!(device.subscribe(topic::COMMANDS, 1).await? == 1, "the subscription was not granted");
    Ok(device)
}

/// Readings of times long ago and of now, one of them corrected later.
async fn report(device: &Device) -> Result<()> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis();
    let began = i64::try_from(now)? - 10 * 86_400_000;
    let send = async |payload: Value| {
        let answer = device.publish(topic::TELEMETRY, &payload.to_string(), 1).await?;
        ensure!(answer == 0, "the readings were answered by {answer:#04x}");
        Ok(())
    };
    for payload in 0..PAYLOADS {
        let message =
            |n: i64| json!({"ts": began + n * 60_000, "values": {"n": n, "text": format!("wörd {n}")}});
        let messages: Vec<Value> = (payload * MESSAGES..(payload + 1) * MESSAGES).map(message).collect();
        send(json!(messages)).await?;
    }
    send(json!([{"ts": began, "values": {"n": -1}}])).await?;
    send(json!({"ok": true, "config": {"a": [1, 2.5]}})).await
}

/// Everything that the API tells of those devices.
async fn told(api: &Api, devices: &[&str]) -> Result<Vec<(String, Value)>> {
    let mut told = Vec::new();
    let (mut lists, mut things) = (Vec::new(), Vec::new());
    lists.extend(["/devices", "/events", "/alarms", "/subscriptions", "/notifications"].map(str::to_owned));
    for device in devices {
        lists.push(format!("/devices/{device}/telemetry?order=asc"));
        lists.push(format!("/devices/{device}/commands"));
        for thing in ["", "/attributes", "/telemetry/latest"] {
            things.push(format!("/devices/{device}{thing}"));
        }
    }
    for list in lists {
        let items = api.all(&list).await.with_context(|| list.clone())?;
        told.push((list, json!(items)));
    }
    for thing in things {
        let answer = api.get(&thing).await?.expect(200).with_context(|| thing.clone())?;
        told.push((thing, answer));
    }
    Ok(told)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_try_out_held_is_what_the_services_answer_and_go_on_with() -> Result<()> {
    let mut sink = WebhookSink::start().await?;
    let mut platform = Platform::one("the try-out that grows up", Options::config(SILENCE)).await?;
    let api = platform.api.clone();
    let deliver = json!([{"channel": "webhook", "url": sink.url(), "secret": SECRET}]);
    let subscription = json!({"name": "Night shift", "match": {}, "deliver": deliver});
    api.post("/subscriptions", &subscription).await?.expect(201)?;
    let token = api.make_device("boiler-1").await?;
    let offline = api.make_device("boiler-2").await?;
    api.make_device("boiler-3").await?;
    api.patch("/devices/boiler-3/attributes", &json!({"shared": {"setpoint": 55.5}})).await?.expect(200)?;
    let clients = Clients::start(Foreign::Paho).await?;
    let mut device = enter(&clients, &Connect::token(platform.mqtt, 5, &token)).await?;
    report(&device).await?;
    ensure!(device.publish(topic::ATTRIBUTES, r#"{"firmware":"1.4"}"#, 1).await? == 0);
    for (code, cleared) in [("E42", false), ("E43", false), ("E43", true)] {
        fault(&device, code, cleared).await?;
    }
    let done = api.command("boiler-1", "reset", 600).await?;
    obey(&mut device).await?;
    api.command_in(&done, "succeeded").await?;
    let open = api.command("boiler-2", "write_setpoint", 3_600).await?;
    sink.hooks_once(3).await?;
    device.disconnect().await?;
    api.device_in("boiler-1", "offline").await?;
    let delivered = stoker_e2e::eventually("all notifications are delivered", || async {
        let told = api.all("/notifications").await?;
        Ok((told.len() == 3 && told.iter().all(|one| one["state"] == "delivered")).then_some(()))
    });
    delivered.await?;
    let devices = ["boiler-1", "boiler-2", "boiler-3"];
    let before = told(&api, &devices).await?;
    ensure!(before.iter().any(|(_, answer)| {
        answer
            .as_array()
            .is_some_and(|items| i64::try_from(items.len()).is_ok_and(|n| n > PAYLOADS * MESSAGES))
    }));

    let cli = Cli::new(&platform);
    let data = platform.data_dir();
    let (data, file) = (data.to_str().context("no UTF-8")?, platform.scratch().join("all.export"));
    let file = file.to_str().context("no UTF-8")?.to_owned();
    let export = ["data", "export", "--data-dir", data, &file];
    cli.run(&export).await?.refused(1, &["used by another process"])?;
    ensure!(platform.terminate().await?.success());
    let exported = cli.run(&export).await?;
    ensure!(exported.code == 0 && exported.said.contains("exported"), "{exported:?}");

    let config = json!({
        "silence": {"after": "300s", "grace": "300s"},
    });
    let mut services = Services::prepare([1, 1, 1, 1], &config)?;
    let path = services.config();
    let config = path.to_str().context("no UTF-8")?;
    let bytes = fs::read(&file)?;
    let half = format!("{file}.half");
    fs::write(&half, bytes.get(..bytes.len() / 2).unwrap_or_default())?;
    cli.run(&["data", "import", &half, "--config", config]).await?.refused(1, &[&half, "cut off"])?;
    let import = ["data", "import", &file, "--config", config];
    let imported = cli.run(&import).await?;
    ensure!(imported.code == 0 && imported.said.contains("the cores may start"), "{imported:?}");
    let again = cli.run(&import).await?;
    again.refused(1, &["already holds the device default/boiler-", "nothing was changed"])?;

    services.run().await?;
    services.settled(0).await?;
    let api = services.api(0)?;
    for (after, before) in told(&api, &devices).await?.into_iter().zip(before) {
        ensure!(after == before, "{}: {} in place of {}", after.0, after.1, before.1);
    }
    cli.run(&import).await?.refused(1, &["core m", "stop all cores"])?;

    // The same tokens open, what waited is handed out, what was raised is cleared, and numbers go on.
    let mut late = enter(&clients, &Connect::token(services.gateways[0].address, 5, &offline)).await?;
    obey(&mut late).await?;
    api.command_in(&open, "succeeded").await?;
    let mut device = enter(&clients, &Connect::token(services.gateways[0].address, 5, &token)).await?;
    fault(&device, "E42", true).await?;
    let hooks = sink.hooks_once(4).await?;
    ensure!(hooks.last().context("no webhook")?.genuine(SECRET).await?);
    let next = api.command("boiler-1", "reset", 600).await?;
    ensure!(next["number"] == json!(2), "{next}");
    obey(&mut device).await?;
    api.command_in(&next, "succeeded").await?;
    sink.stop().await
}
