//! The console, as a person uses it: in a browser, wide and narrow, with scripts and without.

use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stoker_e2e::{
    Browser, Clients, Connect, Device, Find, Foreign, Options, Platform, SmtpSink, View, WITHIN, eventually,
    topic,
};

const NIGHT: &str = "night@example.org";
const WIDE: u32 = 1280;
const NARROW: u32 = 390;
/// Harmless as text, and harmful as anything else.
const HOSTILE: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>";

fn view(width: u32, scripts: bool) -> View {
    View { width, scripts, dark: false }
}

/// A platform, and a browser that looks at it.
struct Desk {
    platform: Platform,
    browser: Browser,
    mail: SmtpSink,
    view: View,
}

impl Desk {
    async fn new(view: View) -> Result<Self> {
        let mail = SmtpSink::start().await?;
        let platform = Platform::start(Options::config(&mail.config())).await?;
        let mut browser = Browser::start(&platform).await?;
        browser.open(view).await?;
        Ok(Self { platform, browser, mail, view })
    }

    async fn signed_in(view: View) -> Result<Self> {
        let mut desk = Self::new(view).await?;
        desk.sign_in().await?;
        Ok(desk)
    }

    async fn sign_in(&mut self) -> Result<()> {
        self.browser.go("/").await?;
        self.browser.fill(Find::Label("Token"), self.platform.api.admin_token()).await?;
        self.browser.click(Find::Button("Sign in")).await?;
        self.browser.see(Find::Button("Sign out"), "").await
    }

    /// A device that hears commands.
    async fn device(&self, token: &str) -> Result<Device> {
        let mut device = Clients::start(Foreign::Paho).await?.device()?;
        device.enter(&Connect::token(self.platform.mqtt, 5, token)).await?;
        device.subscribe(topic::COMMANDS, 1).await?;
        Ok(device)
    }

    /// Sees it on the page that is open; who has no scripts loads `path` anew for it.
    async fn comes(&mut self, path: &str, find: Find<'_>, text: &str) -> Result<()> {
        if self.view.scripts {
            self.browser.see(find, text).await?;
            ensure!(self.browser.is_marked().await?, "{text:?} came by a page that was loaded anew");
            return Ok(());
        }
        let by = Instant::now() + WITHIN;
        loop {
            self.browser.go(path).await?;
            if self.browser.has(find, text).await? {
                return Ok(());
            }
            ensure!(Instant::now() < by, "{text:?} does not come on {path}");
        }
    }

    /// That all of the page is within the window, and nothing went wrong on it.
    async fn is_well(&mut self, what: &str) -> Result<()> {
        let overflow = self.browser.overflow().await?;
        ensure!(overflow <= 0, "{what} is {overflow} pixels wider than the window");
        let complaints = self.browser.complaints().await?;
        ensure!(complaints.is_empty(), "{what}: {complaints:?}");
        Ok(())
    }
}

async fn publish(device: &Device, topic: &str, payload: &Value) -> Result<()> {
    let code = device.publish(topic, &payload.to_string(), 1).await?;
    ensure!(code == 0, "answered by {code:#04x}: {payload}");
    Ok(())
}

fn fault(code: &str, text: &str) -> Value {
    json!({"kind": "fault", "code": code, "severity": "critical", "text": text})
}

