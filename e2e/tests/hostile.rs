//! A world that means no good. Whatever it does, a device that behaves is served, and memory stays bounded.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use stoker_e2e::{
    Clients, Connect, Device, Foreign, Options, Platform, Raw, RawConnect, eventually, hold_connections,
    topic,
};

/// A platform and a device that behaves.
struct Bench {
    platform: Platform,
    good: Device,
    said: u64,
    /// In KiB, before anybody did anything.
    memory: u64,
}

impl Bench {
    async fn new() -> Result<Self> {
        let mut platform = Platform::start(Options::default()).await?;
        let clients = Clients::start(Foreign::Js).await?;
        let token = platform.api.make_device("good").await?;
        let mut good = clients.device()?;
        good.enter(&Connect::token(platform.mqtt, 5, &token)).await?;
        let memory = platform.memory_kib()?;
        let mut bench = Self { platform, good, said: 0, memory };
        bench.all_is_well().await?;
        Ok(bench)
    }

    /// Readings of the device that behaves are acknowledged.
    async fn all_is_well(&mut self) -> Result<()> {
        for _ in 0..20 {
            self.said += 1;
            let code = self.good.publish(topic::TELEMETRY, &format!("{{\"n\":{}}}", self.said), 1).await?;
            ensure!(code == 0, "a good reading was answered by {code:#04x}");
        }
        Ok(())
    }

    /// Everything it said is stored, and the process has grown by no more than that.
    async fn end(mut self, mib: u64) -> Result<()> {
        self.all_is_well().await?;
        let expected: Vec<Value> = (1..=self.said).map(Value::from).collect();
        assert_eq!(self.platform.api.values("good", "n").await?, expected);
        let grown = self.platform.memory_kib()?.saturating_sub(self.memory) / 1024;
        ensure!(grown <= mib, "the process has grown by {grown} MiB");
        Ok(())
    }

    async fn evil(&self, id: &str, version: u8) -> Result<Raw> {
        let token = self.platform.api.make_device(id).await?;
        Raw::connect(self.platform.mqtt, RawConnect { version, token: &token, keep_alive_s: 0 }).await
    }
}

