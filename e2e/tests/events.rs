//! Facts from devices, and the alarms they raise.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use stoker_e2e::{Clients, Connect, Foreign, Options, Platform, eventually, topic};

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_is_an_alarm_until_it_is_cleared_and_survives_kill_9() -> Result<()> {
    let mut platform = Platform::start(Options::silence(60, 60)).await?;
    for clients in Clients::both().await? {
        let id = format!("boiler-{:?}", clients.kind());
        let token = platform.api.make_device(&id).await?;
        let connect = Connect::token(platform.mqtt, 5, &token);
        let mut device = clients.device()?;
        device.enter(&connect).await?;
        let fault = json!({
            "kind": "fault", "code": "E42", "severity": "critical", "text": "flame lost", "data": {"pressure": 1.2},
        });
        assert_eq!(device.publish(topic::EVENTS, &fault.to_string(), 1).await?, 0);
        // The PUBACK means that what it caused is committed, too.
        platform.kill9()?;
        device.ended().await?;
        platform.restart().await?;
        let alarms = platform.api.alarms(&id, "fault", "active").await?;
        ensure!(alarms.len() == 1, "{alarms:?}");
        let shown = ["code", "severity", "text", "count"].map(|field| alarms[0][field].clone());
        assert_eq!(shown, [json!("E42"), json!("critical"), json!("flame lost"), json!(1)]);
        let events = platform.api.events(&id, "fault").await?;
        assert_eq!((events.len(), &events[0]["data"]), (1, &json!({"pressure": 1.2})));

        device.enter(&connect).await?;
        let again = json!({"kind": "fault", "code": "E42", "severity": "critical"});
        assert_eq!(device.publish(topic::EVENTS, &again.to_string(), 2).await?, 0);
        let alarms = platform.api.alarms(&id, "fault", "active").await?;
        assert_eq!((alarms.len(), &alarms[0]["count"]), (1, &json!(2)), "the same fault is the same alarm");
        let cleared = json!({"kind": "fault", "code": "E42", "cleared": true});
        assert_eq!(device.publish(topic::EVENTS, &cleared.to_string(), 1).await?, 0);
        assert_eq!(platform.api.alarms(&id, "fault", "active").await?, Vec::<Value>::new());
        let over = platform.api.alarms(&id, "fault", "cleared").await?;
        assert_eq!((over.len(), &over[0]["id"]), (1, &alarms[0]["id"]));
        ensure!(over[0]["cleared_at"].is_string(), "{over:?}");
        assert_eq!(platform.api.events(&id, "fault").await?.len(), 3);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_id_counts_once_also_over_kill_9() -> Result<()> {
    let mut platform = Platform::start(Options::silence(60, 60)).await?;
    let clients = Clients::start(Foreign::Paho).await?;
    let token = platform.api.make_device("boiler-7").await?;
    let connect = Connect::token(platform.mqtt, 4, &token);
    let mut device = clients.device()?;
    let fault = json!({"id": "f-1", "kind": "fault", "code": "E42"}).to_string();
    for round in 0..3 {
        device.enter(&connect).await?;
        for _ in 0..3 {
            assert_eq!(device.publish(topic::EVENTS, &fault, 1).await?, 0);
        }
        assert_eq!(platform.api.events("boiler-7", "fault").await?.len(), 1, "round {round}");
        let alarms = platform.api.alarms("boiler-7", "fault", "active").await?;
        assert_eq!((alarms.len(), &alarms[0]["count"]), (1, &json!(1)), "round {round}");
        assert_eq!(
            (&alarms[0]["severity"], &alarms[0]["text"]),
            (&json!("major"), &json!("E42")),
            "what is left out"
        );
        platform.kill9()?;
        device.ended().await?;
        platform.restart().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_fault_raises_an_alarm_by_itself() -> Result<()> {
    let platform = Platform::start(Options::default()).await?;
    let clients = Clients::start(Foreign::Js).await?;
    let token = platform.api.make_device("boiler-7").await?;
    let mut device = clients.device()?;
    device.enter(&Connect::token(platform.mqtt, 5, &token)).await?;
    let service = json!({"kind": "service", "code": "S1", "severity": "critical", "text": "opened"});
    assert_eq!(device.publish(topic::EVENTS, &service.to_string(), 1).await?, 0);
    assert_eq!(device.publish(topic::EVENTS, "{\"kind\":\"fault\",\"code\":\"E1\"}", 1).await?, 0);
    let alarms = platform.api.all("/alarms?device=boiler-7").await?;
    assert_eq!((alarms.len(), &alarms[0]["code"]), (1, &json!("E1")));
    assert_eq!(platform.api.events("boiler-7", "service").await?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_says_less_than_expected_is_silent_though_connected() -> Result<()> {
    let platform = Platform::start(Options::silence(60, 1)).await?;
    let clients = Clients::start(Foreign::Js).await?;
    let mut devices = Vec::new();
    for id in ["talks", "mute"] {
        let made = platform.api.post("/devices", &json!({"id": id, "expected_interval_s": 2})).await?;
        let made = made.expect(201)?;
        let mut device = clients.device()?;
        let token = made["token"].as_str().unwrap_or_default();
        device.enter(&Connect::token(platform.mqtt, 5, token)).await?;
        devices.push(device);
    }
    let alarm = eventually("the silence of the mute one", || async {
        assert_eq!(devices[0].publish(topic::TELEMETRY, "{\"n\":1}", 1).await?, 0);
        tokio::time::sleep(Duration::from_millis(200)).await;
        Ok(platform.api.alarms("mute", "silence", "active").await?.into_iter().next())
    });
    let alarm = alarm.await?;
    assert_eq!(platform.api.get("/devices/mute").await?.expect(200)?["connection"]["state"], "online");
    assert_eq!(platform.api.all("/alarms?device=talks").await?, Vec::<Value>::new());
    assert_eq!(devices[1].publish(topic::TELEMETRY, "{\"n\":1}", 1).await?, 0);
    let cleared = eventually("a reading ends the silence", || async {
        Ok(platform.api.alarms("mute", "silence", "cleared").await?.into_iter().next())
    });
    assert_eq!(cleared.await?["id"], alarm["id"]);
    Ok(())
}