/// From nothing to a device that failed, was seen to, was told what to do, and somebody who knows.
async fn from_nothing_to_a_night_shift(view: View) -> Result<()> {
    let mut desk = Desk::signed_in(view).await?;
    desk.browser.see(Find::Css("h1"), "Connect your first device").await?;
    desk.is_well("the welcome").await?;
    desk.browser.fill(Find::Label("Id of your choice"), "boiler-7").await?;
    desk.browser.click(Find::Button("Make the device")).await?;
    let token = desk.browser.text(Find::Css(".secret")).await?;
    desk.browser.see(Find::Css("#arrived"), "Waiting for the first reading").await?;
    if desk.platform.is_one() {
        let port = format!("-p {} -q 1", desk.platform.mqtt.port());
        desk.browser.see(Find::Css(".snippets"), &port).await?;
    }
    desk.is_well("the token").await?;
    desk.browser.mark().await?;
    let mut device = desk.device(&token).await?;
    publish(&device, topic::TELEMETRY, &json!({"t_supply": 71.25})).await?;
    desk.comes("/connect/boiler-7", Find::Css("#arrived .good"), "t_supply = 71.25").await?;

    desk.browser.click(Find::Link("Subscriptions")).await?;
    desk.browser.fill(Find::Label("Name"), "Night shift").await?;
    desk.browser.fill(Find::Label("By e-mail to"), NIGHT).await?;
    desk.browser.click(Find::Button("Subscribe")).await?;
    desk.browser.see(Find::Css(".subscription"), NIGHT).await?;
    desk.is_well("the subscriptions").await?;

    desk.browser.click(Find::Link("Fleet")).await?;
    desk.browser.see(Find::Css("#rows tr"), "boiler-7").await?;
    desk.browser.see(Find::Css("#open-alarms"), "All is well").await?;
    desk.browser.mark().await?;
    publish(&device, topic::EVENTS, &fault("E42", "flame lost")).await?;
    desk.comes("/fleet", Find::Css("#open-alarms .alarm"), "flame lost").await?;
    desk.is_well("the fleet").await?;
    desk.browser.click(Find::Button("Acknowledge")).await?;
    desk.browser.see(Find::Css("#open-alarms .noted"), "noted by admin").await?;

    desk.browser.click(Find::Css("#rows th a")).await?;
    desk.browser.see(Find::Css("h1"), "boiler-7").await?;
    desk.browser.see(Find::Css("#values td"), "71.25").await?;
    desk.browser.see(Find::Css("#chart svg"), "").await?;
    desk.browser.click(Find::Link("1 month")).await?;
    desk.browser.see(Find::Css("#chart .facts"), "of 1 value").await?;
    desk.browser.fill(Find::Label("Method"), "write_setpoint").await?;
    desk.browser.fill(Find::Label("Parameters (JSON)"), "{\"value\":").await?;
    desk.browser.click(Find::Button("Send")).await?;
    desk.browser.see(Find::Css("[role=alert]"), "Parameters: this is not JSON").await?;
    desk.browser.fill(Find::Label("Parameters (JSON)"), "{\"value\":55}").await?;
    desk.browser.click(Find::Button("Send")).await?;
    let order = device.message().await?;
    ensure!(order.json()? == json!({"method": "write_setpoint", "params": {"value": 55}}), "{order:?}");
    desk.browser.see(Find::Css("#ledger tr"), "write_setpoint").await?;
    desk.browser.mark().await?;
    publish(&device, &topic::reply(order.number()?), &json!({"done": true})).await?;
    desk.comes("/devices/boiler-7", Find::Css("#ledger tr"), "succeeded").await?;
    desk.browser.see(Find::Css("#ledger tr"), "{\"done\":true}").await?;
    desk.is_well("the device").await?;

    let mails = desk.mail.mails_once(1).await?;
    ensure!(mails[0].to() == NIGHT, "{mails:?}");
    eventually("a notification that was sent", || async {
        let sent = desk.platform.api.get("/notifications?state=sent").await?.expect(200)?;
        Ok(sent["items"].as_array().filter(|items| !items.is_empty()).map(drop))
    })
    .await?;
    desk.browser.click(Find::Link("Notifications")).await?;
    desk.browser.see(Find::Css("#told tr"), NIGHT).await?;
    desk.browser.see(Find::Css("#told .ledger"), "sent").await?;
    desk.browser.click(Find::Link("raised")).await?;
    desk.browser.see(Find::Css("#story li"), "Acknowledged").await?;
    desk.browser.see(Find::Css("#story li"), NIGHT).await?;
    desk.is_well("the story").await
}

