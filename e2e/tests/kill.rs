//! What was acknowledged survives: the platform, the mail server and the receiver of webhooks are killed at any moment.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stoker_e2e::{
    Clients, Connect, Device, Foreign, MailFate, Options, Platform, SmtpSink, WebhookSink, eventually, topic,
};

const ID: &str = "boiler-7";
const ROUNDS: u64 = 10;
/// Attempts come after 1, 5, 30 and 120 s: who is killed in the first four, on a machine that is slow, has the fifth.
const SETTLED_WITHIN: Duration = Duration::from_secs(200);

/// A platform with one device and two recipients: one by mail, one by webhook.
struct Bench {
    platform: Platform,
    mail: SmtpSink,
    hooks: WebhookSink,
    device: Device,
    connect: Connect,
    readings: u64,
}

/// What was told, by channel, alarm and step: its idempotency keys.
type Told = BTreeMap<(String, String, String), BTreeSet<String>>;

impl Bench {
    async fn new(version: u8) -> Result<Self> {
        let (mail, hooks) = tokio::try_join!(SmtpSink::start(), WebhookSink::start())?;
        // Nobody is away for long enough to be missed.
        let config = format!("silence: {{after: 300s, grace: 300s}}\n{}", mail.config());
        let platform = Platform::start(Options::config(&config)).await?;
        let connect = Connect::token(platform.mqtt, version, &platform.api.make_device(ID).await?);
        let webhook = json!({"channel": "webhook", "url": hooks.url(), "secret": "a secret of the receiver"});
        let deliver = [json!({"channel": "email", "to": "night@example.org"}), webhook];
        let subscription = json!({"name": "Night shift", "match": {}, "deliver": deliver});
        platform.api.post("/subscriptions", &subscription).await?.expect(201)?;
        let mut device = Clients::start(Foreign::Paho).await?.device()?;
        device.enter(&connect).await?;
        Ok(Self { platform, mail, hooks, device, connect, readings: 0 })
    }

    async fn publish(&self, topic: &str, payload: Value) -> Result<()> {
        let code = self.device.publish(topic, &payload.to_string(), 1).await?;
        ensure!(code == 0, "a message was answered by {code:#04x}");
        Ok(())
    }

    /// The fault is acknowledged.
    async fn fault(&self, code: &str) -> Result<()> {
        self.publish(topic::EVENTS, json!({"kind": "fault", "code": code, "severity": "critical"})).await
    }

    /// The end of the fault is acknowledged.
    async fn over(&self, code: &str) -> Result<()> {
        self.publish(topic::EVENTS, json!({"kind": "fault", "code": code, "cleared": true})).await
    }

    /// More readings are acknowledged.
    async fn read(&mut self, count: u64) -> Result<()> {
        for _ in 0..count {
            self.publish(topic::TELEMETRY, json!({"n": self.readings})).await?;
            self.readings += 1;
        }
        Ok(())
    }

    /// Kills the platform, starts it again, and has the device come back.
    async fn kill9(&mut self) -> Result<()> {
        self.platform.kill9()?;
        self.device.ended().await?;
        self.platform.restart().await?;
        self.device.enter(&self.connect).await
    }

    /// Each fault's code, with its alarm, which is the only one of that code.
    async fn alarms(&self) -> Result<BTreeMap<String, Value>> {
        let mut alarms = BTreeMap::new();
        for alarm in self.platform.api.all(&format!("/alarms?device={ID}")).await? {
            let code = alarm["code"].as_str().context("an alarm without a code")?.to_owned();
            ensure!(alarms.insert(code.clone(), alarm).is_none(), "two alarms {code}");
        }
        Ok(alarms)
    }

