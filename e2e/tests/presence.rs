//! Who is there, who has vanished, and what is said about it.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use stoker_e2e::{Clients, Connect, Foreign, Options, Platform, Raw, RawConnect, Will, eventually, topic};

/// The silence of a device, once it has been raised.
async fn silence(platform: &Platform, device: &str) -> Result<Value> {
    eventually(&format!("the silence of {device}"), || async {
        Ok(platform.api.alarms(device, "silence", "active").await?.into_iter().next())
    })
    .await
}

/// All silences that there ever were of a device.
async fn silences(platform: &Platform, device: &str) -> Result<usize> {
    let alarms = platform.api.all(&format!("/alarms?device={device}")).await?;
    Ok(alarms.iter().filter(|alarm| alarm["kind"] == "silence").count())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_one_device_only_the_newer_session_counts() -> Result<()> {
    let platform = Platform::start(Options::silence(1, 2)).await?;
    let marker = platform.api.make_device("marker").await?;
    let [paho, js] = Clients::both().await?;
    for (n, (old_version, new_version)) in [(5, 4), (4, 5), (5, 5)].into_iter().enumerate() {
        let id = format!("boiler-{n}");
        let token = platform.api.make_device(&id).await?;
        let (mut old, mut new) = (paho.device()?, js.device()?);
        let mut connect = Connect::token(platform.mqtt, old_version, &token);
        let payload = json!({"kind": "fault", "code": "GONE"}).to_string();
        connect.will = Some(Will { topic: topic::EVENTS.to_owned(), payload, qos: 1 });
        old.enter(&connect).await?;
        old.subscribe(topic::COMMANDS, 1).await?;
        new.enter(&Connect::token(platform.mqtt, new_version, &token)).await?;
        new.subscribe(topic::COMMANDS, 1).await?;
        assert_eq!(old.ended().await?, (old_version == 5).then_some(0x8E));
        let command = platform.api.command(&id, "m", 60).await?;
        assert_eq!(new.message().await?.number()?, 1);
        platform.api.command_in(&command, "delivered").await?;
        // Long after the end of the older was heard of: another device's silence has been raised since.
        let mut other = paho.device()?;
        other.enter(&Connect::token(platform.mqtt, 4, &marker)).await?;
        other.cut().await?;
        silence(&platform, "marker").await?;
        let now = platform.api.get(&format!("/devices/{id}")).await?.expect(200)?;
        assert_eq!(now["connection"]["state"], "online");
        assert_eq!(now["connection"]["protocol"], if new_version == 5 { "mqtt-5" } else { "mqtt-3.1.1" });
        assert_eq!(silences(&platform, &id).await?, 0);
        assert_eq!(
            platform.api.events(&id, "fault").await?,
            Vec::<Value>::new(),
            "no will of one that is here"
        );
        assert_eq!(new.publish(topic::TELEMETRY, "{\"n\":1}", 1).await?, 0);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_goodbye_raises_nothing_and_a_cut_is_silence_until_the_return() -> Result<()> {
    let platform = Platform::start(Options::silence(1, 2)).await?;
    for clients in Clients::both().await? {
        for version in [4, 5] {
            let [polite, gone] =
                ["polite", "gone"].map(|name| format!("{name}-{:?}-{version}", clients.kind()));
            let mut devices = Vec::new();
            for id in [&polite, &gone] {
                let token = platform.api.make_device(id).await?;
                let mut device = clients.device()?;
                let connect = Connect::token(platform.mqtt, version, &token);
                device.enter(&connect).await?;
                devices.push((device, connect));
            }
            devices[0].0.disconnect().await?;
            let left = platform.api.device_in(&polite, "offline").await?;
            assert_eq!(left["connection"]["reason"], "disconnect");
            devices[1].0.cut().await?;
            let alarm = silence(&platform, &gone).await?;
            assert_eq!((&alarm["severity"], &alarm["kind"]), (&json!("major"), &json!("silence")));
            let cut = platform.api.device_in(&gone, "offline").await?;
            assert_eq!(cut["connection"]["reason"], "cut");
            assert_eq!(silences(&platform, &polite).await?, 0);

            let (device, connect) = &mut devices[1];
            device.enter(connect).await?;
            let cleared = eventually("the silence is over", || async {
                Ok(platform.api.alarms(&gone, "silence", "cleared").await?.into_iter().next())
            });
            assert_eq!(cleared.await?["id"], alarm["id"]);
            assert_eq!(silences(&platform, &gone).await?, 1);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_says_nothing_for_its_keep_alive_is_closed_and_silent() -> Result<()> {
    let platform = Platform::start(Options::silence(1, 2)).await?;
    for version in [4, 5] {
        let id = format!("boiler-{version}");
        let token = platform.api.make_device(&id).await?;
        let connect = RawConnect { version, token: &token, keep_alive_s: 1 };
        let mut mute = Raw::connect(platform.mqtt, connect).await?;
        let last = mute.closed().await?;
        if version == 5 {
            assert_eq!(last.len(), 1);
            assert_eq!((last[0].kind(), last[0].body.first()), (14, Some(&0x8D)));
        } else {
            assert_eq!(last, [], "3.1.1 has no word for it");
        }
        let offline = platform.api.device_in(&id, "offline").await?;
        assert_eq!(offline["connection"]["reason"], "keep_alive");
        silence(&platform, &id).await?;
    }
    // One that hangs without closing is found in the same way.
    let token = platform.api.make_device("boiler-hung").await?;
    let clients = Clients::start(Foreign::Paho).await?;
    let mut device = clients.device()?;
    let mut connect = Connect::token(platform.mqtt, 5, &token);
    connect.keep_alive_s = 1;
    device.enter(&connect).await?;
    device.hang().await?;
    silence(&platform, "boiler-hung").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_is_said_when_the_device_vanishes_and_not_when_it_leaves() -> Result<()> {
    let platform = Platform::start(Options::silence(60, 60)).await?;
    for clients in Clients::both().await? {
        for version in [4, 5] {
            let [left, gone] = ["left", "gone"].map(|name| format!("{name}-{:?}-{version}", clients.kind()));
            let payload =
                json!({"kind": "fault", "code": "POWER", "severity": "critical", "text": "power lost"});
            let will = Will { topic: topic::EVENTS.to_owned(), payload: payload.to_string(), qos: 1 };
            let (mut one, mut other) = (clients.device()?, clients.device()?);
            for (device, id) in [(&mut one, &left), (&mut other, &gone)] {
                let token = platform.api.make_device(id).await?;
                let mut connect = Connect::token(platform.mqtt, version, &token);
                connect.will = Some(will.clone());
                device.enter(&connect).await?;
            }
            one.disconnect().await?;
            platform.api.device_in(&left, "offline").await?;
            other.cut().await?;
            let alarm = eventually("the will's alarm", || async {
                Ok(platform.api.alarms(&gone, "fault", "active").await?.into_iter().next())
            })
            .await?;
            let shown = [&alarm["code"], &alarm["severity"], &alarm["text"]];
            assert_eq!(shown, [&json!("POWER"), &json!("critical"), &json!("power lost")]);
            assert_eq!(platform.api.events(&gone, "fault").await?.len(), 1);
            assert_eq!(platform.api.events(&left, "fault").await?, Vec::<Value>::new());
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_the_platform_is_no_silence_of_devices_that_come_back() -> Result<()> {
    after_an_end(true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_end_tells_devices_and_is_no_silence_of_those_that_come_back() -> Result<()> {
    after_an_end(false).await
}

/// One device comes back after the platform ended, one does not; one had said goodbye before.
async fn after_an_end(crash: bool) -> Result<()> {
    // Begins with the first core that is back, when those who take connections may still be on their way.
    let mut platform = Platform::start(Options::silence(1, 15)).await?;
    let [paho, js] = Clients::both().await?;
    let mut devices = Vec::new();
    for (clients, version, id) in [(&paho, 5, "back"), (&js, 5, "lost"), (&js, 4, "old"), (&paho, 4, "gone")]
    {
        let token = platform.api.make_device(id).await?;
        let mut connect = Connect::token(platform.mqtt, version, &token);
        let payload = json!({"kind": "fault", "code": "POWER"}).to_string();
        connect.will = Some(Will { topic: topic::EVENTS.to_owned(), payload, qos: 1 });
        let mut device = clients.device()?;
        device.enter(&connect).await?;
        device.publish(topic::TELEMETRY, "{\"n\":1}", 1).await?;
        devices.push((device, connect));
    }
    devices[3].0.disconnect().await?;
    platform.api.device_in("gone", "offline").await?;
    if crash {
        platform.kill9()?;
    } else {
        let status = platform.terminate().await?;
        ensure!(status.success(), "SIGTERM is no failure: {status}");
    }
    for (device, connect) in devices.iter_mut().take(3) {
        let told = (!crash && connect.version == 5).then_some(0x8B);
        assert_eq!(device.ended().await?, told);
    }
    platform.restart().await?;
    for n in [0, 2] {
        let (device, connect) = &mut devices[n];
        device.enter(connect).await?;
    }
    // What is said of the one that stays away comes after everything that could be said of the others.
    silence(&platform, "lost").await?;
    eventually("the will of the lost one", || async {
        Ok(platform.api.events("lost", "fault").await?.into_iter().next())
    })
    .await?;
    for id in ["back", "old", "gone"] {
        assert_eq!(silences(&platform, id).await?, 0, "{id}");
        assert_eq!(platform.api.events(id, "fault").await?, Vec::<Value>::new(), "{id}");
    }
    Ok(())
}
