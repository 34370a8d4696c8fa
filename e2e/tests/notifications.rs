//! Who is told of an alarm, how, and how often: with a mail server and a receiver of webhooks that are not ours.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stoker_e2e::{
    Clients, Connect, Device, Foreign, Mail, MailFate, Options, Platform, SmtpSink, WebhookSink, eventually,
    topic,
};

const ID: &str = "boiler-7";
const NIGHT: &str = "night@example.org";
const SECRET: &str = "a secret of the receiver";

/// A platform with one device, a mail server and a receiver of webhooks.
struct Bench {
    platform: Platform,
    mail: SmtpSink,
    hooks: WebhookSink,
    device: Device,
    connect: Connect,
}

impl Bench {
    async fn new(kind: Foreign, version: u8) -> Result<Self> {
        let (mail, hooks) = tokio::try_join!(SmtpSink::start(), WebhookSink::start())?;
        let config = format!("silence: {{after: 1s, grace: 2s}}\n{}", mail.config());
        let platform = Platform::start(Options::config(&config)).await?;
        let device = json!({"id": ID, "site": "north", "tags": ["heating", "gas"]});
        let made = platform.api.post("/devices", &device).await?.expect(201)?;
        let token = made["token"].as_str().context("a device without a token")?;
        let connect = Connect::token(platform.mqtt, version, token);
        let mut device = Clients::start(kind).await?.device()?;
        device.enter(&connect).await?;
        Ok(Self { platform, mail, hooks, device, connect })
    }

    async fn subscribe(&self, matching: Value, deliver: Value) -> Result<()> {
        let subscription = json!({"name": "Night shift", "match": matching, "deliver": [deliver]});
        self.platform.api.post("/subscriptions", &subscription).await?.expect(201).map(drop)
    }

    async fn subscribe_mail(&self) -> Result<()> {
        self.subscribe(json!({}), json!({"channel": "email", "to": NIGHT})).await
    }

    async fn subscribe_webhook(&self) -> Result<()> {
        let url = self.hooks.url();
        self.subscribe(json!({}), json!({"channel": "webhook", "url": url, "secret": SECRET})).await
    }

    async fn event(&self, event: Value) -> Result<()> {
        let code = self.device.publish(topic::EVENTS, &event.to_string(), 1).await?;
        ensure!(code == 0, "the event was answered by {code:#04x}");
        Ok(())
    }

    async fn fault(&self, code: &str) -> Result<()> {
        self.event(json!({"kind": "fault", "code": code, "severity": "critical", "text": "flame lost"})).await
    }

    async fn over(&self, code: &str) -> Result<()> {
        self.event(json!({"kind": "fault", "code": code, "cleared": true})).await
    }

    /// The one alarm of that code; it is there with the acknowledgement of its event.
    async fn alarm(&self, code: &str) -> Result<Value> {
        let mut alarms = self.platform.api.all(&format!("/alarms?device={ID}")).await?;
        alarms.retain(|alarm| alarm["code"] == code);
        ensure!(alarms.len() == 1, "not one alarm {code} but {alarms:?}");
        alarms.pop().context("no alarm")
    }

    /// What was to be told of the alarm of that code, the oldest first.
    async fn notifications(&self, code: &str) -> Result<Vec<Value>> {
        let alarm = self.alarm(code).await?;
        let id = alarm["id"].as_str().context("an alarm without an id")?;
        let mut all = self.platform.api.all(&format!("/notifications?alarm={id}")).await?;
        all.sort_by_key(|one| one["step"] == "cleared");
        Ok(all)
    }

    /// The notifications of the alarm, once all have come to that state.
    async fn notifications_in(&self, code: &str, count: usize, state: &str) -> Result<Vec<Value>> {
        eventually(&format!("{count} notifications about {code} are {state}"), || async {
            let all = self.notifications(code).await?;
            ensure!(all.len() == count, "not {count} notifications but {all:#?}");
            Ok(all.iter().all(|one| one["state"] == state).then_some(all))
        })
        .await
    }

    /// The notification of the alarm that is not cleared, once it has come to that state.
    async fn told(&self, code: &str, state: &str) -> Result<Value> {
        self.notifications_in(code, 1, state).await?.pop().context("no notification")
    }
}