    /// All notifications, once none is pending.
    async fn settled(&self) -> Result<Vec<Value>> {
        let by = Instant::now() + SETTLED_WITHIN;
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        loop {
            let all = self.platform.api.all("/notifications").await?;
            let pending: Vec<&Value> = all.iter().filter(|one| one["state"] == "pending").collect();
            if pending.is_empty() {
                return Ok(all);
            }
            ensure!(Instant::now() < by, "pending after {} s: {pending:#?}", SETTLED_WITHIN.as_secs());
            ticks.tick().await;
        }
    }

    /// What both recipients were told.
    fn told(&self) -> Result<Told> {
        let mut told = Told::new();
        for mail in self.mail.mails() {
            let (mark, about) = mail.subject().split_once("] ").context("a subject without a mark")?;
            let code = about.strip_prefix(&format!("{ID}: ")).context("a mail about another device")?;
            let step = if mark == "[cleared" { "cleared" } else { "raised" };
            let what = ("email".to_owned(), code.to_owned(), step.to_owned());
            told.entry(what).or_default().insert(mail.key()?.to_owned());
        }
        for hook in self.hooks.hooks() {
            let event = hook.json()?;
            let code = event["data"]["code"].as_str().context("an event without a code")?;
            let step = event["type"].as_str().and_then(|kind| kind.rsplit_once('.')).context("no type")?.1;
            let what = ("webhook".to_owned(), code.to_owned(), step.to_owned());
            told.entry(what).or_default().insert(hook.key()?.to_owned());
        }
        Ok(told)
    }

    /// Every fault has its alarm; each of its steps was told by each channel under one key, and all of it is known.
    async fn nothing_is_lost(&self, steps: &[(String, &str)]) -> Result<()> {
        let alarms = self.alarms().await?;
        let codes: BTreeSet<&String> = steps.iter().map(|(code, _)| code).collect();
        assert_eq!(alarms.keys().collect::<BTreeSet<_>>(), codes, "every acknowledged fault has its alarm");
        let notifications = self.settled().await?;
        assert_eq!(notifications.len(), 2 * steps.len(), "one for each step and channel: {notifications:#?}");
        let told = self.told()?;
        let (mails, hooks) = (self.mail.mails().len(), self.hooks.hooks().len());
        println!("{mails} mails and {hooks} webhooks about {} notifications", notifications.len());
        let expected: BTreeSet<_> = ["email", "webhook"]
            .iter()
            .flat_map(|channel| steps.iter().map(move |(code, step)| (channel, code, *step)))
            .map(|(channel, code, step)| ((*channel).to_owned(), code.clone(), step.to_owned()))
            .collect();
        assert_eq!(
            told.keys().cloned().collect::<BTreeSet<_>>(),
            expected,
            "each step is told by each channel"
        );
        for ((channel, code, step), keys) in &told {
            ensure!(keys.len() == 1, "{step} {code} was told by {channel} under {keys:?}");
            let of = |one: &&Value| {
                one["channel"] == **channel && one["step"] == **step && one["alarm"] == alarms[code]["id"]
            };
            let notification = notifications.iter().find(of).context("told, but not known to be")?;
            assert_eq!(notification["id"].as_str(), keys.first().map(String::as_str));
            assert_eq!(notification["state"], if channel == "email" { "sent" } else { "delivered" });
        }
        Ok(())
    }

    /// Readings that were acknowledged are there, in their order.
    async fn readings_are_there(&self) -> Result<()> {
        let values = self.platform.api.values(ID, "n").await?;
        let values: BTreeSet<u64> = values.iter().filter_map(Value::as_u64).collect();
        let lost: Vec<u64> = (0..self.readings).filter(|n| !values.contains(n)).collect();
        ensure!(lost.is_empty(), "readings that were acknowledged are lost: {lost:?}");
        Ok(())
    }
}

/// Random numbers of a seed that is printed; `STOKER_E2E_SEED` replays it.
struct Random(u64);

