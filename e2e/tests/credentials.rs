//! Who is let in, and who is not.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use stoker_e2e::{ClientCa, Clients, Connack, Connect, Options, Platform, Raw, RawConnect, Relay, topic};

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_refused_counted_and_answered_later_each_time() -> Result<()> {
    let why = "each gateway knows only of the wrong credentials that it was shown itself";
    let platform = Platform::one(why, Options::default()).await?;
    platform.api.post("/devices", &json!({"id": "boiler-7", "password": "right"})).await?.expect(201)?;
    let [paho, js] = Clients::both().await?;
    let mut refused = 0;
    let attempts = [
        (&paho, 4, Some("stk_of-nobody-at-all"), None),
        (&paho, 5, Some("boiler-7"), Some("wrong")),
        (&js, 4, Some("other/boiler-7"), Some("right")),
        (&js, 5, None, None),
    ];
    for (clients, version, user_name, password) in attempts {
        let mut connect = Connect::token(platform.mqtt, version, "");
        connect.user_name = user_name.map(str::to_owned);
        connect.password = password.map(str::to_owned);
        let code = clients.device()?.connect(&connect).await?;
        assert_eq!(code, Connack(if version == 5 { 0x87 } else { 5 }), "{user_name:?} {password:?}");
        refused += 1;
    }
    assert_eq!(platform.metrics().await?.get("gateway_credentials_refused")?, refused);
    let log = platform.log();
    let lines = log.lines().filter(|line| line.contains("a wrong credential"));
    let delays: Vec<u64> = lines
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|line| line["delay_ms"].as_u64())
        .collect();
    assert_eq!(delays.len(), 4, "{log}");
    ensure!(delays.is_sorted_by(|one, next| one < next), "each waits longer: {delays:?}");
    ensure!(
        !log.contains("stk_of-nobody-at-all") && !log.contains("\"wrong\""),
        "no secret in the log: {log}"
    );
    let device = platform.api.get("/devices/boiler-7").await?.expect(200)?;
    assert_eq!(device["connection"]["state"], "never");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_lets_in_by_device_and_by_organization_and_device() -> Result<()> {
    let platform = Platform::start(Options::default()).await?;
    let made = json!({"id": "boiler-7", "password": "s3cret ü"});
    platform.api.post("/devices", &made).await?.expect(201)?;
    let mut n = 0;
    for clients in Clients::both().await? {
        for version in [4, 5] {
            for user_name in ["boiler-7", "default/boiler-7"] {
                let mut device = clients.device()?;
                let mut connect = Connect::token(platform.mqtt, version, user_name);
                connect.password = Some("s3cret ü".to_owned());
                device.enter(&connect).await?;
                assert_eq!(device.publish(topic::TELEMETRY, &format!("{{\"n\":{n}}}"), 1).await?, 0);
                device.disconnect().await?;
                n += 1;
            }
        }
    }
    let expected: Vec<Value> = (0..n).map(Value::from).collect();
    assert_eq!(platform.api.values("boiler-7", "n").await?, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_that_were_hashed_take_no_memory() -> Result<()> {
    let mut platform = Platform::start(Options::default()).await?;
    let mut before = 0;
    for n in 0..=20 {
        let made = json!({"id": format!("boiler-{n}"), "password": "s3cret"});
        platform.api.post("/devices", &made).await?.expect(201)?;
        if n == 0 {
            before = platform.memory_kib()?;
        }
    }
    let grown = platform.memory_kib()?.saturating_sub(before) / 1024;
    // Each needs 19 MiB as long as it takes: twenty of them, kept, would be 380.
    ensure!(grown <= 100, "{grown} MiB more");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_replaced_or_whose_device_is_gone_lets_nobody_in() -> Result<()> {
    let platform = Platform::start(Options::default()).await?;
    let old = platform.api.make_device("boiler-7").await?;
    let [paho, js] = Clients::both().await?;
    let mut device = paho.device()?;
    device.enter(&Connect::token(platform.mqtt, 5, &old)).await?;
    let renew = json!({"renew_token": true});
    let changed = platform.api.patch("/devices/boiler-7", &renew).await?.expect(200)?;
    let new = changed["token"].as_str().unwrap_or_default().to_owned();
    device.ended().await?;
    assert_eq!(device.connect(&Connect::token(platform.mqtt, 5, &old)).await?, Connack(0x87));
    let mut device = js.device()?;
    device.enter(&Connect::token(platform.mqtt, 5, &new)).await?;
    assert_eq!(platform.api.delete("/devices/boiler-7").await?.status, 204);
    assert_eq!(device.ended().await?, Some(0x98));
    assert_eq!(device.connect(&Connect::token(platform.mqtt, 5, &new)).await?, Connack(0x87));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_without_a_certificate_of_ones_own_is_self_signed_and_says_so() -> Result<()> {
    let why = "services in processes of their own have no data directory: they are given a certificate";
    let mut platform = Platform::one(why, Options { mqtts: true, ..Options::default() }).await?;
    platform.log_line("self-signed").await?;
    let address = platform.mqtts.unwrap_or(platform.mqtt);
    for clients in Clients::both().await? {
        for version in [4, 5] {
            let id = format!("boiler-{:?}-{version}", clients.kind());
            let token = platform.api.make_device(&id).await?;
            let mut device = clients.device()?;
            let mut connect = Connect::token(address, version, &token);
            connect.ca = Some(platform.data_dir().join("mqtts.crt"));
            device.enter(&connect).await?;
            for qos in [1, 2] {
                assert_eq!(device.publish(topic::TELEMETRY, &format!("{{\"n\":{qos}}}"), qos).await?, 0);
            }
            assert_eq!(platform.api.values(&id, "n").await?, [1, 2]);
            let shown = platform.api.get(&format!("/devices/{id}")).await?.expect(200)?;
            let protocol = if version == 5 { "mqtt-5+tls" } else { "mqtt-3.1.1+tls" };
            assert_eq!(shown["connection"]["protocol"], protocol);
            device.disconnect().await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_lets_its_device_in_and_one_of_another_ca_nobody() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let ours = ClientCa::make(directory.path(), "our-ca")?;
    let theirs = ClientCa::make(directory.path(), "their-ca")?;
    let config = format!("gateway: {{mqtts: {{client_ca: '{}'}}}}", ours.path.display());
    let platform = Platform::start(Options { mqtts: true, ..Options::config(&config) }).await?;
    let address = platform.mqtts.unwrap_or(platform.mqtt);
    let token = platform.api.make_device("boiler-7").await?;
    for clients in Clients::both().await? {
        let mut connect = Connect::token(address, 5, "");
        connect.user_name = None;
        connect.ca = Some(platform.data_dir().join("mqtts.crt"));
        let mut device = clients.device()?;
        connect.certificate = Some(ours.sign("boiler-7")?);
        device.enter(&connect).await?;
        assert_eq!(device.publish(topic::TELEMETRY, "{\"n\":1}", 1).await?, 0);
        platform.api.device_in("boiler-7", "online").await?;
        device.disconnect().await?;

        connect.certificate = Some(ours.sign("nobody")?);
        let mut device = clients.device()?;
        assert_eq!(device.connect(&connect).await?, Connack(0x87), "a certificate of no device");
        connect.certificate = Some(theirs.sign("boiler-7")?);
        let mut device = clients.device()?;
        ensure!(device.connect(&connect).await.is_err(), "no TLS with a certificate of another CA");
        connect.certificate = None;
        connect.user_name = Some(token.clone());
        device.enter(&connect).await?;
        device.disconnect().await?;
    }
    assert_eq!(platform.api.values("boiler-7", "n").await?, [1, 1]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_known_by_its_own_address_whatever_stands_in_front() -> Result<()> {
    let platform = Platform::start(Options::default()).await?;
    let token = platform.api.make_device("boiler-7").await?;
    for version in [4, 5] {
        let device =
            Raw::connect(platform.mqtt, RawConnect { version, token: &token, keep_alive_s: 60 }).await?;
        let shown = platform.api.device_in("boiler-7", "online").await?;
        assert_eq!(shown["connection"]["address"], device.address()?.to_string());
    }
    Ok(())
}

/// All listeners take the word of these about addresses.
fn trusting(cidr: &str) -> Options {
    let doors = ["mqtt", "mqtts", "ws", "wss"];
    let trusting = doors.map(|door| format!("{door}: {{proxy_protocol: {{trusted_cidrs: ['{cidr}']}}}}"));
    let config = format!("gateway: {{{}}}", trusting.join(", "));
    Options { mqtts: true, wss: true, ..Options::config(&config) }
}

/// Headers of the PROXY protocol, by its text: of version 1, and of version 2 with something behind the addresses.
const V1: &[u8] = b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 1883\r\n";
const V1_OF_IPV6: &[u8] = b"PROXY TCP6 2001:db8::9 2001:db8::1 4711 8084\r\n";
const V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x11\xCB\0\x71\x09\xC0\0\x02\x01\x12\x67\x07\x5B\x04\0\x02\0\0";
const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_that_is_trusted_says_whose_connection_it_passes_on() -> Result<()> {
    let why = "the balancer of several processes says so by itself";
    let mut platform = Platform::one(why, trusting("127.0.0.1")).await?;
    let token = platform.api.make_device("boiler-7").await?;
    let (mqtt, ws) = (platform.mqtt, platform.ws);
    let (mqtts, wss) = (platform.mqtts.unwrap_or(mqtt), platform.wss.unwrap_or(ws));
    let ca = platform.data_dir().join("mqtts.crt");
    let [paho, js] = Clients::both().await?;
    for (clients, door, websocket, tls, header, address) in [
        (&paho, mqtt, false, false, V1, "203.0.113.9:4711"),
        (&js, mqtts, false, true, V2, "203.0.113.9:4711"),
        (&js, ws, true, false, V2, "203.0.113.9:4711"),
        (&paho, wss, true, true, V1_OF_IPV6, "[2001:db8::9]:4711"),
        (&paho, mqtt, false, false, V2_LOCAL, "127.0.0.1:"),
    ] {
        let balancer = Relay::announcing(door, header.to_vec()).await?;
        let mut connect = Connect::token(balancer.address, 5, &token);
        (connect.websocket, connect.ca) = (websocket, tls.then(|| ca.clone()));
        let mut device = clients.device()?;
        device.enter(&connect).await?;
        let shown = platform.api.device_in("boiler-7", "online").await?;
        let shown = shown["connection"]["address"].as_str().unwrap_or_default();
        ensure!(shown.starts_with(address), "{shown}, not {address}");
        device.disconnect().await?;
        platform.api.device_in("boiler-7", "offline").await?;
    }
    // Who is refused is known by it, too.
    let balancer = Relay::announcing(mqtt, V1.to_vec()).await?;
    let stranger = Connect::token(balancer.address, 5, "stk_of-nobody-at-all");
    assert_eq!(js.device()?.connect(&stranger).await?, Connack(0x87));
    let line = platform.log_line("a wrong credential").await?;
    ensure!(line.contains("203.0.113.9"), "{line}");
    // Without a header it is not said whose connection it is.
    assert_eq!(platform.metrics().await?.get("gateway_proxy_headers_refused")?, 0);
    let mut raw = Raw::open(mqtt).await?;
    raw.write(&RawConnect { version: 5, token: &token, keep_alive_s: 60 }.bytes()).await?;
    assert_eq!(raw.closed().await?, []);
    platform.log_line("have the balancer send PROXY headers").await?;
    assert_eq!(platform.metrics().await?.get("gateway_proxy_headers_refused")?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_elses_word_about_addresses_is_taken() -> Result<()> {
    let why = "the balancer of several processes says so by itself";
    let platform = Platform::one(why, trusting("192.0.2.0/24")).await?;
    let token = platform.api.make_device("boiler-7").await?;
    let connect = RawConnect { version: 5, token: &token, keep_alive_s: 60 };
    for header in [V1, V2] {
        let mut raw = Raw::open(platform.mqtt).await?;
        raw.write(&[header, &connect.bytes()].concat()).await?;
        assert_eq!(raw.closed().await?, [], "it is no MQTT");
    }
    let shown = platform.api.get("/devices/boiler-7").await?.expect(200)?;
    assert_eq!(shown["connection"]["state"], "never");
    let device = Raw::connect(platform.mqtt, connect).await?;
    let shown = platform.api.device_in("boiler-7", "online").await?;
    assert_eq!(shown["connection"]["address"], device.address()?.to_string());
    assert_eq!(platform.metrics().await?.get("gateway_proxy_headers_refused")?, 0);
    Ok(())
}
