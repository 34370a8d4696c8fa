//! Orders to devices: the whole table of states, with real clients.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stoker_e2e::{Clients, Connect, Device, Down, Foreign, Options, Platform, eventually, topic};

/// A platform with one device, whose connection comes later.
struct Bench {
    platform: Platform,
    device: Device,
    connect: Connect,
}

const ID: &str = "boiler-7";

impl Bench {
    async fn new(kind: Foreign, version: u8) -> Result<Self> {
        let platform = Platform::start(Options::default()).await?;
        let clients = Clients::start(kind).await?;
        let connect = Connect::token(platform.mqtt, version, &platform.api.make_device(ID).await?);
        Ok(Self { device: clients.device()?, platform, connect })
    }

    /// The device is there and takes commands.
    async fn enter(&mut self, qos: u8) -> Result<()> {
        self.device.enter(&self.connect).await?;
        ensure!(self.device.subscribe(topic::COMMANDS, qos).await? == qos, "not subscribed");
        Ok(())
    }

    async fn command(&self, expires_in_s: u32) -> Result<Value> {
        self.platform.api.command(ID, "write_setpoint", expires_in_s).await
    }

    async fn state(&self, command: &Value, state: &str) -> Result<Value> {
        self.platform.api.command_in(command, state).await
    }

    async fn reply(&self, number: u64, reply: &str) -> Result<()> {
        let code = self.device.publish(&topic::reply(number), reply, 1).await?;
        ensure!(code == 0, "the reply was answered by {code:#04x}");
        Ok(())
    }
}

fn number(command: &Value) -> Result<u64> {
    command["number"].as_u64().context("a command without a number")
}