impl Random {
    fn new() -> Result<Self> {
        let seed = match std::env::var("STOKER_E2E_SEED") {
            Ok(seed) => seed.parse().context("STOKER_E2E_SEED is no number")?,
            Err(_) => u64::from(SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos()),
        };
        println!("STOKER_E2E_SEED={seed}");
        Ok(Self(seed | 1))
    }

    /// Below `bound`. Xorshift.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % bound
    }

    /// Up to 50 ms, half of the times up to 5: before an attempt, in it, before its report, or after all.
    async fn pause(&mut self) {
        let most = if self.below(2) == 0 { 5_000 } else { 50_000 };
        // tidy: allow(sleep): chooses the moment of a kill and decides nothing
        tokio::time::sleep(Duration::from_micros(self.below(most))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_killed_at_any_moment_loses_nothing_that_it_acknowledged() -> Result<()> {
    let mut random = Random::new()?;
    let mut bench = Bench::new(5).await?;
    let mut steps = Vec::new();
    for round in 0..ROUNDS {
        bench.read(random.below(20)).await?;
        let code = format!("E{round}");
        bench.fault(&code).await?;
        steps.push((code.clone(), "raised"));
        if random.below(2) == 0 {
            bench.over(&code).await?;
            steps.push((code, "cleared"));
        }
        // These may be stored or not when the kill comes.
        let maybe = format!("M{round}");
        let event = json!({"kind": "fault", "code": maybe, "severity": "critical"}).to_string();
        bench.device.publish_only(topic::EVENTS, &event, 1).await?;
        let reading = json!({"n": bench.readings}).to_string();
        bench.device.publish_only(topic::TELEMETRY, &reading, 1).await?;
        random.pause().await;
        bench.kill9().await?;
        if random.below(3) == 0 {
            // In the middle of handing out what the first kill had left.
            bench.kill9().await?;
        }
        bench.readings_are_there().await?;
        if bench.alarms().await?.contains_key(&maybe) {
            steps.push((maybe, "raised"));
        }
    }
    bench.nothing_is_lost(&steps).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_had_answered_before_the_kill_is_told_after_it() -> Result<()> {
    let mut bench = Bench::new(4).await?;
    bench.mail.next(MailFate::Hung, 1).await?;
    bench.hooks.next(&[WebhookSink::NO_ANSWER]);
    bench.fault("E42").await?;
    eventually("both receivers hang", || async {
        Ok((bench.mail.turned_away() == 1 && bench.hooks.hooks().len() == 1).then_some(()))
    })
    .await?;
    ensure!(bench.mail.mails().is_empty(), "a server that hangs takes nothing");
    bench.kill9().await?;
    bench.nothing_is_lost(&[("E42".to_owned(), "raised")]).await?;
    let told = (bench.mail.mails().len(), bench.hooks.hooks().len());
    if bench.platform.is_one() {
        assert_eq!(told, (1, 2), "once is enough");
    } else {
        // A broker brings again what it had handed out, and the new owner may not know that it has it: then it comes once
        // more, under the same key.
        ensure!(told.0 <= 2 && told.1 <= 3, "{told:?} mails and requests of one alarm");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_killed_at_any_moment_are_told_everything() -> Result<()> {
    let mut random = Random::new()?;
    let mut bench = Bench::new(5).await?;
    let mut steps = Vec::new();
    for round in 0..ROUNDS {
        if random.below(3) == 0 {
            bench.mail.next(MailFate::Hung, 1).await?;
        }
        if random.below(3) == 0 {
            bench.hooks.next(&[WebhookSink::NO_ANSWER]);
        }
        let code = format!("E{round}");
        bench.fault(&code).await?;
        bench.over(&code).await?;
        steps.extend([(code.clone(), "raised"), (code, "cleared")]);
        random.pause().await;
        tokio::try_join!(bench.mail.kill9(), bench.hooks.stop())?;
        tokio::try_join!(bench.mail.restart(), bench.hooks.restart())?;
    }
    bench.nothing_is_lost(&steps).await
}