/// Bytes that look like nothing, the same in every run.
fn garbage(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_ends_its_own_connection_and_nothing_else() -> Result<()> {
    let mut bench = Bench::new().await?;
    for seed in 0..300 {
        let mut raw = Raw::open(bench.platform.mqtt).await?;
        // The platform may have closed it before all of it was written.
        let mut bytes = garbage(seed, 2_000);
        // A first byte of CONNECT makes some of it go further.
        if seed % 3 == 0 {
            bytes[0] = 0x10;
        }
        drop(raw.write(&bytes).await);
        if seed % 50 == 0 {
            bench.all_is_well().await?;
        }
    }
    for seed in 0..50 {
        let mut raw = bench.evil(&format!("evil-{seed}"), if seed % 2 == 0 { 4 } else { 5 }).await?;
        // More than a packet may have: whatever length it seems to begin with, the end of it comes.
        drop(raw.write(&garbage(seed, 300_000)).await);
        raw.closed().await.with_context(|| format!("garbage {seed} ends the session"))?;
    }
    bench.end(32).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packet_that_is_cut_anywhere_harms_nobody() -> Result<()> {
    let mut bench = Bench::new().await?;
    let token = bench.platform.api.make_device("half").await?;
    let connect = RawConnect { version: 5, token: &token, keep_alive_s: 0 };
    let publish = Raw::publish(5, 1, topic::TELEMETRY, b"{\"half\":1}");
    let bytes = [connect.bytes(), publish].concat();
    for end in 0..bytes.len() {
        let mut raw = Raw::open(bench.platform.mqtt).await?;
        raw.write(bytes.get(..end).unwrap_or_default()).await?;
        if end % 2 == 0 {
            raw.cut()?;
        }
        if end % 20 == 0 {
            bench.all_is_well().await?;
        }
    }
    assert_eq!(bench.platform.api.values("half", "half").await?, Vec::<Value>::new(), "none was whole");
    // As another device: which of two connections of one that come at the same time stays is left open.
    let token = bench.platform.api.make_device("whole").await?;
    let connect = RawConnect { version: 5, token: &token, keep_alive_s: 0 };
    let publish = Raw::publish(5, 1, topic::TELEMETRY, b"{\"half\":1}");
    let mut raw = Raw::open(bench.platform.mqtt).await?;
    for byte in [connect.bytes(), publish].concat() {
        raw.write(&[byte]).await?;
    }
    let answers = [raw.packet().await?, raw.packet().await?];
    let kinds = answers.map(|packet| packet.map(|packet| packet.kind()));
    assert_eq!(kinds, [Some(2), Some(4)], "byte by byte is fine");
    assert_eq!(bench.platform.api.values("whole", "half").await?, [1]);
    bench.end(32).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_of_256_mib_is_refused_by_its_header() -> Result<()> {
    let mut bench = Bench::new().await?;
    for first in [0x10, 0x30, 0x32, 0x82] {
        for version in [0, 4, 5] {
            let mut raw = match version {
                0 => Raw::open(bench.platform.mqtt).await?,
                version => bench.evil(&format!("evil-{first}-{version}"), version).await?,
            };
            raw.write(&[first, 0xFF, 0xFF, 0xFF, 0x7F]).await?;
            let said = raw.closed().await?;
            let codes: Vec<_> =
                said.iter().map(|packet| (packet.kind(), packet.body.first().copied())).collect();
            match (version, first) {
                (5, 0x10) => ensure!(codes.len() == 1 && codes[0].0 == 14, "a second CONNECT: {codes:?}"),
                (5, _) => assert_eq!(codes, [(14, Some(0x95))]),
                _ => assert_eq!(codes, []),
            }
        }
        bench.all_is_well().await?;
    }
    bench.end(32).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_subscriptions_are_answered_one_by_one_and_kept_within_a_bound() -> Result<()> {
    let mut bench = Bench::new().await?;
    for version in [4, 5] {
        let mut raw = bench.evil(&format!("evil-{version}"), version).await?;
        let (mut granted, mut refused) = (0, 0);
        for packet in 0..200_u16 {
            let filters: Vec<String> = (0..50).map(|n| topic::command(u64::from(packet) * 50 + n)).collect();
            let filters: Vec<(&str, u8)> = filters.iter().map(|filter| (filter.as_str(), 1)).collect();
            raw.write(&Raw::subscribe(version, packet + 1, &filters)).await?;
            let answer = raw.packet().await?.context("closed by subscriptions")?;
            assert_eq!(answer.kind(), 9);
            let codes = answer.body.get(if version == 5 { 3 } else { 2 }..).unwrap_or_default();
            assert_eq!(codes.len(), 50);
            granted += codes.iter().filter(|code| **code == 1).count();
            refused += codes.iter().filter(|code| **code == if version == 5 { 0x97 } else { 0x80 }).count();
        }
        assert_eq!((granted + refused, granted), (10_000, 64));
        // All in one packet, none of them ours.
        let filters = vec![("a", 0); 10_000];
        raw.write(&Raw::subscribe(version, 999, &filters)).await?;
        let answer = raw.packet().await?.context("closed by subscriptions")?;
        let codes = answer.body.get(if version == 5 { 3 } else { 2 }..).unwrap_or_default();
        assert_eq!(codes.iter().filter(|code| **code >= 0x80).count(), 10_000);
        bench.all_is_well().await?;
    }
    bench.end(32).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_connections_that_say_nothing_are_closed_and_keep_nobody_out() -> Result<()> {
    hold_connections(2_000)?;
    let mut bench = Bench::new().await?;
    let mut silent = Vec::new();
    for _ in 0..2_000 {
        silent.push(Raw::open(bench.platform.mqtt).await?);
    }
    bench.all_is_well().await?;
    let mut late = bench.evil("late", 4).await?;
    late.write(&Raw::publish(4, 1, topic::TELEMETRY, b"{\"n\":1}")).await?;
    ensure!(
        late.packet().await?.is_some_and(|packet| packet.kind() == 4),
        "a new device is served meanwhile"
    );
    let grown = bench.platform.memory_kib()?.saturating_sub(bench.memory) / 1024;
    ensure!(grown <= 64, "2,000 silent connections take {grown} MiB");
    for raw in &mut silent {
        assert_eq!(raw.closed().await?, []);
    }
    let open = eventually("only two are left", || async {
        let open = bench.platform.metrics().await?.get("gateway_connections")?;
        Ok((open == 2).then_some(open))
    });
    open.await?;
    bench.end(64).await
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_ask_and_never_read_are_closed_and_cost_no_memory() -> Result<()> {
    let mut bench = Bench::new().await?;
    let ask =
        Raw::publish(4, 1, "v1/devices/me/rpc/request/1", br#"{"method":"getCurrentTime","params":{}}"#);
    let asks = ask.repeat(500);
    let mut slow = Vec::new();
    for n in 0..20 {
        let token = bench.platform.api.make_device(&format!("slow-{n}")).await?;
        let mut raw = Raw::open_narrow(bench.platform.mqtt).await?;
        raw.write(&RawConnect { version: 4, token: &token, keep_alive_s: 0 }.bytes()).await?;
        raw.write(&Raw::subscribe(4, 1, &[("v1/devices/me/rpc/response/+", 0)])).await?;
        slow.push(raw);
    }
    let mut writers = tokio::task::JoinSet::new();
    for mut raw in slow {
        let asks = asks.clone();
        // Until the platform has had enough of it.
        writers.spawn(async move { while raw.write(&asks).await.is_ok() {} });
    }
    let mut ended = 0;
    while ended < 20 {
        bench.all_is_well().await?;
        let grown = bench.platform.memory_kib()?.saturating_sub(bench.memory) / 1024;
        ensure!(grown <= 64, "slow readers take {grown} MiB");
        if let Ok(Some(over)) = tokio::time::timeout(Duration::from_millis(100), writers.join_next()).await {
            over?;
            ended += 1;
        }
    }
    for n in 0..20 {
        let device = bench.platform.api.device_in(&format!("slow-{n}"), "offline").await?;
        assert_eq!(device["connection"]["reason"], "slow_reader");
    }
    bench.end(64).await
}
