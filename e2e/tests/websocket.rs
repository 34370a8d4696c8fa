//! MQTT over WebSocket: the same devices, the same promises, another way in.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stoker_e2e::{
    ClientCa, Clients, Connack, Connect, LastWords, Options, Platform, Raw, RawConnect, RawWebSocket, Will,
    eventually, frame, hold_connections, topic,
};

/// How a device connects by WebSocket, and by TLS if the platform listens for it.
fn connect(platform: &Platform, version: u8, token: &str, secure: bool) -> Result<Connect> {
    let address = if secure { platform.wss.context("no wss")? } else { platform.ws };
    let mut connect = Connect::token(address, version, token);
    connect.websocket = true;
    connect.ca = secure.then(|| platform.data_dir().join("mqtts.crt"));
    Ok(connect)
}

/// The silence of a device, once it has been raised.
async fn silence(platform: &Platform, device: &str) -> Result<Value> {
    eventually(&format!("the silence of {device}"), || async {
        Ok(platform.api.alarms(device, "silence", "active").await?.into_iter().next())
    })
    .await
}

/// A session by hand, granted.
async fn session(platform: &Platform, id: &str, version: u8) -> Result<RawWebSocket> {
    let token = platform.api.make_device(id).await?;
    let mut raw = RawWebSocket::open(platform.ws).await?;
    raw.send(&RawConnect { version, token: &token, keep_alive_s: 0 }.bytes()).await?;
    let kinds: Vec<u8> = raw.packets().await?.iter().map(|packet| packet.kind()).collect();
    assert_eq!(kinds, [2]);
    Ok(raw)
}