/// The message is this command, as it was given.
fn is_this(message: &Down, command: &Value) -> Result<()> {
    assert_eq!(message.topic, topic::command(number(command)?));
    assert_eq!(message.json()?, json!({"method": "write_setpoint", "params": command["params"]}));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_queued_sent_delivered_and_answered_with_qos_1() -> Result<()> {
    for kind in [Foreign::Paho, Foreign::Js] {
        for version in [4, 5] {
            let mut bench = Bench::new(kind, version).await?;
            bench.enter(1).await?;
            let command = bench.command(60).await?;
            assert_eq!((&command["state"], &command["online"]), (&json!("queued"), &json!(true)));
            let message = bench.device.message().await?;
            is_this(&message, &command)?;
            assert_eq!(message.qos, 1);
            let delivered = bench.state(&command, "delivered").await?;
            ensure!(delivered["sent_at"].is_string() && delivered["delivered_at"].is_string(), "{delivered}");
            ensure!(delivered["ended_at"].is_null() && delivered["reply"].is_null(), "{delivered}");
            bench.reply(message.number()?, "{\"done\":true}").await?;
            let ended = bench.platform.api.command_now(&command).await?;
            assert_eq!(ended["state"], "succeeded", "the reply's PUBACK means that core has it");
            assert_eq!((&ended["reply"], &ended["outcome"]), (&json!({"done": true}), &Value::Null));
            ensure!(ended["ended_at"].is_string(), "{ended}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_qos_0_a_command_stays_sent_until_the_reply() -> Result<()> {
    let mut bench = Bench::new(Foreign::Paho, 4).await?;
    bench.enter(0).await?;
    let command = bench.command(60).await?;
    let message = bench.device.message().await?;
    is_this(&message, &command)?;
    assert_eq!(message.qos, 0);
    bench.state(&command, "sent").await?;
    bench.device.messages_so_far().await?;
    assert_eq!(bench.platform.api.command_now(&command).await?["state"], "sent");
    bench.reply(message.number()?, "7").await?;
    let ended = bench.state(&command, "succeeded").await?;
    assert_eq!(ended["reply"], 7);
    ensure!(ended["delivered_at"].is_string(), "a reply implies delivered: {ended}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_with_an_error_is_a_failure() -> Result<()> {
    let mut bench = Bench::new(Foreign::Js, 5).await?;
    bench.enter(1).await?;
    let command = bench.command(60).await?;
    bench.device.message().await?;
    bench.reply(number(&command)?, "{\"error\":\"burner locked\"}").await?;
    let ended = bench.state(&command, "failed").await?;
    assert_eq!(ended["reply"], json!({"error": "burner locked"}));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_to_an_absent_device_or_one_that_wants_none_was_never_sent() -> Result<()> {
    let mut bench = Bench::new(Foreign::Paho, 5).await?;
    let command = bench.command(1).await?;
    assert_eq!(command["online"], false);
    let ended = bench.state(&command, "expired").await?;
    assert_eq!(ended["outcome"], "never_sent");

    bench.device.enter(&bench.connect).await?;
    bench.device.subscribe(topic::ATTRIBUTES, 1).await?;
    let command = bench.command(1).await?;
    assert_eq!(command["online"], true);
    let ended = bench.state(&command, "expired").await?;
    assert_eq!(ended["outcome"], "never_sent", "not subscribed counts as absent");

    bench.device.subscribe(topic::COMMANDS, 1).await?;
    bench.device.unsubscribe(topic::COMMANDS).await?;
    let command = bench.command(1).await?;
    let ended = bench.state(&command, "expired").await?;
    ensure!(["never_sent", "unknown"].contains(&ended["outcome"].as_str().unwrap_or_default()), "{ended}");
    assert_eq!(bench.device.messages_so_far().await?, [], "what has ended is not sent");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mute_device_leaves_what_is_known_and_no_more() -> Result<()> {
    for (qos, before, outcome) in [(1, "delivered", "no_reply"), (0, "sent", "unknown")] {
        let mut bench = Bench::new(Foreign::Js, 4).await?;
        bench.enter(qos).await?;
        let command = bench.command(3).await?;
        bench.device.message().await?;
        bench.state(&command, before).await?;
        let ended = bench.state(&command, "expired").await?;
        assert_eq!(ended["outcome"], outcome, "QoS {qos}");
        assert_eq!(ended["delivered_at"].is_string(), qos == 1, "{ended}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_after_the_end_is_an_event_and_changes_nothing() -> Result<()> {
    let mut bench = Bench::new(Foreign::Paho, 5).await?;
    bench.enter(1).await?;
    let command = bench.command(1).await?;
    bench.device.message().await?;
    let ended = bench.state(&command, "expired").await?;
    bench.reply(number(&command)?, "{\"done\":true}").await?;
    let events = bench.platform.api.events(ID, "late_reply").await?;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["data"], json!({"number": 1, "reply": {"done": true}}));
    assert_eq!(bench.platform.api.command_now(&command).await?, ended);
    // The same reply, sent again because its PUBACK was lost, is no other fact.
    bench.reply(number(&command)?, "{\"done\":true}").await?;
    assert_eq!(bench.platform.api.events(ID, "late_reply").await?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_the_device_refuses_has_failed() -> Result<()> {
    let mut bench = Bench::new(Foreign::Js, 5).await?;
    bench.connect.ack_reason = 0x83;
    bench.enter(1).await?;
    let command = bench.command(60).await?;
    let ended = bench.state(&command, "failed").await?;
    ensure!(ended["delivered_at"].is_null() && ended["reply"].is_null(), "{ended}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_may_come_before_the_acknowledgement() -> Result<()> {
    for version in [4, 5] {
        let mut bench = Bench::new(Foreign::Paho, version).await?;
        bench.connect.manual_ack = true;
        bench.enter(1).await?;
        let command = bench.command(60).await?;
        let message = bench.device.message().await?;
        bench.state(&command, "sent").await?;
        bench.reply(message.number()?, "true").await?;
        let ended = bench.state(&command, "succeeded").await?;
        ensure!(ended["delivered_at"].is_string(), "a reply implies delivered: {ended}");
        bench.device.acknowledge(&message).await?;
        assert_eq!(bench.device.messages_so_far().await?, []);
        assert_eq!(bench.platform.api.command_now(&command).await?, ended, "states never go back");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_can_be_cancelled_until_it_has_ended() -> Result<()> {
    let mut bench = Bench::new(Foreign::Paho, 5).await?;
    let cancel = async |platform: &Platform, command: &Value| {
        let path = format!("/commands/{}/cancel", command["id"].as_str().unwrap_or_default());
        platform.api.post(&path, &json!({})).await
    };
    let queued = bench.command(60).await?;
    assert_eq!(cancel(&bench.platform, &queued).await?.expect(200)?["state"], "cancelled");

    bench.connect.manual_ack = true;
    bench.enter(1).await?;
    let sent = bench.command(60).await?;
    let message = bench.device.message().await?;
    assert_eq!(message.number()?, number(&sent)?, "what was cancelled is not sent");
    bench.state(&sent, "sent").await?;
    let ended = cancel(&bench.platform, &sent).await?.expect(200)?;
    assert_eq!(ended["state"], "cancelled");
    bench.device.acknowledge(&message).await?;
    bench.reply(message.number()?, "1").await?;
    assert_eq!(bench.platform.api.command_now(&sent).await?, ended);
    assert_eq!(bench.platform.api.events(ID, "late_reply").await?.len(), 1);
    assert_eq!(cancel(&bench.platform, &sent).await?.status, 409, "a command ends once");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_wait_for_a_device_that_is_away_and_come_in_order_with_their_numbers() -> Result<()> {
    let mut bench = Bench::new(Foreign::Js, 5).await?;
    let mut commands = Vec::new();
    for _ in 0..20 {
        commands.push(bench.command(60).await?);
    }
    bench.enter(1).await?;
    for command in &commands {
        let message = bench.device.message().await?;
        is_this(&message, command)?;
        bench.reply(message.number()?, "true").await?;
    }
    for command in &commands {
        bench.state(command, "succeeded").await?;
    }
    assert_eq!(bench.device.messages_so_far().await?, []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_may_have_been_missed_is_sent_again_with_its_number() -> Result<()> {
    for version in [4, 5] {
        let mut bench = Bench::new(Foreign::Paho, version).await?;
        bench.connect.manual_ack = true;
        bench.enter(1).await?;
        let command = bench.command(60).await?;
        is_this(&bench.device.message().await?, &command)?;
        bench.state(&command, "sent").await?;
        bench.device.cut().await?;
        bench.platform.api.device_in(ID, "offline").await?;
        assert_eq!(bench.platform.api.command_now(&command).await?["state"], "sent");
        bench.enter(1).await?;
        let again = bench.device.message().await?;
        is_this(&again, &command)?;
        bench.device.acknowledge(&again).await?;
        bench.state(&command, "delivered").await?;
        // What was delivered is not sent once more.
        bench.device.cut().await?;
        bench.platform.api.device_in(ID, "offline").await?;
        bench.enter(1).await?;
        assert_eq!(bench.device.messages_so_far().await?, []);
        bench.reply(number(&command)?, "true").await?;
        bench.state(&command, "succeeded").await?;
        assert_eq!(bench.platform.api.all(&format!("/devices/{ID}/commands")).await?.len(), 1);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_101st_open_command_of_a_device_is_refused_and_an_end_makes_room() -> Result<()> {
    let bench = Bench::new(Foreign::Paho, 5).await?;
    let mut first = Value::Null;
    for n in 0..100 {
        let command = bench.command(600).await?;
        if n == 0 {
            first = command;
        }
    }
    let path = format!("/devices/{ID}/commands");
    let refused = bench.platform.api.post(&path, &json!({"method": "m"})).await?.expect(429)?;
    ensure!(
        refused["detail"].as_str().is_some_and(|detail| detail.contains("100")),
        "names the limit: {refused}"
    );
    let id = first["id"].as_str().context("no id")?;
    bench.platform.api.post(&format!("/commands/{id}/cancel"), &json!({})).await?.expect(200)?;
    bench.command(600).await?;
    assert_eq!(bench.platform.api.post(&path, &json!({"method": "m"})).await?.status, 429);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_s_returns_at_the_end_or_after_that_time() -> Result<()> {
    let mut bench = Bench::new(Foreign::Js, 4).await?;
    bench.enter(1).await?;
    let command = bench.command(60).await?;
    let message = bench.device.message().await?;
    let id = command["id"].as_str().context("no id")?;
    let open = bench.platform.api.get(&format!("/commands/{id}?wait_s=1")).await?.expect(200)?;
    assert_eq!(open["ended_at"], Value::Null);
    let waiting = bench.platform.api.clone();
    let path = format!("/commands/{id}?wait_s=60");
    let (ended, replied) = tokio::join!(waiting.get(&path), bench.reply(message.number()?, "5"));
    replied?;
    assert_eq!(ended?.expect(200)?["state"], "succeeded");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_changes_no_final_state_and_every_open_command_still_ends_once() -> Result<()> {
    let mut bench = Bench::new(Foreign::Paho, 5).await?;
    let cancelled = bench.command(600).await?;
    let id = cancelled["id"].as_str().context("no id")?;
    bench.platform.api.post(&format!("/commands/{id}/cancel"), &json!({})).await?.expect(200)?;
    let expired = bench.command(1).await?;
    bench.state(&expired, "expired").await?;
    bench.connect.manual_ack = true;
    bench.enter(1).await?;
    let [succeeded, failed, delivered, sent] = [
        bench.command(600).await?,
        bench.command(600).await?,
        bench.command(600).await?,
        bench.command(600).await?,
    ];
    for acknowledged in [true, true, true, false] {
        let message = bench.device.message().await?;
        if acknowledged {
            bench.device.acknowledge(&message).await?;
        }
    }
    bench.reply(number(&succeeded)?, "1").await?;
    bench.reply(number(&failed)?, "{\"error\":1}").await?;
    bench.state(&delivered, "delivered").await?;
    bench.state(&sent, "sent").await?;
    let absent = bench.platform.api.make_device("boiler-8").await?;
    let queued = bench.platform.api.command("boiler-8", "write_setpoint", 600).await?;

    let all = [&cancelled, &expired, &succeeded, &failed, &delivered, &sent, &queued];
    let mut before = Vec::new();
    for command in all {
        before.push(bench.platform.api.command_now(command).await?);
    }
    for _ in 0..3 {
        bench.platform.kill9()?;
        bench.platform.restart().await?;
    }
    for (command, before) in all.into_iter().zip(&before) {
        assert_eq!(&bench.platform.api.command_now(command).await?, before);
    }

    bench.connect.manual_ack = false;
    bench.enter(1).await?;
    is_this(&bench.device.message().await?, &sent)?;
    bench.state(&sent, "delivered").await?;
    assert_eq!(bench.device.messages_so_far().await?, [], "nothing else was open and undelivered");
    bench.reply(number(&sent)?, "2").await?;
    bench.reply(number(&delivered)?, "3").await?;
    bench.device.disconnect().await?;
    bench.connect.user_name = Some(absent);
    bench.enter(1).await?;
    is_this(&bench.device.message().await?, &queued)?;
    bench.reply(number(&queued)?, "4").await?;
    for command in [&sent, &delivered, &queued] {
        bench.state(command, "succeeded").await?;
    }
    for (command, before) in all.into_iter().zip(&before).take(4) {
        assert_eq!(&bench.platform.api.command_now(command).await?, before, "final is final");
    }
    let listed = bench.platform.api.all(&format!("/devices/{ID}/commands")).await?;
    assert_eq!(listed.len(), 6, "each is listed once");
    assert_eq!(bench.platform.api.events(ID, "late_reply").await?, Vec::<Value>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_between_creation_and_reply_ends_every_command_exactly_once() -> Result<()> {
    let mut bench = Bench::new(Foreign::Js, 5).await?;
    bench.enter(1).await?;
    let mut commands = Vec::new();
    for _ in 0..5 {
        // Some are sent, some delivered, some answered when the platform dies.
        for _ in 0..4 {
            commands.push(bench.command(600).await?);
        }
        let message = bench.device.message().await?;
        bench.device.publish_only(&topic::reply(message.number()?), "true", 1).await?;
        bench.platform.kill9()?;
        bench.device.ended().await?;
        // Those of the connection that is gone.
        while bench.device.message_within(std::time::Duration::from_millis(1)).await?.is_some() {}
        bench.platform.restart().await?;
        bench.enter(1).await?;
    }
    // A device answers what it has been told, again and again where need be.
    let answered = eventually("all commands ended", || async {
        let mut open = 0;
        for command in &commands {
            let now = bench.platform.api.command_now(command).await?;
            if now["ended_at"].is_null() {
                open += 1;
                bench.reply(number(&now)?, "true").await?;
            }
        }
        Ok((open == 0).then_some(()))
    });
    answered.await?;
    for command in &commands {
        assert_eq!(bench.platform.api.command_now(command).await?["state"], "succeeded");
    }
    let listed = bench.platform.api.all(&format!("/devices/{ID}/commands")).await?;
    let mut numbers: Vec<u64> = listed.iter().filter_map(|command| command["number"].as_u64()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=20).collect::<Vec<u64>>());
    Ok(())
}
