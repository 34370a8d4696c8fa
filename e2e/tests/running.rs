//! What whoever runs the services does: dead letters, certificates, an address or a share of the slots of its own, and
//! starts and ends while something is away.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stoker_e2e::{
    Broker, ClientCa, Clients, Connect, Device, Foreign, Relay, Services, SmtpSink, eventually, refused,
    topic,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

async fn enter(services: &Services, id: &str) -> Result<Device> {
    let token = services.api(0)?.make_device(id).await?;
    let mut device = Clients::start(Foreign::Paho).await?.device()?;
    device.enter(&Connect::token(services.gateways[0].address, 5, &token)).await?;
    Ok(device)
}

async fn report(device: &Device, n: u64) -> Result<()> {
    let code = device.publish(topic::TELEMETRY, &format!("{{\"n\":{n}}}"), 1).await?;
    ensure!(code == 0, "the reading was answered by {code:#04x}");
    Ok(())
}

fn lab(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set: `cargo xtask lab up` says what it is"))
}

/// The address in `amqp://user:password@host:port/vhost`.
fn address(url: &str) -> Result<&str> {
    let after = url.rsplit_once('@').map_or(url, |(_, after)| after);
    after.split('/').next().context("no address")
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_seen_sent_back_and_dropped_from_the_command_line() -> Result<()> {
    let mail = SmtpSink::start().await?;
    let mut services = Services::prepare([1, 1, 1, 1], &json!({"notifier": mail.email()}))?;
    for service in [&mut services.cores[0], &mut services.gateways[0], &mut services.portals[0]] {
        service.start()?;
    }
    for service in [&mut services.cores[0], &mut services.gateways[0], &mut services.portals[0]] {
        service.ready().await?;
    }
    let api = services.api(0)?;
    let deliver = json!([{"channel": "email", "to": "night@example.org"}]);
    api.post("/subscriptions", &json!({"name": "Night shift", "match": {}, "deliver": deliver}))
        .await?
        .expect(201)?;
    let device = enter(&services, "boiler-7").await?;
    let event = json!({"kind": "fault", "code": "E42", "severity": "critical", "text": "flame lost"});
    ensure!(device.publish(topic::EVENTS, &event.to_string(), 1).await? == 0);
    let broker = Broker::of(&services.config()).await?;
    broker.reject_work().await?;
    broker.publish_work(b"garbage").await?;
    broker.reject_work().await?;

    let (cli, config) = (services.cli()?, services.config());
    let config = config.to_str().context("no UTF-8")?;
    let with = |words: &[&'static str]| [&["bus", "dead-letters"], words, &["--config", config]].concat();
    let listed = eventually("both are there", || async {
        let listed = cli.json(&with(&["list"])).await?;
        Ok((listed["waiting"] == 2 && listed["items"].as_array().is_some_and(|it| it.len() == 2))
            .then_some(listed))
    })
    .await?;
    let (good, bad) = (&listed["items"][0], &listed["items"][1]);
    ensure!(
        good["content"].as_str().is_some_and(|what| what.contains("by email about default/boiler-7")),
        "{good}"
    );
    ensure!(good["routing_key"].as_str().is_some_and(|key| key.starts_with("work.default.email.")), "{good}");
    ensure!(
        good["reason"] == "rejected" && good["died_at"].is_string() && good["unreadable"].is_null(),
        "{good}"
    );
    ensure!(bad["content"].is_null() && bad["bytes"] == 7, "{bad}");
    let (good, bad) = (good["id"].as_str().context("no id")?, bad["id"].as_str().context("no id")?);
    let eventually_run = async |words: &[&str]| {
        // What another command looked at is back in its place a moment later.
        let arguments = [&["bus", "dead-letters"], words, &["--config", config]].concat();
        eventually("it is back in its place", || async {
            let ran = cli.run(&arguments).await?;
            Ok((!ran.said.contains("no dead letter")).then_some(ran))
        })
        .await
    };
    let table = eventually_run(&["list", "--limit", "1"]).await?;
    ensure!(table.out.lines().count() == 2 && table.said.contains("--limit"), "{table:?}");
    let shown = eventually_run(&["show", good]).await?.done()?;
    ensure!(shown.contains("boiler-7") && !shown.contains("night@"), "{shown}");
    let nothing = cli.run(&[&with(&["show"])[..], &["nothing"]].concat()).await?;
    nothing.refused(1, &["no dead letter has the id nothing", "dead-letters list"])?;

    // What cannot be read stays; the notifier gets the other one.
    services.notifiers[0].start()?;
    services.notifiers[0].ready().await?;
    let ran = eventually_run(&["replay", good]).await?;
    ensure!(ran.clone().done()? == format!("replayed {good}\n"), "{ran:?}");
    mail.mails_once(1).await?;
    let kept = eventually_run(&["replay", "--all"]).await?;
    kept.refused(1, &["stoker-version", "dead-letters drop"])?;
    ensure!(eventually_run(&["drop", bad]).await?.done()? == format!("dropped {bad}\n"));
    let none = cli.json(&with(&["list"])).await?;
    assert_eq!(none, json!({"items": [], "waiting": 0}));
    let none = cli.run(&with(&["drop", "--all"])).await?;
    ensure!(none.code == 0 && none.out.is_empty() && none.said == "no dead letters\n", "{none:?}");

    let other = services.config().with_file_name("other.yaml");
    let mut mistyped: Value = serde_json::from_slice(&fs::read(services.config())?)?;
    mistyped["bus"]["prefix"] = json!("mistyped");
    fs::write(&other, mistyped.to_string())?;
    let other = other.to_str().context("no UTF-8")?;
    let ran = cli.run(&["bus", "dead-letters", "list", "--config", other]).await?;
    ran.refused(1, &["there is no queue mistyped.work", "bus.prefix"])
}

#[tokio::test(flavor = "multi_thread")]
async fn database_and_broker_are_spoken_to_by_tls_and_trusted_by_their_authority_alone() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let ca = ClientCa::make(directory.path(), "authority")?;
    let server = ca.sign_server("server", &["127.0.0.1", "localhost"])?;
    let own = ca.sign("stoker")?;
    let (cassandra, amqp) = (lab("STOKER_TEST_CASSANDRA")?, lab("STOKER_TEST_AMQP")?);
    let node = cassandra.split(',').next().context("no node")?;
    let database = Relay::with_tls(node, &server, &ca).await?;
    let broker = Relay::with_tls(address(&amqp)?, &server, &ca).await?;
    let url = amqp
        .replace("amqp://", "amqps://")
        .replace(address(&amqp)?, &format!("localhost:{}", broker.address.port()));
    let files = |ca: &ClientCa| json!({"ca": ca.path, "cert": own.certificate, "key": own.key});
    let mut config = json!({"cassandra": files(&ca), "bus": files(&ca)});
    config["cassandra"]["contact_points"] = json!([database.address.to_string()]);
    config["bus"]["url"] = json!(url);
    let mut services = Services::prepare([1, 1, 0, 1], &config)?;
    services.run().await?;
    let device = enter(&services, "boiler-7").await?;
    for n in 1..=3 {
        report(&device, n).await?;
    }
    assert_eq!(services.api(0)?.values("boiler-7", "n").await?, [1, 2, 3].map(Value::from));

    // Another authority is not believed, by either.
    let stranger = ClientCa::make(directory.path(), "stranger")?;
    for (variable, port) in [("STOKER__CASSANDRA__CA", database.address), ("STOKER__BUS__CA", broker.address)]
    {
        let path = stranger.path.to_str().context("no UTF-8")?;
        let file = services.config();
        let core = ["core", "--config", file.to_str().context("no UTF-8")?];
        let free = [("STOKER__CORE__LISTEN", "127.0.0.1:0"), ("STOKER__ADMIN__LISTEN", "127.0.0.1:0")];
        let refused = refused(&core, &[&free[..], &[(variable, path)]].concat()).await?;
        let named = refused.said.contains(&port.port().to_string()) && refused.said.contains("certificate");
        ensure!(refused.code == 1 && named, "{variable}: {}", refused.said);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_waits_for_what_is_away_and_says_so_and_a_broker_that_goes_leaves_all_of_them_ready()
-> Result<()> {
    let (cassandra, amqp) = (lab("STOKER_TEST_CASSANDRA")?, lab("STOKER_TEST_AMQP")?);
    let node = cassandra.split(',').next().context("no node")?;
    let (database, broker) = (Relay::free()?, Relay::free()?);
    let url = amqp.replace(address(&amqp)?, &broker.to_string());
    let config = json!({"cassandra": {"contact_points": [database.to_string()]}, "bus": {"url": url}});
    let mut services = Services::prepare([1, 1, 1, 1], &config)?;
    services.begin()?;
    for (service, waits) in [
        (
            &services.cores[0],
            &[
                format!("bus: failed to connect to amqp://guest:***@{broker}"),
                format!("store: failed to connect to Cassandra at {database}"),
            ][..],
        ),
        (&services.gateways[0], &[format!("bus: failed to connect to amqp://guest:***@{broker}")][..]),
        (&services.notifiers[0], &[format!("bus: failed to connect to amqp://guest:***@{broker}")][..]),
    ] {
        let waiting = eventually("it says what it waits for", || async {
            let Ok((code, said)) = service.readiness().await else { return Ok(None) };
            Ok((code == 503 && waits.iter().all(|wait| said.contains(wait))).then_some(()))
        });
        waiting.await.with_context(|| service.log())?;
        ensure!(service.log().contains("waiting for it"), "{}", service.log());
    }
    // One that is told to end while it waits does so, and well.
    let status = services.notifiers[0].terminate().await?;
    ensure!(status.success(), "it ended with {status}");
    services.notifiers[0].start()?;

    let _database = Relay::start(database, node).await?;
    let between = Relay::start(broker, address(&amqp)?).await?;
    services.all_ready().await?;
    let device = enter(&services, "boiler-7").await?;
    report(&device, 1).await?;
    drop(between);
    for service in [&services.cores[0], &services.gateways[0], &services.notifiers[0]] {
        eventually("it says that the broker is away", || async {
            let (code, said) = service.readiness().await?;
            ensure!(code == 200, "{} is not ready any more: {said}", service.name());
            Ok((said == "ok\ndegraded: bus: there is no connection to the broker\n").then_some(()))
        })
        .await?;
    }
    // A portal waits for no broker: it may not have joined this one yet, and says why it cannot.
    eventually("the portal says so, too", || async {
        let (code, said) = services.portals[0].readiness().await?;
        ensure!(code == 200, "the portal is not ready any more: {said}");
        Ok(said.starts_with("ok\ndegraded: bus: ").then_some(()))
    })
    .await?;
    for n in 2..=4 {
        report(&device, n).await?;
    }
    let _between = Relay::start(broker, address(&amqp)?).await?;
    let all = [&services.cores[0], &services.gateways[0], &services.notifiers[0], &services.portals[0]];
    for service in all {
        eventually("it has its broker again", || async {
            Ok((service.readiness().await? == (200, "ok\n".to_owned())).then_some(()))
        })
        .await?;
    }
    assert_eq!(services.api(0)?.values("boiler-7", "n").await?, [1, 2, 3, 4].map(Value::from));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn cores_own_the_slots_that_they_are_given_and_are_reached_where_they_say() -> Result<()> {
    let mut services = Services::prepare([2, 1, 0, 1], &json!({}))?;
    for (core, (slots, shard)) in services.cores.iter_mut().zip([("0-99", "north"), ("100-255", "south")]) {
        let advertised = format!("localhost:{}", core.address.port());
        core.variables = vec![
            ("STOKER__CORE__SLOTS", slots.to_owned()),
            ("STOKER__CORE__SHARD", shard.to_owned()),
            ("STOKER__CORE__ADVERTISE", advertised),
        ];
    }
    services.run().await?;
    services.settled(0).await?;
    let status = services.api(0)?.get("/status").await?.expect(200)?;
    let members = status["members"].as_array().context("no members")?;
    for (core, (slots, shard)) in services.cores.iter().zip([(100, "north/"), (156, "south/")]) {
        let address = json!(format!("localhost:{}", core.address.port()));
        let member = members.iter().find(|member| member["address"] == address);
        let member = member.with_context(|| format!("nobody is at {address}: {status}"))?;
        ensure!(member["slots_owned"] == slots, "{member}");
        ensure!(member["host"].as_str().is_some_and(|host| host.starts_with(shard)), "{member}");
    }
    let shown = services.cli()?.done(&["status"]).await?;
    ensure!(
        shown.contains("north/") && shown.contains("100 slots") && shown.contains("156 slots"),
        "{shown}"
    );
    // Devices of either, by the one gateway; and the one knows of the other where it says that it is.
    for n in 0..6 {
        let device = enter(&services, &format!("boiler-{n}")).await?;
        report(&device, n).await?;
    }

    let file = services.config();
    let core = ["core", "--config", file.to_str().context("no UTF-8")?];
    let admin = ("STOKER__ADMIN__LISTEN", "127.0.0.1:0");
    for (variables, says) in [
        ([("STOKER__CORE__LISTEN", "127.0.0.1:0"), ("STOKER__CORE__SLOTS", "9-300")], "core.slots is wrong"),
        (
            [("STOKER__CORE__LISTEN", "0.0.0.0:0"), ("STOKER__CORE__SHARD", "x")],
            "core.advertise is not configured",
        ),
    ] {
        let refused = refused(&core, &[&variables[..], &[admin]].concat()).await?;
        ensure!(refused.code == 1 && refused.said.contains(says), "{}", refused.said);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn titles_and_status_count_the_sessions_that_there_are() -> Result<()> {
    let mut services = Services::start([1, 1, 1, 1], &json!({})).await?;
    let title = |pid: u32| -> Result<String> {
        let said = std::process::Command::new("ps").args(["-o", "comm=", "-p", &pid.to_string()]).output()?;
        Ok(String::from_utf8(said.stdout)?.trim().to_owned())
    };
    let titled = async |pid: u32, wanted: &str| {
        eventually(&format!("the title is {wanted}"), || async { Ok((title(pid)? == wanted).then_some(())) })
            .await
    };
    titled(services.cores[0].pid()?, "stoker core").await?;
    titled(services.notifiers[0].pid()?, "stoker notifier").await?;
    titled(services.portals[0].pid()?, "stoker portal").await?;
    let gateway = services.gateways[0].pid()?;
    titled(gateway, "stoker gw 0").await?;
    let mut devices = Vec::new();
    for n in 1..=3 {
        devices.push(enter(&services, &format!("boiler-{n}")).await?);
        titled(gateway, &format!("stoker gw {n}")).await?;
    }
    devices.pop().context("no device")?.disconnect().await?;
    titled(gateway, "stoker gw 2").await?;
    let (cli, address) = (services.cli()?, services.gateways[0].address.to_string());
    let version = cli.done(&["--version"]).await?.trim().replace("stoker ", "version ");
    let hostname = fs::read_to_string("/proc/sys/kernel/hostname")?;
    eventually("status shows the same", || async {
        let status = cli.done(&["status"]).await?;
        let gateway =
            status.lines().find(|line| line.starts_with("Gateway")).context("no gateway")?.to_owned();
        let all = [version.as_str(), &address, hostname.trim(), "2 sessions"];
        Ok(all.iter().all(|what| gateway.contains(what)).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once_what_still_hands_on() -> Result<()> {
    let mut services = Services::start([2, 1, 0, 1], &json!({})).await?;
    let device = enter(&services, "boiler-7").await?;
    report(&device, 1).await?;
    // Nobody takes the slots over, so the other waits for it.
    services.cores[1].signal("STOP")?;
    let core = &mut services.cores[0];
    core.signal("TERM")?;
    eventually("it is ending", || async { Ok(core.log().contains("SIGTERM: ending").then_some(())) }).await?;
    let status = core.terminate().await?;
    ensure!(status.code() == Some(1), "it ended with {status}");
    ensure!(
        core.log().contains("SIGTERM again: ended at once; what was acknowledged is stored"),
        "{}",
        core.log()
    );
    services.cores[1].signal("CONT")?;
    services.settled(1).await?;
    assert_eq!(services.api(0)?.values("boiler-7", "n").await?, [Value::from(1)]);
    Ok(())
}

/// As much of a node of Cassandra as it takes to be shown a password, and to refuse it.
async fn a_node_that_refuses(listener: TcpListener) -> Result<Vec<u8>> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        loop {
            let mut header = [0; 9];
            if stream.read_exact(&mut header).await.is_err() {
                break;
            }
            let [_, _, stream_1, stream_2, opcode, length @ ..] = header;
            let mut body = vec![0; usize::try_from(u32::from_be_bytes(length))?];
            stream.read_exact(&mut body).await?;
            let (answer, content): (u8, &[u8]) = match opcode {
                // OPTIONS: SUPPORTED, nothing of it. STARTUP: AUTHENTICATE. AUTH_RESPONSE: ERROR, bad credentials.
                0x05 => (0x06, b"\0\0"),
                0x01 => (0x03, b"\0\x2forg.apache.cassandra.auth.PasswordAuthenticator"),
                _ => (0x00, b"\0\0\x01\0\0\x11wrong credentials"),
            };
            let mut frame = vec![0x84, 0, stream_1, stream_2, answer];
            frame.extend(u32::try_from(content.len())?.to_be_bytes());
            frame.extend(content);
            stream.write_all(&frame).await?;
            if opcode == 0x0f {
                return Ok(body);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_name_and_a_password_are_shown_to_the_nodes_and_refused_ones_end_the_start() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let node = listener.local_addr()?.to_string();
    let shown = tokio::spawn(a_node_that_refuses(listener));
    let config = json!({"cassandra": {"contact_points": [node], "username": "ada", "password": "wr0ng"}});
    let services = Services::prepare([1, 0, 0, 0], &config)?;
    let file = services.config();
    let core = ["core", "--config", file.to_str().context("no UTF-8")?];
    let free = [("STOKER__CORE__LISTEN", "127.0.0.1:0"), ("STOKER__ADMIN__LISTEN", "127.0.0.1:0")];
    let refused = refused(&core, &free).await?;
    ensure!(refused.code == 1 && refused.said.contains(&node), "{}", refused.said);
    ensure!(
        refused.said.contains("user name and password") && !refused.said.contains("wr0ng"),
        "{}",
        refused.said
    );
    ensure!(shown.await??.ends_with(b"\0ada\0wr0ng"), "the password was not shown");
    Ok(())
}