fn reading(version: u8, id: u16) -> Vec<u8> {
    Raw::publish(version, id, topic::TELEMETRY, format!("{{\"n\":{id}}}").as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_report_and_obey_over_ws_and_wss_with_every_client_and_version() -> Result<()> {
    let mut platform = Platform::start(Options { mqtts: true, wss: true, ..Options::default() }).await?;
    let mut devices = Vec::new();
    for clients in Clients::both().await? {
        for (version, secure) in [(4, false), (5, false), (4, true), (5, true)] {
            let id = format!("boiler-{:?}-{version}-{secure}", clients.kind());
            let token = platform.api.make_device(&id).await?;
            let mut device = clients.device()?;
            let connect = connect(&platform, version, &token, secure)?;
            device.enter(&connect).await?;
            let online = platform.api.device_in(&id, "online").await?;
            let mqtt = if version == 5 { "mqtt-5" } else { "mqtt-3.1.1" };
            let protocol = format!("{mqtt}+{}", if secure { "wss" } else { "ws" });
            assert_eq!(online["connection"]["protocol"], protocol);
            for n in 0..20 {
                assert_eq!(device.publish(topic::TELEMETRY, &format!("{{\"n\":{n}}}"), 1).await?, 0);
            }
            device.subscribe(topic::COMMANDS, 1).await?;
            let command = platform.api.command(&id, "write_setpoint", 60).await?;
            let message = device.message().await?;
            assert_eq!(message.json()?["method"], "write_setpoint");
            device.publish(&topic::reply(message.number()?), "{\"done\":true}", 1).await?;
            let ended = platform.api.command_in(&command, "succeeded").await?;
            assert_eq!(ended["reply"], json!({"done": true}));
            // Larger than what is read at once, and than one frame of what comes back.
            let long = "x".repeat(8_000);
            let many: Vec<String> = (0..24).map(|n| format!("\"note_{n}\":\"{long}\"")).collect();
            let attributes = format!("{{{}}}", many.join(","));
            assert_eq!(device.publish(topic::ATTRIBUTES, &attributes, 1).await?, 0);
            device.subscribe("v1/devices/me/attributes/response/+", 1).await?;
            device.publish("v1/devices/me/attributes/request/1", "{}", 1).await?;
            let answer = device.message().await?.json()?;
            assert_eq!(answer["client"].as_object().map(serde_json::Map::len), Some(24));
            assert_eq!(answer["client"]["note_23"], long);
            devices.push((id, device, connect));
        }
    }
    let metrics = platform.metrics().await?;
    for (transport, open) in [("mqtt", 0), ("mqtts", 0), ("ws", 4), ("wss", 4)] {
        assert_eq!(
            metrics.get(&format!("gateway_connections{{transport=\"{transport}\"}}"))?,
            open,
            "{transport}"
        );
    }
    platform.kill9()?;
    for (_, device, _) in &mut devices {
        assert_eq!(device.ended().await?, None);
    }
    platform.restart().await?;
    for (id, device, connect) in &mut devices {
        let expected: Vec<Value> = (0..20).map(Value::from).collect();
        assert_eq!(platform.api.values(id, "n").await?, expected, "{id}: acknowledged is stored");
        device.enter(connect).await?;
        assert_eq!(device.publish(topic::TELEMETRY, "{\"n\":20}", 1).await?, 0);
        device.disconnect().await?;
        let left = platform.api.device_in(id, "offline").await?;
        assert_eq!(left["connection"]["reason"], "disconnect", "{id}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_lets_its_device_in_over_wss_as_over_mqtts() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let ours = ClientCa::make(directory.path(), "our-ca")?;
    let theirs = ClientCa::make(directory.path(), "their-ca")?;
    let config = format!("gateway: {{wss: {{client_ca: '{}'}}}}", ours.path.display());
    let platform = Platform::start(Options { wss: true, ..Options::config(&config) }).await?;
    platform.api.make_device("boiler-7").await?;
    for clients in Clients::both().await? {
        let mut connect = connect(&platform, 5, "", true)?;
        connect.user_name = None;
        connect.certificate = Some(ours.sign("boiler-7")?);
        let mut device = clients.device()?;
        device.enter(&connect).await?;
        assert_eq!(device.publish(topic::TELEMETRY, "{\"n\":1}", 1).await?, 0);
        device.disconnect().await?;
        connect.certificate = Some(ours.sign("nobody")?);
        let mut device = clients.device()?;
        assert_eq!(device.connect(&connect).await?, Connack(0x87), "a certificate of no device");
        connect.certificate = Some(theirs.sign("boiler-7")?);
        let mut device = clients.device()?;
        ensure!(device.connect(&connect).await.is_err(), "no TLS with a certificate of another CA");
    }
    assert_eq!(platform.api.values("boiler-7", "n").await?, [1, 1]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_path_a_wrong_sub_protocol_and_a_wrong_token_are_refused_each_in_its_words() -> Result<()> {
    let platform = Platform::start(Options::default()).await?;
    for (path, sub_protocol, status) in [
        ("/", "mqtt", "404"),
        ("/mqtt/", "mqtt", "404"),
        ("/mqtt", "chat", "400"),
        ("/mqtt", "MQTT", "400"),
        ("/mqtt", "chat, mqtt", "101"),
        ("/mqtt?vendor=x", "mqttv3.1", "101"),
    ] {
        let (answer, _) = RawWebSocket::ask(platform.ws, path, sub_protocol).await?;
        assert_eq!(answer, status, "{path} {sub_protocol}");
    }
    assert_eq!(platform.metrics().await?.get("gateway_handshakes_failed")?, 4);
    for clients in Clients::both().await? {
        let mut device = clients.device()?;
        let wrong = connect(&platform, 5, "stk_nobody_has_this_token", false)?;
        assert_eq!(device.connect(&wrong).await?, Connack(0x87));
    }
    // By hand, to see the goodbye too.
    let mut raw = RawWebSocket::open(platform.ws).await?;
    raw.send(&RawConnect { version: 4, token: "stk_nobody_has_this_token", keep_alive_s: 0 }.bytes()).await?;
    let LastWords { packets, code } = raw.closed().await?;
    assert_eq!((packets.len(), packets[0].body.as_slice(), code), (1, [0, 5].as_slice(), Some(1008)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_may_begin_and_end_anywhere_in_messages() -> Result<()> {
    let platform = Platform::start(Options::default()).await?;
    for version in [4, 5] {
        // Many packets in one message: CONNECT and a hundred readings.
        let id = format!("at-once-{version}");
        let token = platform.api.make_device(&id).await?;
        let connect = RawConnect { version, token: &token, keep_alive_s: 0 }.bytes();
        let all = (1..=100).fold(connect.clone(), |all, n| [all, reading(version, n)].concat());
        let mut raw = RawWebSocket::open(platform.ws).await?;
        raw.send(&all).await?;
        let mut answers = Vec::new();
        while answers.len() < 101 {
            answers.extend(raw.packets().await?);
        }
        assert_eq!(answers[0].kind(), 2);
        for (n, answer) in answers[1..].iter().enumerate() {
            assert_eq!((answer.kind(), answer.body.get(1)), (4, Some(&u8::try_from(n + 1)?)), "in order");
        }
        let expected: Vec<Value> = (1..=100).map(Value::from).collect();
        assert_eq!(platform.api.values(&id, "n").await?, expected);

        // One packet over many: of each byte a message, every third in two frames with a ping between.
        let id = format!("bit-by-bit-{version}");
        let token = platform.api.make_device(&id).await?;
        let connect = RawConnect { version, token: &token, keep_alive_s: 0 }.bytes();
        let mut raw = RawWebSocket::open(platform.ws).await?;
        let bytes = [connect, reading(version, 7)].concat();
        let mut pings = Vec::new();
        for (n, byte) in bytes.iter().enumerate() {
            if n % 3 == 0 {
                raw.write(&RawWebSocket::frame(frame::BINARY, &[])).await?;
                raw.write(&RawWebSocket::frame(frame::FIN | frame::PING, &[*byte])).await?;
                raw.write(&RawWebSocket::frame(frame::FIN | frame::CONTINUATION, &[*byte])).await?;
                pings.push(*byte);
            } else {
                raw.send(&[*byte]).await?;
            }
        }
        let (mut pongs, mut kinds) = (Vec::new(), Vec::new());
        while kinds.len() < 2 || pongs.len() < pings.len() {
            let (first, payload) = raw.next().await?.context("closed")?;
            match first {
                first if first == frame::FIN | frame::PONG => pongs.extend(payload),
                _ => kinds.extend(stoker_e2e::Packet::all(&payload)?.iter().map(|packet| packet.kind())),
            }
        }
        assert_eq!((kinds, pongs), (vec![2, 4], pings));
        assert_eq!(platform.api.values(&id, "n").await?, [7]);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_and_a_will_mean_the_same_by_tcp_and_by_websocket() -> Result<()> {
    let platform = Platform::start(Options::silence(1, 2)).await?;
    for clients in Clients::both().await? {
        for websocket in [false, true] {
            let [left, gone] =
                ["left", "gone"].map(|name| format!("{name}-{:?}-{websocket}", clients.kind()));
            let payload = json!({"kind": "fault", "code": "POWER", "severity": "critical"}).to_string();
            let will = Some(Will { topic: topic::EVENTS.to_owned(), payload, qos: 1 });
            let mut devices = Vec::new();
            for id in [&left, &gone] {
                let token = platform.api.make_device(id).await?;
                let mut connect = connect(&platform, 5, &token, false)?;
                if !websocket {
                    (connect.websocket, connect.address) = (false, platform.mqtt);
                }
                connect.will.clone_from(&will);
                let mut device = clients.device()?;
                device.enter(&connect).await?;
                devices.push((device, connect));
            }
            devices[0].0.disconnect().await?;
            let offline = platform.api.device_in(&left, "offline").await?;
            assert_eq!(offline["connection"]["reason"], "disconnect");
            devices[1].0.cut().await?;
            let alarm = silence(&platform, &gone).await?;
            assert_eq!((&alarm["severity"], &alarm["kind"]), (&json!("major"), &json!("silence")));
            let offline = platform.api.device_in(&gone, "offline").await?;
            assert_eq!(offline["connection"]["reason"], "cut");
            let said = platform.api.events(&gone, "fault").await?;
            assert_eq!(said.len(), 1, "the will: {said:?}");
            assert_eq!(said[0]["code"], "POWER");
            let (device, connect) = &mut devices[1];
            device.enter(connect).await?;
            eventually("the silence is over", || async {
                Ok(platform.api.alarms(&gone, "silence", "cleared").await?.into_iter().next())
            })
            .await?;
            assert_eq!(platform.api.alarms(&left, "silence", "active").await?, Vec::<Value>::new());
            assert_eq!(platform.api.events(&left, "fault").await?, Vec::<Value>::new());
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn however_a_websocket_ends_the_device_is_told_and_the_reason_is_kept() -> Result<()> {
    let platform = Platform::start(Options::silence(1, 2)).await?;
    let close = RawWebSocket::frame(frame::FIN | frame::CLOSE, &1000_u16.to_be_bytes());
    let text = RawWebSocket::frame(frame::FIN | frame::TEXT, b"{\"n\":1}");
    let oversize = RawWebSocket::frame(frame::FIN | frame::BINARY, &vec![0; 256 * 1024 + 1]);
    let unmasked = [frame::FIN | frame::BINARY, 1, 0].to_vec();
    let message = |bytes: &[u8]| RawWebSocket::frame(frame::FIN | frame::BINARY, bytes);
    let disconnect = message(&[0xE0, 0x00]);
    // A header alone is enough for MQTT to refuse what is behind it.
    let large = message(&[0x32, 0xFF, 0xFF, 0xFF, 0x7F]);
    let reserved = message(&[0xF0, 0x00]);
    for (name, sent, code, disconnect, reason) in [
        ("goodbye", disconnect, 1000, None, "disconnect"),
        ("closed", close, 1000, None, "cut"),
        ("text", text, 1003, None, "protocol_error"),
        ("oversize", oversize, 1009, None, "protocol_error"),
        ("unmasked", unmasked, 1002, None, "protocol_error"),
        ("large", large, 1009, Some(0x95), "protocol_error"),
        ("reserved", reserved, 1002, Some(0x82), "protocol_error"),
    ] {
        let mut raw = session(&platform, name, 5).await?;
        raw.write(&sent).await?;
        let last = raw.closed().await?;
        let said: Vec<_> = last.packets.iter().map(|packet| (packet.kind(), packet.body[0])).collect();
        assert_eq!(said, disconnect.map(|code| (14, code)).into_iter().collect::<Vec<_>>(), "{name}");
        assert_eq!(last.code, Some(code), "{name}");
        let offline = platform.api.device_in(name, "offline").await?;
        assert_eq!(offline["connection"]["reason"], reason, "{name}");
        if reason != "disconnect" {
            silence(&platform, name).await?;
        }
    }
    assert_eq!(platform.api.alarms("goodbye", "silence", "active").await?, Vec::<Value>::new());

    let mut raw = session(&platform, "cut", 4).await?;
    raw.send(&reading(4, 1)).await?;
    assert_eq!(raw.packets().await?.len(), 1);
    raw.cut()?;
    silence(&platform, "cut").await?;
    assert_eq!(platform.api.device_in("cut", "offline").await?["connection"]["reason"], "cut");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_end_says_goodbye_in_both_languages_and_is_no_silence() -> Result<()> {
    let mut platform = Platform::start(Options::silence(1, 60)).await?;
    let mut devices = Vec::new();
    for version in [4, 5] {
        devices.push((version, session(&platform, &format!("boiler-{version}"), version).await?));
    }
    let mut unknown = RawWebSocket::open(platform.ws).await?;
    // Slow to ask: its handshake is under way.
    let mut asking = Raw::open(platform.ws).await?;
    asking.write(b"GET /mqtt HTTP/1.1\r\nHost: ").await?;
    platform.signal("TERM")?;
    for (version, raw) in &mut devices {
        let last = raw.closed().await?;
        let said: Vec<_> = last.packets.iter().map(|packet| (packet.kind(), packet.body[0])).collect();
        assert_eq!(said, if *version == 5 { vec![(14, 0x8B)] } else { vec![] });
        assert_eq!(last.code, Some(1001));
    }
    assert_eq!(unknown.closed().await?, LastWords { packets: Vec::new(), code: Some(1001) });
    let status = platform.ended().await?;
    ensure!(status.success(), "SIGTERM is no failure: {status}");
    platform.restart().await?;
    for id in ["boiler-4", "boiler-5"] {
        let offline = platform.api.device_in(id, "offline").await?;
        assert_eq!(offline["connection"]["reason"], "platform");
        assert_eq!(platform.api.alarms(id, "silence", "active").await?, Vec::<Value>::new());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_get_to_connect_is_closed_wherever_it_stops() -> Result<()> {
    let platform = Platform::start(Options::default()).await?;
    let mut silent = Raw::open(platform.ws).await?;
    let mut half = Raw::open(platform.ws).await?;
    half.write(b"GET /mqtt HTTP/1.1\r\nHost: stoker\r\n").await?;
    let mut mute = RawWebSocket::open(platform.ws).await?;
    let mut slow = RawWebSocket::open(platform.ws).await?;
    slow.send(&[0x10]).await?;
    // More than a CONNECT may have is refused from the header of the frame.
    let mut large = RawWebSocket::open(platform.ws).await?;
    large.write(&RawWebSocket::frame(frame::FIN | frame::BINARY, &vec![0x10; 70_000])).await?;
    assert_eq!(large.closed().await?, LastWords { packets: Vec::new(), code: Some(1009) });
    for raw in [&mut silent, &mut half] {
        assert_eq!(raw.closed().await?, []);
    }
    for raw in [&mut mute, &mut slow] {
        assert_eq!(raw.closed().await?, LastWords { packets: Vec::new(), code: Some(1008) });
    }
    let none = eventually("none is left", || async {
        let open = platform.metrics().await?.get("gateway_connections{transport=\"ws\"}")?;
        Ok((open == 0).then_some(()))
    });
    none.await
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_ping_or_ask_and_never_read_are_closed() -> Result<()> {
    let platform = Platform::start(Options::default()).await?;
    let ask =
        Raw::publish(4, 1, "v1/devices/me/rpc/request/1", br#"{"method":"getCurrentTime","params":{}}"#);
    let ask = RawWebSocket::frame(frame::FIN | frame::BINARY, &ask);
    let ping = RawWebSocket::frame(frame::FIN | frame::PING, &[0; 125]);
    let mut writers = tokio::task::JoinSet::new();
    for (id, said) in [("pings", ping), ("asks", ask)] {
        let token = platform.api.make_device(id).await?;
        let mut raw = RawWebSocket::open_narrow(platform.ws).await?;
        raw.send(&RawConnect { version: 4, token: &token, keep_alive_s: 0 }.bytes()).await?;
        raw.send(&Raw::subscribe(4, 1, &[("v1/devices/me/rpc/response/+", 0)])).await?;
        let said = said.repeat(500);
        // Until the platform has had enough of it.
        writers.spawn(async move { while raw.write(&said).await.is_ok() {} });
    }
    while let Some(over) = writers.join_next().await {
        over?;
    }
    for id in ["pings", "asks"] {
        let device = platform.api.device_in(id, "offline").await?;
        assert_eq!(device["connection"]["reason"], "slow_reader", "{id}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_that_wait_cost_little_more_than_by_tcp() -> Result<()> {
    const COUNT: u64 = 400;
    hold_connections(3 * COUNT)?;
    let why = "by the memory of one process; that of several moves by more than what is compared";
    let mut platform = Platform::one(why, Options::default()).await?;
    // A large message that leaves nothing in the store: it is acknowledged and dropped.
    let large = Raw::publish(4, 1, topic::TELEMETRY, &[b'x'; 100_000]);
    let (mut by_tcp, mut by_websocket) = (Vec::new(), Vec::new());
    // The first of each also make what all share.
    let mut grown = [[0; 2]; 2];
    for (round, count) in [100, COUNT].into_iter().enumerate() {
        let before = platform.memory_kib()?;
        for n in 0..count {
            let token = platform.api.make_device(&format!("tcp-{round}-{n}")).await?;
            let connect = RawConnect { version: 4, token: &token, keep_alive_s: 0 };
            let mut raw = Raw::connect(platform.mqtt, connect).await?;
            raw.write(&large).await?;
            ensure!(raw.packet().await?.is_some_and(|packet| packet.kind() == 4));
            by_tcp.push(raw);
        }
        let between = platform.memory_kib()?;
        for n in 0..count {
            let mut raw = session(&platform, &format!("ws-{round}-{n}"), 4).await?;
            raw.send(&large).await?;
            assert_eq!(raw.packets().await?.len(), 1);
            by_websocket.push(raw);
        }
        grown[round] = [between.saturating_sub(before), platform.memory_kib()?.saturating_sub(between)];
    }
    let [tcp, websocket] = grown[1];
    println!("{COUNT} devices with their sessions take {tcp} KiB by TCP, {websocket} KiB by WebSocket");
    ensure!(websocket <= tcp + 4 * COUNT, "{websocket} KiB by WebSocket, {tcp} KiB by TCP");
    Ok(())
}
