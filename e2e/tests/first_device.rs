//! The first device: it connects, reports, and what it reported is there.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use stoker_e2e::{Clients, Connect, Options, Platform, eventually, topic};

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_reading_is_visible_at_once_with_every_client_version_and_qos() -> Result<()> {
    let platform = Platform::start(Options::default()).await?;
    let mut sent = 0;
    for clients in Clients::both().await? {
        for version in [4, 5] {
            let id = format!("boiler-{:?}-{version}", clients.kind());
            let token = platform.api.make_device(&id).await?;
            let mut device = clients.device()?;
            device.enter(&Connect::token(platform.mqtt, version, &token)).await?;
            let online = platform.api.device_in(&id, "online").await?;
            let protocol = if version == 5 { "mqtt-5" } else { "mqtt-3.1.1" };
            assert_eq!(online["connection"]["protocol"], protocol);
            for qos in [1, 2] {
                let reading = format!("{{\"t_supply\":{qos}}}");
                assert_eq!(device.publish(topic::TELEMETRY, &reading, qos).await?, 0);
                let latest =
                    platform.api.get(&format!("/devices/{id}/telemetry/latest")).await?.expect(200)?;
                assert_eq!(latest["t_supply"]["value"], qos, "{id}: PUBACK means stored, and to be seen");
                sent += 1;
            }
            device.publish(topic::TELEMETRY, "{\"unheard\":0}", 0).await?;
            // QoS 0 is not acknowledged, but it is before what follows on the same connection.
            device.publish(topic::TELEMETRY, "{\"t_supply\":3}", 1).await?;
            sent += 2;
            assert_eq!(platform.api.values(&id, "t_supply").await?, [1, 2, 3]);
            assert_eq!(platform.api.values(&id, "unheard").await?, [0]);
            device.disconnect().await?;
            platform.api.device_in(&id, "offline").await?;
        }
    }
    assert_eq!(platform.metrics().await?.get("gateway_readings_stored")?, sent);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_reading_survives_kill_9() -> Result<()> {
    let mut platform = Platform::start(Options::default()).await?;
    for (round, clients) in Clients::both().await?.into_iter().enumerate() {
        let id = format!("boiler-{round}");
        let token = platform.api.make_device(&id).await?;
        let mut device = clients.device()?;
        device.enter(&Connect::token(platform.mqtt, 5, &token)).await?;
        for n in 0..20 {
            assert_eq!(device.publish(topic::TELEMETRY, &format!("{{\"n\":{n}}}"), 1).await?, 0);
        }
        platform.kill9()?;
        assert_eq!(device.ended().await?, None);
        platform.restart().await?;
        let expected: Vec<Value> = (0..20).map(Value::from).collect();
        assert_eq!(platform.api.values(&id, "n").await?, expected);
        device.enter(&Connect::token(platform.mqtt, 5, &token)).await?;
        assert_eq!(device.publish(topic::TELEMETRY, "{\"n\":20}", 1).await?, 0);
        assert_eq!(platform.api.values(&id, "n").await?.len(), 21);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_reading_is_taken() -> Result<()> {
    let platform = Platform::start(Options::default()).await?;
    let token = platform.api.make_device("boiler-7").await?;
    for clients in Clients::both().await? {
        let mut device = clients.device()?;
        device.enter(&Connect::token(platform.mqtt, 5, &token)).await?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis();
        let now = u64::try_from(now)? - 10_000;
        let key = |name: &str| format!("{name}_{:?}", clients.kind());
        let [plain, stamped, listed] = ["plain", "stamped", "listed"].map(key);
        let forms = [
            format!(
                "{{\"{plain}\":1.5,\"{plain}_b\":true,\"{plain}_t\":\"on\",\"{plain}_j\":{{\"a\":[1,null]}}}}"
            ),
            format!("{{\"ts\":{now},\"values\":{{\"{stamped}\":2}}}}"),
            format!(
                "[{{\"{listed}\":1}},{{\"ts\":{},\"values\":{{\"{listed}\":0}}}},{{\"{listed}\":2}}]",
                now + 1
            ),
        ];
        for form in &forms {
            assert_eq!(device.publish(topic::TELEMETRY, form, 1).await?, 0, "{form}");
        }
        let api = &platform.api;
        assert_eq!(api.values("boiler-7", &plain).await?, [json!(1.5)]);
        assert_eq!(api.values("boiler-7", &format!("{plain}_b")).await?, [json!(true)]);
        assert_eq!(api.values("boiler-7", &format!("{plain}_t")).await?, [json!("on")]);
        assert_eq!(api.values("boiler-7", &format!("{plain}_j")).await?, [json!({"a": [1, null]})]);
        let points = api.all(&format!("/devices/boiler-7/telemetry?keys={stamped}")).await?;
        assert_eq!(points, [json!({"key": stamped, "ts": now, "value": 2})]);
        assert_eq!(api.values("boiler-7", &listed).await?, [0, 1, 2], "by time, and of one message by place");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn points_of_one_millisecond_do_not_overwrite_each_other() -> Result<()> {
    let platform = Platform::start(Options::default()).await?;
    let token = platform.api.make_device("boiler-7").await?;
    let clients = Clients::start(stoker_e2e::Foreign::Paho).await?;
    let mut device = clients.device()?;
    device.enter(&Connect::token(platform.mqtt, 4, &token)).await?;
    for n in 0..1_000 {
        device.publish_only(topic::TELEMETRY, &format!("{{\"n\":{n}}}"), 1).await?;
    }
    device.publish(topic::TELEMETRY, "{\"n\":1000}", 1).await?;
    let expected: Vec<Value> = (0..=1_000).map(Value::from).collect();
    assert_eq!(platform.api.values("boiler-7", "n").await?, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_go_both_ways() -> Result<()> {
    let platform = Platform::start(Options::default()).await?;
    for clients in Clients::both().await? {
        let id = format!("boiler-{:?}", clients.kind());
        let token = platform.api.make_device(&id).await?;
        let mut device = clients.device()?;
        device.enter(&Connect::token(platform.mqtt, 5, &token)).await?;
        assert_eq!(device.subscribe(topic::ATTRIBUTES, 1).await?, 1);
        assert_eq!(device.subscribe("v1/devices/me/attributes/response/+", 1).await?, 1);
        assert_eq!(device.publish(topic::ATTRIBUTES, "{\"firmware\":\"1.4\",\"serial\":7}", 1).await?, 0);
        let path = format!("/devices/{id}/attributes");
        let seen = platform.api.get(&path).await?.expect(200)?;
        assert_eq!(seen["client"], json!({"firmware": "1.4", "serial": 7}));

        let change = json!({"shared": {"setpoint": 55}, "server": {"owner": "hidden"}});
        platform.api.patch(&path, &change).await?.expect(200)?;
        let message = device.message().await?;
        assert_eq!((message.topic.as_str(), message.json()?), (topic::ATTRIBUTES, json!({"setpoint": 55})));

        let ask = r#"{"clientKeys":"firmware,none","sharedKeys":"setpoint,owner"}"#;
        device.publish("v1/devices/me/attributes/request/12", ask, 1).await?;
        let answer = device.message().await?;
        assert_eq!(answer.topic, "v1/devices/me/attributes/response/12");
        assert_eq!(answer.json()?, json!({"client": {"firmware": "1.4"}, "shared": {"setpoint": 55}}));

        let change = json!({"shared": {"setpoint": null}});
        let after = platform.api.patch(&path, &change).await?.expect(200)?;
        assert_eq!(after["shared"], json!({}));
        let message = device.message().await?;
        assert_eq!(message.topic, topic::ATTRIBUTES, "a device learns of a removal, too: {message:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_may_ask_for_the_time() -> Result<()> {
    let platform = Platform::start(Options::default()).await?;
    let token = platform.api.make_device("boiler-7").await?;
    for clients in Clients::both().await? {
        let mut device = clients.device()?;
        device.enter(&Connect::token(platform.mqtt, 4, &token)).await?;
        device.subscribe("v1/devices/me/rpc/response/+", 1).await?;
        let ask = |method: &str| json!({"method": method, "params": {}}).to_string();
        device.publish("v1/devices/me/rpc/request/3", &ask("getCurrentTime"), 1).await?;
        let answer = device.message().await?;
        assert_eq!(answer.topic, "v1/devices/me/rpc/response/3");
        ensure!(answer.json()?.as_u64().is_some_and(|ms| ms > 1_700_000_000_000), "{answer:?}");
        device.publish("v1/devices/me/rpc/request/4", &ask("makeCoffee"), 1).await?;
        let answer = device.message().await?;
        assert_eq!(answer.topic, "v1/devices/me/rpc/response/4");
        ensure!(answer.json()?["error"].is_string(), "{answer:?}");
        device.disconnect().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn other_topics_and_filters_are_refused_and_the_connection_lives() -> Result<()> {
    let platform = Platform::start(Options::default()).await?;
    for clients in Clients::both().await? {
        for version in [4, 5] {
            let id = format!("boiler-{:?}-{version}", clients.kind());
            let token = platform.api.make_device(&id).await?;
            let mut device = clients.device()?;
            device.enter(&Connect::token(platform.mqtt, version, &token)).await?;
            let refused = if version == 5 { 0x87 } else { 0x80 };
            for filter in
                ["#", "v1/devices/+/telemetry", "v1/devices/me/#", "$SYS/#", "v1/devices/other/rpc/request/+"]
            {
                assert_eq!(device.subscribe(filter, 1).await?, refused, "{id}: {filter}");
            }
            let before = platform.metrics().await?.get("gateway_topics_rejected")?;
            let code = device.publish("v1/devices/other/telemetry", "{\"t\":1}", 1).await?;
            assert_eq!(code, if version == 5 { 0x87 } else { 0 }, "{id}");
            let after = platform.metrics().await?.get("gateway_topics_rejected")?;
            assert_eq!(after, before + 1);
            assert_eq!(device.publish(topic::TELEMETRY, "{\"t\":2}", 1).await?, 0, "{id}: it lives");
            assert_eq!(platform.api.values(&id, "t").await?, [2]);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_is_not_of_its_form_is_refused_counted_and_told() -> Result<()> {
    let platform = Platform::start(Options::default()).await?;
    let bad =
        ["", "{", "7", "[7]", "{\"ts\":\"soon\",\"values\":{\"t\":1}}", "\u{fffd}", "{\"t\":1}{\"t\":2}"];
    for clients in Clients::both().await? {
        for version in [4, 5] {
            let id = format!("boiler-{:?}-{version}", clients.kind());
            let token = platform.api.make_device(&id).await?;
            let mut device = clients.device()?;
            device.enter(&Connect::token(platform.mqtt, version, &token)).await?;
            let before = platform.metrics().await?.get("gateway_payloads_rejected")?;
            for payload in bad {
                let code = device.publish(topic::TELEMETRY, payload, 1).await?;
                assert_eq!(code, if version == 5 { 0x99 } else { 0 }, "{id}: {payload}");
            }
            let code = device.publish(topic::EVENTS, "{\"code\":\"E42\"}", 1).await?;
            assert_eq!(code, if version == 5 { 0x99 } else { 0 }, "{id}: an event without a kind");
            let after = platform.metrics().await?.get("gateway_payloads_rejected")?;
            assert_eq!(after - before, u64::try_from(bad.len())? + 1);
            assert_eq!(device.publish(topic::TELEMETRY, "{\"t\":2}", 1).await?, 0, "{id}: it lives");
            assert_eq!(platform.api.values(&id, "t").await?, [2]);
            let told = eventually("a payload_rejected", || async {
                let events = platform.api.events(&id, "payload_rejected").await?;
                Ok((!events.is_empty()).then_some(events))
            })
            .await?;
            assert_eq!(told.len(), 1, "at most one a minute: {told:?}");
            ensure!(told[0]["text"].as_str().is_some_and(|text| !text.is_empty()), "{told:?}");
        }
    }
    Ok(())
}