#[tokio::test(flavor = "multi_thread")]
async fn from_nothing_to_a_night_shift_with_scripts() -> Result<()> {
    from_nothing_to_a_night_shift(view(WIDE, true)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn from_nothing_to_a_night_shift_without_scripts() -> Result<()> {
    from_nothing_to_a_night_shift(view(WIDE, false)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn from_nothing_to_a_night_shift_on_a_telephone() -> Result<()> {
    from_nothing_to_a_night_shift(view(NARROW, true)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn from_nothing_to_a_night_shift_on_a_telephone_without_scripts() -> Result<()> {
    from_nothing_to_a_night_shift(view(NARROW, false)).await
}

/// A fleet on which every page has something to show, and where names are as bad as they may be: the alarm's id.
async fn furnish(desk: &Desk) -> Result<String> {
    let api = &desk.platform.api;
    let made = json!({"id": "boiler-7", "model": HOSTILE, "site": "north", "tags": [HOSTILE, "gas"]});
    let made = api.post("/devices", &made).await?.expect(201)?;
    for n in 0..60 {
        let device =
            json!({"id": format!("pump-{n:02}"), "model": "P20", "site": "south", "tags": ["water"]});
        api.post("/devices", &device).await?.expect(201)?;
    }
    let who = json!({"name": HOSTILE, "deliver": [{"channel": "email", "to": NIGHT}]});
    api.post("/subscriptions", &who).await?.expect(201)?;
    let mut device = desk.device(made["token"].as_str().context("no token")?).await?;
    let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let reading = |minute: u32| {
        let phase = f64::from(minute) / 5.0;
        let values =
            json!({"t_supply": 70.0 + 4.0 * phase.sin(), HOSTILE: HOSTILE, "burner": phase.sin() > 0.0});
        json!({"ts": now - u64::from(minute) * 60_000, "values": values})
    };
    publish(&device, topic::TELEMETRY, &(0..50).map(reading).collect()).await?;
    publish(&device, topic::ATTRIBUTES, &json!({"firmware": "1.4", HOSTILE: HOSTILE})).await?;
    let attributes = json!({"shared": {"setpoint": 55}, "server": {"contract": HOSTILE}});
    api.patch("/devices/boiler-7/attributes", &attributes).await?.expect(200)?;
    publish(&device, topic::EVENTS, &fault("E41", "water pressure low")).await?;
    publish(&device, topic::EVENTS, &fault("E42", HOSTILE)).await?;
    let alarms = eventually("two alarms", || async {
        let alarms = api.all("/alarms?state=active").await?;
        Ok((alarms.len() == 2).then_some(alarms))
    })
    .await?;
    api.post("/devices/boiler-7/commands", &json!({"method": "stop", "params": {"why": HOSTILE}}))
        .await?
        .expect(202)?;
    let order = device.message().await?;
    publish(&device, &topic::reply(order.number()?), &json!({"error": HOSTILE})).await?;
    api.post("/devices/pump-00/commands", &json!({"method": "start", "expires_in_s": 600}))
        .await?
        .expect(202)?;
    let alarm = alarms[0]["id"].as_str().context("no id")?.to_owned();
    let note = json!({"note": "Ada is on her way"});
    api.post(&format!("/alarms/{alarm}/acknowledge"), &note).await?.expect(200)?;
    desk.mail.mails_once(2).await?;
    Ok(alarm)
}

/// Where pictures go, for whoever wants to look at them: `STOKER_E2E_SHOTS`.
fn shot(name: &str, view: View) -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("STOKER_E2E_SHOTS")?);
    let dark = if view.dark { "-dark" } else { "" };
    let scripts = if view.scripts { "" } else { "-plain" };
    Some(folder.join(format!("{name}-{}{dark}{scripts}.png", view.width)))
}

#[tokio::test(flavor = "multi_thread")]
async fn axe_finds_no_fault_with_any_page() -> Result<()> {
    let mut desk = Desk::new(view(WIDE, true)).await?;
    let mut views = Vec::new();
    for width in [WIDE, NARROW] {
        for scripts in [true, false] {
            views.extend([false, true].map(|dark| View { width, scripts, dark }));
        }
    }
    let mut faults = Vec::new();
    for &view in &views {
        desk.browser.open(view).await?;
        look(&mut desk, view, "sign-in", "/sign-in", &mut faults).await?;
        desk.sign_in().await?;
        look(&mut desk, view, "welcome", "/fleet", &mut faults).await?;
    }
    let alarm = furnish(&desk).await?;
    let story = format!("/alarms/{alarm}");
    for &view in &views {
        desk.browser.open(view).await?;
        desk.sign_in().await?;
        for (name, path) in [
            ("fleet", "/fleet"),
            ("fleet-filtered", "/fleet?site=south&q=pump"),
            ("fleet-nothing", "/fleet?q=nothing"),
            ("device", "/devices/boiler-7"),
            ("device-month", "/devices/boiler-7?range=1m"),
            ("device-new", "/devices/pump-00"),
            ("alarms", "/alarms"),
            ("alarms-none", "/alarms?state=cleared"),
            ("alarm", &story),
            ("activity", "/activity"),
            ("subscriptions", "/subscriptions"),
            ("notifications", "/notifications"),
            ("connect", "/connect"),
            ("connect-waiting", "/connect/pump-00"),
            ("connect-green", "/connect/boiler-7"),
            ("nobody", "/devices/nobody"),
        ] {
            look(&mut desk, view, name, path, &mut faults).await?;
        }
        desk.browser.go("/devices/boiler-7").await?;
        desk.browser.fill(Find::Label("Method"), "stop").await?;
        desk.browser.fill(Find::Label("Parameters (JSON)"), "{").await?;
        desk.browser.click(Find::Button("Send")).await?;
        judge(&mut desk, view, "device-refused", &mut faults).await?;
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

async fn look(desk: &mut Desk, view: View, name: &str, path: &str, faults: &mut Vec<String>) -> Result<()> {
    let (_, bytes) = desk.browser.go(path).await?;
    ensure!(bytes > 0 && bytes < 100_000, "{path} takes {bytes} bytes");
    judge(desk, view, name, faults).await
}

async fn judge(desk: &mut Desk, view: View, name: &str, faults: &mut Vec<String>) -> Result<()> {
    if let Some(file) = shot(name, view) {
        desk.browser.shot(&file).await?;
    }
    let found = desk.browser.axe().await?;
    faults.extend(found.iter().map(|violation| format!("{name} {view:?}: {violation}")));
    desk.is_well(&format!("{name} {view:?}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_goes_on_by_itself_when_the_platform_was_away() -> Result<()> {
    let mut desk = Desk::signed_in(view(WIDE, true)).await?;
    let token = desk.platform.api.make_device("boiler-7").await?;
    let device = desk.device(&token).await?;
    desk.browser.go("/fleet").await?;
    desk.browser.see(Find::Css("#live"), "Live").await?;
    desk.browser.mark().await?;
    publish(&device, topic::EVENTS, &fault("E1", "before")).await?;
    desk.browser.see(Find::Css("#open-alarms .alarm"), "before").await?;
    desk.platform.kill9()?;
    desk.browser.see(Find::Css("#live"), "Reconnecting").await?;
    desk.platform.restart().await?;
    let device = desk.device(&token).await?;
    publish(&device, topic::EVENTS, &fault("E2", "meanwhile")).await?;
    desk.browser.see(Find::Css("#open-alarms .alarm"), "meanwhile").await?;
    desk.browser.see(Find::Css("#live"), "Live").await?;
    publish(&device, topic::EVENTS, &fault("E3", "afterwards")).await?;
    desk.browser.see(Find::Css("#open-alarms .alarm"), "afterwards").await?;
    ensure!(desk.browser.is_marked().await?, "the page was loaded anew");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn live_activity_is_told_as_text_and_can_be_paused() -> Result<()> {
    let mut desk = Desk::signed_in(view(WIDE, true)).await?;
    let token = desk.platform.api.make_device("boiler-7").await?;
    desk.browser.go("/activity").await?;
    desk.browser.see(Find::Css("#live"), "Live").await?;
    let device = desk.device(&token).await?;
    desk.browser.see(Find::Css("#feed li"), "boiler-7 online").await?;
    publish(&device, topic::EVENTS, &fault("E1", HOSTILE)).await?;
    desk.browser.see(Find::Css("#feed li"), HOSTILE).await?;
    desk.browser.click(Find::Button("Pause")).await?;
    publish(&device, topic::EVENTS, &fault("E2", "while nobody looks")).await?;
    desk.browser.click(Find::Button("Go on")).await?;
    publish(&device, topic::EVENTS, &fault("E3", "and on it goes")).await?;
    desk.browser.see(Find::Css("#feed li"), "and on it goes").await?;
    desk.is_well("the activity").await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_do_to_devices_is_seen_without_loading_a_page_anew() -> Result<()> {
    let mut desk = Desk::signed_in(view(WIDE, true)).await?;
    desk.browser.see(Find::Css("h1"), "Connect your first device").await?;
    desk.browser.see(Find::Css("#live"), "Live").await?;
    desk.browser.mark().await?;
    let token = desk.platform.api.make_device("boiler-7").await?;
    desk.browser.see(Find::Css("#rows tr"), "boiler-7").await?;
    desk.platform.api.make_device("boiler-8").await?;
    desk.browser.see(Find::Css("#rows tr"), "boiler-8").await?;
    ensure!(desk.browser.is_marked().await?, "the fleet was loaded anew");

    desk.browser.go("/devices/boiler-7").await?;
    desk.browser.see(Find::Css("#live"), "Live").await?;
    desk.browser.mark().await?;
    let api = &desk.platform.api;
    api.patch("/devices/boiler-7", &json!({"site": "north"})).await?.expect(200)?;
    desk.browser.see(Find::Css("#session"), "north").await?;
    let attributes = json!({"shared": {"setpoint": 55}});
    api.patch("/devices/boiler-7/attributes", &attributes).await?.expect(200)?;
    desk.browser.see(Find::Css("#scopes"), "setpoint").await?;
    let device = desk.device(&token).await?;
    publish(&device, topic::ATTRIBUTES, &json!({"firmware": HOSTILE})).await?;
    desk.browser.see(Find::Css("#scopes"), HOSTILE).await?;
    ensure!(desk.browser.is_marked().await?, "the device's page was loaded anew");
    desk.is_well("the device").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_message_is_sent_and_seen_to_arrive() -> Result<()> {
    for view in [view(WIDE, true), view(NARROW, false)] {
        let mut desk = Desk::signed_in(view).await?;
        let who = json!({"name": "Night shift", "deliver": [{"channel": "email", "to": NIGHT}]});
        desk.platform.api.post("/subscriptions", &who).await?.expect(201)?;
        desk.browser.click(Find::Link("Subscriptions")).await?;
        desk.browser.click(Find::Button("Send a test message")).await?;
        desk.browser.see(Find::Css("#told tr"), "test message").await?;
        desk.browser.mark().await?;
        desk.comes("/notifications", Find::Css("#told .ledger"), "sent").await?;
        let mails = desk.mail.mails_once(1).await?;
        ensure!(mails[0].subject().starts_with("[test] Night shift"), "{mails:?}");
        desk.is_well("the notifications").await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_reached_by_keyboard_and_the_focus_shows() -> Result<()> {
    let mut desk = Desk::signed_in(view(WIDE, true)).await?;
    let token = desk.platform.api.make_device("boiler-7").await?;
    let device = desk.device(&token).await?;
    publish(&device, topic::EVENTS, &fault("E42", "flame lost")).await?;
    desk.browser.go("/alarms").await?;
    desk.browser.see(Find::Css("#alarms .alarm"), "flame lost").await?;
    desk.browser.press("Tab", 1).await?;
    ensure!(desk.browser.focus().await?["text"] == "Skip to the content");
    let mut reached = Vec::new();
    loop {
        desk.browser.press("Tab", 1).await?;
        let focus = desk.browser.focus().await?;
        ensure!(focus["visible"] == true, "nobody sees that this has the focus: {focus}");
        let text = focus["text"].as_str().unwrap_or_default().to_owned();
        reached.push(text.clone());
        if text.starts_with("Acknowledge") {
            break;
        }
        ensure!(reached.len() < 40, "the button is not reached: {reached:?}");
    }
    for part in ["Fleet", "Activity", "Sign out", "State", "Severity", "Show", "boiler-7"] {
        ensure!(reached.iter().any(|text| text.contains(part)), "{part} is not reached: {reached:?}");
    }
    // Something else happens: the focus stays where it is, though its surroundings are put anew.
    publish(&device, topic::EVENTS, &fault("E43", "pressure low")).await?;
    desk.browser.see(Find::Css("#alarms .alarm"), "pressure low").await?;
    let focus = desk.browser.focus().await?;
    ensure!(focus["text"].as_str().is_some_and(|text| text.contains("flame lost")), "{focus}");
    desk.browser.press("Enter", 1).await?;
    desk.browser.see(Find::Css("#alarms .noted"), "flame lost").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_of_a_series_at_a_point_a_minute_is_drawn() -> Result<()> {
    const MINUTES: u64 = 43_000;
    let mut desk = Desk::signed_in(view(WIDE, true)).await?;
    let token = desk.platform.api.make_device("boiler-7").await?;
    let device = desk.device(&token).await?;
    let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let minutes: Vec<u64> = (1..=MINUTES).rev().collect();
    for some in minutes.chunks(1_000) {
        let reading = |minute: &u64| json!({"ts": now - minute * 60_000, "values": {"t": minute % 97}});
        publish(&device, topic::TELEMETRY, &some.iter().map(reading).collect()).await?;
    }
    let began = Instant::now();
    desk.browser.go("/devices/boiler-7?key=t&range=1m").await?;
    println!("the page came within {} ms", began.elapsed().as_millis());
    let facts = desk.browser.text(Find::Css("#chart .facts")).await?;
    ensure!(
        facts.contains("Lowest 0, highest 96, mean 4") && facts.contains(&format!("of {MINUTES} values")),
        "{facts}"
    );
    desk.is_well("a month").await
}