/// How each attempt went.
fn results(notification: &Value) -> Vec<&str> {
    let attempts = notification["attempts"].as_array().map(Vec::as_slice).unwrap_or_default();
    attempts.iter().filter_map(|attempt| attempt["result"].as_str()).collect()
}

/// What the last attempt was answered.
fn detail(notification: &Value) -> &str {
    let attempts = notification["attempts"].as_array().map(Vec::as_slice).unwrap_or_default();
    attempts.last().and_then(|attempt| attempt["detail"].as_str()).unwrap_or_default()
}

/// The second mail stands in the thread of the first.
fn in_thread(raised: &Mail, cleared: &Mail) -> Result<()> {
    let id = raised.header("message-id");
    ensure!(id.is_some() && cleared.header("message-id") != id, "{raised:?} {cleared:?}");
    assert_eq!(cleared.header("in-reply-to"), id);
    assert_eq!(cleared.header("references"), id);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_is_told_by_one_mail_and_its_end_by_another_in_its_thread() -> Result<()> {
    for (kind, version) in [(Foreign::Paho, 4), (Foreign::Js, 5)] {
        let bench = Bench::new(kind, version).await?;
        bench.subscribe_mail().await?;
        bench.fault("E42").await?;
        let mails = bench.mail.mails_once(1).await?;
        let raised = &mails[0];
        assert_eq!(raised.subject(), "[critical] boiler-7: flame lost (E42)");
        assert_eq!((raised.from(), raised.to()), ("alarms@example.com", NIGHT));
        ensure!(raised.body().contains("boiler-7 has raised a critical alarm."), "{raised:?}");

        bench.over("E42").await?;
        let mails = bench.mail.mails_once(2).await?;
        assert_eq!(mails[1].subject(), "[cleared] boiler-7: flame lost (E42)");
        assert_eq!(mails[1].to(), NIGHT);
        in_thread(&mails[0], &mails[1])?;

        let told = bench.notifications_in("E42", 2, "sent").await?;
        for (notification, (mail, step)) in told.iter().zip(mails.iter().zip(["raised", "cleared"])) {
            assert_eq!((notification["step"].as_str(), results(notification)), (Some(step), vec!["sent"]));
            assert_eq!(notification["id"].as_str(), Some(mail.key()?));
            assert_eq!((&notification["channel"], &notification["to"]), (&json!("email"), &json!(NIGHT)));
            assert_eq!(notification["alarm"], bench.alarm("E42").await?["id"]);
            ensure!(detail(notification).contains("250"), "{notification}");
        }
        assert_eq!(bench.mail.mails().len(), 2, "each is told once");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_and_its_end_are_told_by_signed_cloud_events() -> Result<()> {
    let bench = Bench::new(Foreign::Paho, 5).await?;
    bench.subscribe_webhook().await?;
    bench.fault("E42").await?;
    bench.hooks.hooks_once(1).await?;
    let raised = bench.alarm("E42").await?;
    bench.over("E42").await?;
    let hooks = bench.hooks.hooks_once(2).await?;
    let told = bench.notifications_in("E42", 2, "delivered").await?;
    let cleared = bench.alarm("E42").await?;
    let steps = [("raised", &raised, "raised_at"), ("cleared", &cleared, "cleared_at")];
    for ((hook, (step, alarm, at)), notification) in hooks.iter().zip(steps).zip(&told) {
        assert_eq!(hook.what, "POST /hook");
        assert_eq!(hook.header("content-type")?, "application/cloudevents+json");
        assert_eq!(Some(hook.key()?), notification["id"].as_str());
        assert_eq!(results(notification), ["delivered"]);
        let event = hook.json()?;
        assert_eq!(event["specversion"], "1.0");
        assert_eq!(event["type"], format!("dev.stoker.alarm.{step}"));
        assert_eq!(event["id"], notification["id"]);
        assert_eq!((&event["subject"], &event["time"]), (&json!(ID), &alarm[at]));
        assert_eq!(&event["data"], alarm, "the alarm as GET shows it");
        ensure!(hook.genuine(SECRET).await?, "not signed by the secret");
        ensure!(!hook.genuine("another secret of somebody").await?, "signed by any secret");
        let mut changed = hook.clone();
        changed.body.push(b' ');
        ensure!(!changed.genuine(SECRET).await?, "the body is not signed");
    }
    assert_eq!(bench.hooks.hooks().len(), 2, "each is told once");
    Ok(())
}

/// What a test of the one subscription there is has made, once it has come to that state.
async fn tested(bench: &Bench, state: &str) -> Result<Value> {
    let subscriptions = bench.platform.api.all("/subscriptions").await?;
    let id = subscriptions[0]["id"].as_str().context("a subscription without an id")?;
    let path = format!("/subscriptions/{id}/test");
    let made = bench.platform.api.post(&path, &json!({})).await?.expect(202)?;
    let made = made["notifications"].as_array().context("no ids")?.clone();
    ensure!(made.len() == 1, "not one notification but {made:?}");
    let again = bench.platform.api.post(&path, &json!({})).await?.expect(429)?;
    assert_eq!(again["type"], "urn:stoker:problem:too_many_tests");
    eventually(&format!("the test is {state}"), || async {
        let mut all = bench.platform.api.all("/notifications").await?;
        all.retain(|one| one["id"] == made[0]);
        let one = all.pop().context("it is not listed")?;
        ensure!(
            (&one["alarm"], &one["device"], &one["step"]) == (&Value::Null, &Value::Null, &json!("test")),
            "{one}"
        );
        Ok((one["state"] == state).then_some(one))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_message_comes_by_mail_and_says_that_it_is_one() -> Result<()> {
    let mut bench = Bench::new(Foreign::Paho, 4).await?;
    bench.subscribe(json!({"devices": ["nobody"]}), json!({"channel": "email", "to": NIGHT})).await?;
    bench.mail.next(MailFate::Answered("451 try later"), 1).await?;
    let told = tested(&bench, "sent").await?;
    assert_eq!(results(&told), ["retry", "sent"], "it is tried like any other");
    let mails = bench.mail.mails_once(1).await?;
    assert_eq!(mails[0].subject(), "[test] Night shift: this is a test, nothing has failed");
    assert_eq!((mails[0].to(), Some(mails[0].key()?)), (NIGHT, told["id"].as_str()));
    ensure!(bench.platform.api.all("/alarms").await?.is_empty(), "a test is no alarm");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_message_comes_by_webhook_and_is_signed() -> Result<()> {
    let bench = Bench::new(Foreign::Js, 5).await?;
    bench.subscribe_webhook().await?;
    let told = tested(&bench, "delivered").await?;
    let hooks = bench.hooks.hooks_once(1).await?;
    let event = hooks[0].json()?;
    assert_eq!((&event["type"], &event["id"]), (&json!("dev.stoker.test"), &told["id"]));
    assert_eq!(event["data"]["subscription"], told["subscription"]);
    ensure!(hooks[0].genuine(SECRET).await?, "not signed by the secret");
    ensure!(!hooks[0].genuine("another secret of somebody").await?, "signed by any secret");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_are_told_whose_subscription_matches() -> Result<()> {
    let bench = Bench::new(Foreign::Js, 4).await?;
    let near_misses = [
        json!({"devices": ["boiler-8", "boiler", "oiler-7", "boiler-7?"]}),
        json!({"devices": ["boiler-7*7", "*-8", "BOILER-*"]}),
        json!({"sites": ["south", "nort"]}),
        json!({"tags": ["cooling", "heat"]}),
        json!({"min_severity": "critical"}),
        json!({"devices": ["boiler-*"], "sites": ["south"]}),
        json!({"devices": ["boiler-7"], "sites": ["north"], "tags": ["gas"], "min_severity": "critical"}),
    ];
    let matches = [
        json!({}),
        json!({"devices": ["boiler-*"]}),
        json!({"devices": ["pump-1", "*er-7"]}),
        json!({"sites": ["n*h"]}),
        json!({"tags": ["cooling", "gas"]}),
        json!({"min_severity": "major"}),
        json!({"devices": ["*"], "sites": ["north"], "tags": ["heating"], "min_severity": "warning"}),
    ];
    let mut refused = Vec::new();
    for (name, list) in [("miss", &near_misses[..]), ("match", &matches[..])] {
        for (n, matching) in list.iter().enumerate() {
            let to = format!("{name}-{n}@example.org");
            let made = bench.subscribe(matching.clone(), json!({"channel": "email", "to": to})).await;
            made.unwrap_or_else(|error| refused.push(error.to_string()));
        }
    }
    // `boiler-7?` is no pattern: only `*` is.
    assert_eq!(refused.len(), 1, "{refused:?}");
    bench.event(json!({"kind": "fault", "code": "E1", "severity": "major"})).await?;
    bench.event(json!({"kind": "door", "code": "E2", "severity": "major"})).await?;
    bench.over("E1").await?;

    let expected: Vec<String> = (0..matches.len()).map(|n| format!("match-{n}@example.org")).collect();
    let told = bench.notifications_in("E1", 2 * matches.len(), "sent").await?;
    let mails = bench.mail.mails_once(2 * matches.len()).await?;
    for mark in ["[major]", "[cleared]"] {
        let of = mails.iter().filter(|mail| mail.subject().starts_with(mark));
        let mut to: Vec<&str> = of.map(Mail::to).collect();
        to.sort_unstable();
        assert_eq!(to, expected, "{mark}");
    }
    let all = bench.platform.api.all("/notifications").await?;
    assert_eq!(all.len(), told.len(), "an event that is no fault tells nobody");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_event_tells_nobody_again() -> Result<()> {
    let bench = Bench::new(Foreign::Paho, 4).await?;
    bench.subscribe_mail().await?;
    let event = json!({"id": "event-1", "kind": "fault", "code": "E42", "severity": "critical"});
    for _ in 0..3 {
        bench.event(event.clone()).await?;
    }
    bench.mail.mails_once(1).await?;
    assert_eq!(bench.alarm("E42").await?["count"], 1);
    // Another event of the same fault is counted, and is no new alarm.
    bench.fault("E42").await?;
    bench.event(event).await?;
    assert_eq!(bench.alarm("E42").await?["count"], 2);
    bench.over("E42").await?;
    bench.over("E42").await?;
    bench.notifications_in("E42", 2, "sent").await?;
    assert_eq!(bench.mail.mails_once(2).await?.len(), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_waits_for_a_server_that_is_down() -> Result<()> {
    let mut bench = Bench::new(Foreign::Paho, 5).await?;
    bench.mail.kill9().await?;
    bench.subscribe_mail().await?;
    bench.fault("E42").await?;
    eventually("two attempts have failed", || async {
        let now = bench.told("E42", "pending").await?;
        Ok((results(&now) == ["retry", "retry"]).then_some(()))
    })
    .await?;
    bench.mail.restart().await?;
    let mails = bench.mail.mails_once(1).await?;
    let told = bench.told("E42", "sent").await?;
    assert_eq!(told["id"].as_str(), Some(mails[0].key()?));
    assert_eq!(results(&told), ["retry", "retry", "sent"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_that_asks_for_patience_gets_it() -> Result<()> {
    let mut bench = Bench::new(Foreign::Js, 5).await?;
    bench.subscribe_mail().await?;
    for (code, fate, said) in
        [("E1", MailFate::Answered("451 try later"), "451"), ("E2", MailFate::Dropped, "the mail server")]
    {
        bench.mail.next(fate, 1).await?;
        bench.fault(code).await?;
        let told = bench.told(code, "sent").await?;
        assert_eq!(results(&told), ["retry", "sent"], "{fate:?}");
        let first = told["attempts"][0]["detail"].as_str().unwrap_or_default();
        ensure!(first.contains(said), "{told}");
        let mails = bench.mail.mails();
        let keys: Result<Vec<&str>> = mails.iter().map(Mail::key).collect();
        ensure!(keys?.last().copied() == told["id"].as_str(), "another key than that of {told}");
    }
    assert_eq!((bench.mail.turned_away(), bench.mail.mails().len()), (2, 2));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_is_refused_for_good_has_failed_with_the_servers_words() -> Result<()> {
    let mut bench = Bench::new(Foreign::Paho, 4).await?;
    bench.subscribe_mail().await?;
    bench.mail.next(MailFate::Answered("550 no such mailbox"), 1).await?;
    bench.fault("E42").await?;
    let told = bench.told("E42", "failed").await?;
    assert_eq!(results(&told), ["refused"]);
    ensure!(detail(&told).contains("550") && detail(&told).contains("no such mailbox"), "{told}");
    ensure!(told["next_attempt_at"].is_null(), "{told}");
    let events = bench.platform.api.events(ID, "notification_failed").await?;
    assert_eq!(events.len(), 1, "{events:?}");
    // The end is told all the same: it is another mail.
    bench.over("E42").await?;
    let mails = bench.mail.mails_once(1).await?;
    assert_eq!(mails[0].subject(), "[cleared] boiler-7: flame lost (E42)");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_tried_again_with_its_id_and_its_very_body() -> Result<()> {
    let bench = Bench::new(Foreign::Js, 4).await?;
    bench.subscribe_webhook().await?;
    bench.hooks.next(&[500, 429]);
    bench.fault("E42").await?;
    let hooks = bench.hooks.hooks_once(3).await?;
    let told = bench.told("E42", "delivered").await?;
    assert_eq!(results(&told), ["retry", "retry", "delivered"]);
    for hook in &hooks {
        assert_eq!(Some(hook.key()?), told["id"].as_str());
        assert_eq!(hook.body, hooks[0].body);
        ensure!(hook.genuine(SECRET).await?, "not signed by the secret");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_follows_no_redirect_and_takes_no_for_an_answer() -> Result<()> {
    let bench = Bench::new(Foreign::Paho, 5).await?;
    bench.subscribe_webhook().await?;
    for (n, status) in [301, 302, 303, 307, 308, 400, 401, 404, 410].into_iter().enumerate() {
        let code = format!("E{status}");
        bench.hooks.next(&[status]);
        bench.fault(&code).await?;
        let told = bench.told(&code, "failed").await?;
        assert_eq!(results(&told), ["refused"], "{status}");
        ensure!(detail(&told).contains(&status.to_string()), "{told}");
        assert_eq!(status < 400, detail(&told).contains("redirects are not followed"), "{told}");
        let hooks = bench.hooks.hooks();
        assert_eq!(hooks.len(), n + 1, "{status}");
        ensure!(hooks.iter().all(|hook| hook.what == "POST /hook"), "{hooks:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_to_an_address_that_is_not_public_is_refused_and_told_which_key_allows_it() -> Result<()> {
    let bench = Bench::new(Foreign::Js, 5).await?;
    let port = bench.hooks.url().rsplit_once(':').map(|(_, rest)| rest.to_owned()).context("no port")?;
    let hosts =
        ["10.1.2.3", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "[fe80::1]"];
    for host in hosts {
        let url = format!("http://{host}:{port}");
        bench.subscribe(json!({}), json!({"channel": "webhook", "url": url, "secret": SECRET})).await?;
    }
    bench.fault("E42").await?;
    for told in bench.notifications_in("E42", hosts.len(), "failed").await? {
        assert_eq!(results(&told), ["refused"], "{told}");
        ensure!(detail(&told).contains("notifier.webhook.allow"), "{told}");
    }
    ensure!(bench.hooks.hooks().is_empty(), "0.0.0.0 is this machine");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silence_and_the_return_are_told_by_mail() -> Result<()> {
    let mut bench = Bench::new(Foreign::Paho, 4).await?;
    bench.subscribe_mail().await?;
    bench.device.cut().await?;
    let mails = bench.mail.mails_once(1).await?;
    ensure!(mails[0].subject().starts_with("[major] boiler-7: "), "{mails:?}");
    bench.device.enter(&bench.connect).await?;
    let mails = bench.mail.mails_once(2).await?;
    let about = |mail: &Mail| mail.subject().split_once("] ").map(|(_, about)| about.to_owned());
    ensure!(mails[1].subject().starts_with("[cleared] boiler-7: "), "{mails:?}");
    assert_eq!(about(&mails[0]), about(&mails[1]));
    in_thread(&mails[0], &mails[1])
}
