//! Readings and commands have lanes of their own: neither holds the other up.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use stoker_e2e::{Clients, Connect, Foreign, Options, Packet, Platform, Raw, RawConnect, topic};

const HUNG: usize = 20;
const COMMANDS: usize = 20;
const READINGS: u16 = 50;

/// Reads until that many PUBACKs have come; how many commands came between.
async fn acknowledged(raw: &mut Raw, count: u16) -> Result<usize> {
    let (mut acks, mut commands) = (0, 0);
    while acks < count {
        match raw.packet().await?.context("the platform has closed the connection")? {
            Packet { first: 0x40, body } => {
                acks += 1;
                assert_eq!(body.get(..2), Some(acks.to_be_bytes().as_slice()), "in the order they came");
            }
            packet if packet.kind() == 3 => commands += 1,
            packet => ensure!(packet.kind() == 9, "{packet:?}"),
        }
    }
    Ok(commands)
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_to_hung_devices_delay_no_reading_of_theirs_or_of_others() -> Result<()> {
    let platform = Platform::start(Options::default()).await?;
    let clients = Clients::start(Foreign::Js).await?;
    let token = platform.api.make_device("other").await?;
    let mut other = clients.device()?;
    other.enter(&Connect::token(platform.mqtt, 5, &token)).await?;
    let (mut hung, mut commands) = (Vec::new(), Vec::new());
    for n in 0..HUNG {
        let id = format!("hung-{n}");
        let token = platform.api.make_device(&id).await?;
        let connect = RawConnect { version: 4, token: &token, keep_alive_s: 0 };
        let mut raw = Raw::connect(platform.mqtt, connect).await?;
        raw.write(&Raw::subscribe(4, 1, &[(topic::COMMANDS, 1)])).await?;
        ensure!(raw.packet().await?.is_some_and(|packet| packet.kind() == 9), "no SUBACK");
        for _ in 0..COMMANDS {
            commands.push(platform.api.command(&id, "m", 600).await?);
        }
        hung.push((id, raw));
    }
    for command in &commands {
        platform.api.command_in(command, "sent").await?;
    }
    for (_, raw) in &mut hung {
        for n in 1..=READINGS {
            let reading = format!("{{\"n\":{n}}}");
            raw.write(&Raw::publish(4, n, topic::TELEMETRY, reading.as_bytes())).await?;
        }
    }
    for n in 1..=READINGS {
        assert_eq!(other.publish(topic::TELEMETRY, &format!("{{\"n\":{n}}}"), 1).await?, 0);
    }
    for (_, raw) in &mut hung {
        assert_eq!(acknowledged(raw, READINGS).await?, COMMANDS);
    }
    let expected: Vec<Value> = (1..=READINGS).map(Value::from).collect();
    assert_eq!(platform.api.values("other", "n").await?, expected);
    for (id, _) in &hung {
        assert_eq!(platform.api.values(id, "n").await?, expected, "{id}");
    }
    for command in &commands {
        assert_eq!(
            platform.api.command_now(command).await?["state"],
            "sent",
            "none has been settled meanwhile"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_readings_delays_no_command() -> Result<()> {
    let platform = Platform::start(Options::default()).await?;
    let clients = Clients::start(Foreign::Js).await?;
    let token = platform.api.make_device("boiler-7").await?;
    let mut device = clients.device()?;
    device.enter(&Connect::token(platform.mqtt, 5, &token)).await?;
    device.subscribe(topic::COMMANDS, 1).await?;
    let flood = platform.api.make_device("flood").await?;
    let mut raw =
        Raw::connect(platform.mqtt, RawConnect { version: 4, token: &flood, keep_alive_s: 0 }).await?;
    let mut sent = 0;
    for _ in 0..20 {
        for _ in 0..500 {
            sent += 1;
            raw.write(&Raw::publish(4, sent, topic::TELEMETRY, format!("{{\"n\":{sent}}}").as_bytes()))
                .await?;
        }
        let command = platform.api.command("boiler-7", "m", 60).await?;
        let message = device.message().await?;
        assert_eq!(device.publish(&topic::reply(message.number()?), "true", 1).await?, 0);
        platform.api.command_in(&command, "succeeded").await?;
    }
    acknowledged(&mut raw, sent).await?;
    assert_eq!(platform.api.values("flood", "n").await?.len(), usize::from(sent));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_takes_its_time_gets_a_hundred_commands_in_order() -> Result<()> {
    let platform = Platform::start(Options::default()).await?;
    let clients = Clients::start(Foreign::Paho).await?;
    let token = platform.api.make_device("boiler-7").await?;
    let mut device = clients.device()?;
    let mut connect = Connect::token(platform.mqtt, 5, &token);
    connect.manual_ack = true;
    device.enter(&connect).await?;
    device.subscribe(topic::COMMANDS, 1).await?;
    let mut commands = Vec::new();
    for _ in 0..100 {
        commands.push(platform.api.command("boiler-7", "m", 600).await?);
    }
    for n in 1..=100 {
        let message = device.message().await.with_context(|| format!("command {n}"))?;
        assert_eq!(message.number()?, n);
        device.acknowledge(&message).await?;
        assert_eq!(device.publish(&topic::reply(n), "true", 1).await?, 0);
    }
    for command in &commands {
        platform.api.command_in(command, "succeeded").await?;
    }
    Ok(())
}
