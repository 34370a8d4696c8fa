//! The command line: every command and every option of it, as `--help` lists them, against the real platform.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use stoker_e2e::{Cli, Clients, Connect, Foreign, Help, Options, Platform, eventually, topic};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::time::timeout;

/// What [`Platform`], `Services` and the tests of starts do with these; those of the bus are tried in `running.rs`.
const TRIED_ELSEWHERE: [&str; 9] = [
    "up",
    "core",
    "gateway",
    "notifier",
    "portal",
    "bus dead-letters list",
    "bus dead-letters show",
    "bus dead-letters replay",
    "bus dead-letters drop",
];

struct Bench {
    platform: Platform,
    cli: Cli,
}

impl Bench {
    async fn new() -> Result<Self> {
        let platform = Platform::start(Options::silence(60, 60)).await?;
        Ok(Self { cli: Cli::new(&platform), platform })
    }

    /// A file of the test's own.
    fn file(&self, name: &str, text: &str) -> Result<String> {
        let path: PathBuf = self.platform.scratch().join(name);
        fs::write(&path, text)?;
        Ok(path.to_str().context("no UTF-8")?.to_owned())
    }

    /// A device that has connected, reported and failed.
    async fn a_device_that_fails(&self, id: &str) -> Result<()> {
        let made = self.cli.json(&["device", "add", id, "--tag", "heating"]).await?;
        let token = made["token"].as_str().context("no token")?;
        let clients = Clients::start(Foreign::Paho).await?;
        let mut device = clients.device()?;
        device.enter(&Connect::token(self.platform.mqtt, 5, token)).await?;
        let values = json!({"t_supply": 71.25, "text": "wörd 火"});
        ensure!(device.publish(topic::TELEMETRY, &values.to_string(), 1).await? == 0);
        ensure!(device.publish(topic::ATTRIBUTES, r#"{"firmware":"1.4"}"#, 1).await? == 0);
        let fault = json!({"kind": "fault", "code": "E42", "severity": "critical", "text": "flame lost"});
        ensure!(device.publish(topic::EVENTS, &fault.to_string(), 1).await? == 0);
        device.disconnect().await
    }
}

/// The texts of a table's column.
fn column(table: &str, number: usize) -> Vec<&str> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| line.split("  ").filter(|cell| !cell.is_empty()).nth(number))
        .collect()
}

fn ids(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(|item| item["id"].as_str()).collect()
}

async fn devices(bench: &Bench) -> Result<()> {
    let cli = &bench.cli;
    let token = bench.file("token", "0123456789abcdefgh\n")?;
    let password = bench.file("password", "a password\n")?;
    let what = ["--model", "Größe 漢字", "--site", "north", "--tag", "a", "--tag", "b"];
    let credentials = ["--own-token-file", &token, "--password-file", &password];
    let added = [&["device", "add", "pump-1", "--expected-interval-s", "600"], &what[..], &credentials];
    let added = cli.json(&added.concat()).await?;
    assert_eq!((&added["model"], &added["tags"]), (&json!("Größe 漢字"), &json!(["a", "b"])));
    ensure!(added["token"].is_null(), "a token that the user has is not made: {added}");
    let shown = cli.done(&["device", "add", "pump-2"]).await?;
    ensure!(shown.contains("stk_") && shown.contains("shown this once"), "{shown}");

    let all = cli.done(&["device", "list"]).await?;
    assert_eq!(column(&all, 0), ["pump-1", "pump-2"]);
    let filtered = ["device", "list", "--state", "never", "--site", "north", "--tag", "b", "-q", "pump"];
    assert_eq!(ids(&cli.json(&filtered).await?), ["pump-1"]);
    assert_eq!(ids(&cli.json(&["device", "list", "--all"]).await?), ["pump-1", "pump-2"]);
    let one = cli.run(&["device", "list", "--limit", "1", "-o", "json"]).await?;
    ensure!(one.said.contains("there are more"), "{one:?}");
    let cursor = one.json()?["next_cursor"].as_str().context("no cursor")?.to_owned();
    assert_eq!(ids(&cli.json(&["device", "list", "--cursor", &cursor]).await?), ["pump-2"]);

    let change = ["device", "change", "pump-1"];
    let changed = ["--model", "K", "--site", "south", "--tag", "c", "--expected-interval-s", "60"];
    let changed = [&change[..], &changed, &["--own-token-file", "-", "-o", "json"]].concat();
    let changed = cli.fed(&changed, "another-token-of-mine\n").await?.json()?;
    let fields = ["model", "site", "tags", "expected_interval_s"].map(|field| changed[field].clone());
    assert_eq!(fields, [json!("K"), json!("south"), json!(["c"]), json!(60)]);
    let emptied = ["--no-model", "--no-site", "--no-tags", "--no-expected-interval", "--no-token"];
    let emptied = cli.json(&[&change[..], &emptied[..], &["--password-file", &password]].concat()).await?;
    let fields = ["model", "site", "tags", "expected_interval_s"].map(|field| emptied[field].clone());
    assert_eq!(fields, [Value::Null, Value::Null, json!([]), Value::Null]);
    let renewed = cli.json(&[&change[..], &["--renew-token", "--no-password"]].concat()).await?;
    ensure!(renewed["token"].as_str().is_some_and(|token| token.starts_with("stk_")), "{renewed}");
    ensure!(cli.json(&["device", "show", "pump-1"]).await?["token"].is_null(), "a token is shown once");

    let lines = "{\"id\":\"pump-2\"}\n\n{\"id\":\"pump-3\"}\n{\"id\":\"pump 4\"}\n";
    let imported = cli.fed(&["device", "import", "-"], lines).await?;
    imported.refused(1, &["line 1 (pump-2)", "line 4 (pump 4)", "1 made, 2 failed", "--skip-existing"])?;
    let again = bench.file("again.ndjson", "{\"id\":\"pump-2\"}\n{\"id\":\"pump-3\"}\n")?;
    let again = cli.json(&["device", "import", &again, "--skip-existing"]).await?;
    assert_eq!(again, json!({"created": 0, "tokens": {}, "failed": []}));

    let removed = cli.run(&["device", "remove", "pump-2", "nothing", "pump-3"]).await?;
    assert_eq!(removed.out, "removed pump-2\nremoved pump-3\n");
    removed.refused(1, &["nothing", "1 of 3"])
}

async fn attributes(bench: &Bench) -> Result<()> {
    let cli = &bench.cli;
    let set = ["attribute", "set", "boiler-7", "--scope", "shared", "setpoint=55.5", "limits={\"max\":[70]}"];
    let set = cli.json(&[&set[..], &["--text", "mode=eco = ö"]].concat()).await?;
    assert_eq!(set, json!({"shared": {"setpoint": 55.5, "limits": {"max": [70]}, "mode": "eco = ö"}}));
    cli.done(&["attribute", "set", "boiler-7", "--scope", "server", "contract=\"gold\""]).await?;
    let removed =
        cli.done(&["attribute", "remove", "boiler-7", "--scope", "shared", "limits", "mode"]).await?;
    assert_eq!(column(&removed, 1), ["setpoint"]);
    let shown = cli.done(&["attribute", "show", "boiler-7"]).await?;
    assert_eq!(column(&shown, 0), ["client", "server", "shared"]);
    assert_eq!(column(&shown, 2), ["\"1.4\"", "\"gold\"", "55.5"]);
    let client = cli.json(&["attribute", "show", "boiler-7", "--scope", "client"]).await?;
    assert_eq!(client, json!({"client": {"firmware": "1.4"}}));
    let text = ["attribute", "set", "boiler-7", "--scope", "shared", "mode=eco"];
    cli.run(&text).await?.refused(2, &["--text mode="])
}

async fn telemetry_and_events(bench: &Bench) -> Result<()> {
    let cli = &bench.cli;
    let latest = cli.json(&["telemetry", "latest", "boiler-7", "--keys", "t_supply"]).await?;
    assert_eq!(latest["t_supply"]["value"], json!(71.25));
    let list = ["telemetry", "list", "boiler-7", "--keys", "t_supply,text", "--from", "1h", "--order", "asc"];
    let list = cli.done(&[&list[..], &["--to", "2100-01-01"]].concat()).await?;
    assert_eq!(
        (column(&list, 1), column(&list, 2)),
        (vec!["t_supply", "text"], vec!["71.25", "\"wörd 火\""])
    );
    // What a table shows can be given back.
    let time = column(&list, 0)[0].to_owned();
    let one = cli.json(&["telemetry", "list", "boiler-7", "--from", &time, "--limit", "1"]).await?;
    assert_eq!(one["items"].as_array().map(Vec::len), Some(1));
    let cursor = one["next_cursor"].as_str().context("no cursor")?;
    let rest =
        cli.json(&["telemetry", "list", "boiler-7", "--all", "--cursor", cursor, "--from", &time]).await?;
    assert_eq!((rest["items"].as_array().map(Vec::len), &rest["next_cursor"]), (Some(1), &Value::Null));

    let events =
        ["event", "list", "--device", "boiler-7", "--kind", "fault", "--from", "1h", "--to", "2100-01-01"];
    let events = cli.done(&[&events[..], &["--limit", "5"]].concat()).await?;
    ensure!(events.contains("flame lost (E42)"), "{events}");
    cli.json(&["event", "list", "--all"]).await?;
    let past = cli.run(&["event", "list", "--cursor", "nonsense"]).await?;
    past.refused(1, &["cursor"])
}

async fn commands(bench: &Bench) -> Result<()> {
    let cli = &bench.cli;
    let send = ["command", "send", "boiler-7", "write_setpoint"];
    let sent = cli.json(&[&send[..], &["{\"value\":55.50}", "--expires-in-s", "600"]].concat()).await?;
    let id = sent["id"].as_str().context("no id")?;
    assert_eq!((&sent["state"], &sent["online"]), (&json!("queued"), &json!(false)));
    assert_eq!(cli.json(&["command", "show", id]).await?["params"], json!({"value": 55.5}));
    assert_eq!(cli.json(&["command", "cancel", id]).await?["state"], "cancelled");
    cli.run(&["command", "show", id, "--wait"]).await?.refused(1, &["did not succeed: cancelled"])?;
    let fed = cli.fed(&[&send[..], &["-", "--expires-in-s", "1", "--wait"]].concat(), "{\"v\":1}").await?;
    ensure!(fed.out.contains("{\"v\":1}"), "{fed:?}");
    fed.refused(1, &["expired: never sent"])?;
    let listed = cli.json(&["command", "list", "boiler-7", "--state", "cancelled", "--all"]).await?;
    assert_eq!(ids(&listed), [id]);
    let one = cli.json(&["command", "list", "boiler-7", "--limit", "1"]).await?;
    let cursor = one["next_cursor"].as_str().context("no cursor")?;
    assert_eq!(ids(&cli.json(&["command", "list", "boiler-7", "--cursor", cursor]).await?), [id]);
    Ok(())
}

async fn subscriptions(bench: &Bench) -> Result<()> {
    let cli = &bench.cli;
    let secret = bench.file("secret", "0123456789abcdef\n")?;
    let nowhere = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let hook = format!("http://{nowhere}/hook");
    let conditions =
        ["--device", "boiler-*", "--site", "north", "--tag", "heating", "--min-severity", "major"];
    let by_webhook = ["--webhook", &hook, "--secret-file", &secret];
    let made = [&["subscription", "add", "night shift", "--email", "night@example.com"], &conditions[..]];
    let made = cli.json(&[&made.concat()[..], &by_webhook].concat()).await?;
    let id = made["id"].as_str().context("no id")?;
    ensure!(!made.to_string().contains("0123456789abcdef"), "a secret is never shown: {made}");
    let change = ["subscription", "change", id];
    let conditions = ["--device", "boiler-7", "--site", "south", "--tag", "x", "--min-severity", "minor"];
    let changed = [&change[..], &["--name", "day shift", "--email", "day@example.com"], &conditions];
    let changed = cli.json(&[&changed.concat()[..], &by_webhook].concat()).await?;
    let matching =
        json!({"devices": ["boiler-7"], "sites": ["south"], "tags": ["x"], "min_severity": "minor"});
    assert_eq!((&changed["name"], &changed["match"]), (&json!("day shift"), &matching));
    // The secret of an address that stays need not be given again.
    let kept = cli.json(&[&change[..], &["--every-alarm", "--webhook", &hook]].concat()).await?;
    assert_eq!((&kept["match"], kept["deliver"].as_array().map(Vec::len)), (&json!({}), Some(1)));
    let new = format!("http://{nowhere}/new");
    cli.run(&[&change[..], &["--webhook", &new]].concat()).await?.refused(1, &["--secret-file"])?;
    assert_eq!(column(&cli.done(&["subscription", "list", "--all"]).await?, 0), [id]);
    let page = ["subscription", "list", "--limit", "1", "--cursor", "nonsense"];
    cli.run(&page).await?.refused(1, &["cursor"])?;
    ensure!(cli.done(&["subscription", "test", id]).await?.contains("ntf-"));
    ensure!(cli.done(&["subscription", "show", id]).await?.contains("every alarm"));
    let other = cli.json(&["subscription", "add", "other", "--email", "a@example.com"]).await?;
    let other = other["id"].as_str().context("no id")?;
    assert_eq!(cli.done(&["subscription", "remove", other]).await?, format!("removed {other}\n"));
    Ok(())
}

/// Comes last but for the subscriptions, one of which hears of the alarm.
async fn alarms_and_notifications(bench: &Bench) -> Result<()> {
    let cli = &bench.cli;
    let active =
        ["alarm", "list", "--state", "active", "--severity", "critical", "--device", "boiler-7", "--all"];
    let active = cli.json(&active).await?;
    let [id] = ids(&active)[..] else { bail!("one alarm, not {active}") };
    let shown = cli.done(&["alarm", "show", id]).await?;
    ensure!(shown.contains("flame lost (E42)"), "{shown}");
    let noted = cli.json(&["alarm", "ack", id, "--note", "unterwegs ö"]).await?;
    assert_eq!(noted["acknowledged"]["note"], "unterwegs ö");
    let listed = cli.done(&["alarm", "list", "--limit", "5"]).await?;
    assert_eq!((column(&listed, 3), column(&listed, 4)), (vec!["active"], vec!["yes"]));
    assert_eq!(cli.json(&["alarm", "clear", id]).await?["state"], "cleared");
    cli.run(&["alarm", "list", "--cursor", "nonsense"]).await?.refused(1, &["cursor"])?;

    let told = eventually("somebody is told", || async {
        let list = ["notification", "list", "--alarm", id, "--state", "pending", "--all"];
        let told = cli.json(&list).await?;
        Ok(told["items"].as_array().is_some_and(|items| !items.is_empty()).then_some(told))
    })
    .await?;
    assert_eq!(told["items"][0]["channel"], "webhook");
    let table = cli.done(&["notification", "list", "--limit", "9"]).await?;
    ensure!(column(&table, 0).contains(&id), "{table}");
    cli.run(&["notification", "list", "--cursor", "nonsense"]).await?.refused(1, &["cursor"])
}

/// Commands that ask no platform, and the simulated fleet.
async fn the_rest(bench: &Bench) -> Result<()> {
    let cli = &bench.cli;
    let status = cli.done(&["status"]).await?;
    ensure!(status.contains(&bench.platform.http.to_string()), "{status}");
    ensure!(cli.json(&["status"]).await?["devices"].as_u64() > Some(0));
    ensure!(cli.done(&["completion", "bash"]).await?.contains("_stoker"));
    let config = bench.file("some.yaml", "silence: {after: 3s}")?;
    ensure!(cli.done(&["config", "check", &config]).await?.contains("well-formed"));
    let url = format!("mqtt://{}", bench.platform.mqtt);
    let sim = ["sim", "--devices", "2", "--url", &url, "--seconds", "1", "--prefix", "sim-", "--seed", "7"];
    let report = cli.done(&[&sim[..], &["--interval", "0.2", "--faults", "0"]].concat()).await?;
    let granted = report.lines().find(|line| line.starts_with("sessions granted")).context("no report")?;
    ensure!(granted.ends_with(" 2"), "{report}");
    // What these do when nothing is in their way is tried where there is a Cassandra.
    let up = Platform::one("an export is of what `stoker up` holds", Options::default()).await?;
    let (data, file) = (up.data_dir(), bench.file("half.export", "STOKEREX and no more")?);
    let data = data.to_str().context("no UTF-8")?;
    let export = ["data", "export", "--data-dir", data, "-"];
    cli.run(&export).await?.refused(1, &["used by another process (pid "])?;
    let import = ["data", "import", &file, "--config", &config];
    cli.run(&import).await?.refused(1, &["cassandra.contact_points is not configured"])?;
    let cluster = bench.file("cluster.yaml", "cassandra: {contact_points: ['127.0.0.1:1']}")?;
    let import = ["data", "import", &file, "--config", &cluster];
    cli.run(&import).await?.refused(1, &["half.export", "cut off after 20 bytes"])?;
    let nowhere = ["sim", "--devices", "1", "--url", "mqtt://127.0.0.1:1", "--seconds", "1"];
    cli.run(&nowhere).await?.refused(1, &["no boiler could connect to mqtt://127.0.0.1:1"])
}

/// Commands without sub-commands, each with its own options, as `--help` lists them.
async fn listed(cli: &Cli) -> Result<Vec<(String, Help)>> {
    let (mut open, mut found) = (vec![String::new()], Vec::new());
    while let Some(command) = open.pop() {
        let help = cli.help(&command).await?;
        if help.commands.is_empty() {
            found.push((command, help));
        } else {
            open.extend(help.commands.iter().map(|name| format!("{command} {name}").trim().to_owned()));
        }
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_and_every_option_does_what_its_help_says() -> Result<()> {
    let bench = Bench::new().await?;
    devices(&bench).await?;
    subscriptions(&bench).await?;
    bench.a_device_that_fails("boiler-7").await?;
    attributes(&bench).await?;
    telemetry_and_events(&bench).await?;
    commands(&bench).await?;
    alarms_and_notifications(&bench).await?;
    the_rest(&bench).await?;

    let listed = listed(&bench.cli).await?;
    ensure!(listed.len() > 25, "the help lists only {listed:?}");
    let mut left = Vec::new();
    for (command, help) in listed.iter().filter(|(command, _)| !TRIED_ELSEWHERE.contains(&command.as_str())) {
        let options = help.options.iter().map(|option| format!("{command} {option}"));
        left.extend(
            std::iter::once(command.clone()).chain(options).filter(|what| !bench.cli.was_tried(what)),
        );
    }
    ensure!(left.is_empty(), "listed by --help, and tried by no test: {left:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_wrongly_ends_with_2_and_what_is_not_there_with_1() -> Result<()> {
    let bench = Bench::new().await?;
    for (line, code, says) in [
        ("nonsense", 2, "--help"),
        ("device", 2, "subcommands: add, list"),
        ("device lst", 2, "similar"),
        ("device show a/b", 2, "begins with a letter or digit"),
        ("device list --limit 0", 2, "--all"),
        ("device list --state gone", 2, "online, offline, never"),
        ("device change boiler-7", 2, "--site"),
        ("device add x --expected-interval-s 40000000", 2, "31536000"),
        ("attribute set boiler-7 setpoint=1", 2, "--scope"),
        ("command send boiler-7 m {value:55}", 2, "quotes"),
        ("command show nonsense", 2, "cmd-0a-12-ff"),
        ("event list --from yesterday", 2, "2h"),
        ("status --output yaml", 2, "table, json"),
        ("status --server 127.0.0.1:8080", 2, "http://127.0.0.1:8080"),
        ("subscription add hook --webhook http://127.0.0.1:9", 2, "--secret-file"),
        ("up --demo=0", 2, "1..=1000000"),
        ("device show nothing", 1, "stoker device list"),
        ("device change nothing --no-model", 1, "stoker device list"),
        ("attribute set nothing --scope server a=1", 1, "nothing: "),
        ("telemetry latest nothing", 1, "stoker device list"),
        ("command send nothing reboot", 1, "stoker device list"),
        ("command show cmd-00-1-1", 1, "stoker command list"),
        ("alarm ack alm-00-1-1", 1, "stoker alarm list"),
        ("subscription remove nothing", 1, "stoker subscription list"),
        ("device import /nowhere", 1, "/nowhere"),
        ("device add x --password-file /nowhere", 1, "/nowhere"),
        ("sim --devices 1 --url nonsense", 1, "mqtt://"),
        ("data export --data-dir /nowhere -", 1, "/nowhere is no data directory"),
        ("data import -", 1, "needs a file"),
        ("bus dead-letters replay", 2, "<IDS|--all>"),
        ("bus dead-letters drop a --all", 2, "--all"),
        ("bus dead-letters list", 1, "bus.url is not configured"),
    ] {
        let arguments: Vec<_> = line.split_whitespace().collect();
        let ran = bench.cli.run(&arguments).await?;
        ensure!(ran.out.is_empty(), "{line}: errors go to standard error, not to {:?}", ran.out);
        ran.refused(code, &[says]).with_context(|| line.to_owned())?;
    }
    bench.cli.done(&["device", "add", "boiler-7"]).await?;
    let twice = bench.cli.run(&["device", "add", "boiler-7"]).await?;
    twice.refused(1, &["already", "stoker device change boiler-7"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_or_a_server_that_is_wrong_is_named_with_where_it_came_from() -> Result<()> {
    let mut bench = Bench::new().await?;
    let empty = bench.platform.scratch().join("empty");
    fs::create_dir(&empty)?;
    let empty = empty.to_str().context("no UTF-8")?.to_owned();
    let file = format!("{empty}/admin.token");
    let cli = &bench.cli;
    cli.run(&["status", "--token", "wrong"]).await?.refused(1, &["not known", "STOKER_TOKEN"])?;
    cli.run(&["status", "--data-dir", &empty])
        .await?
        .refused(1, &[&file, "does not exist", "STOKER_TOKEN"])?;
    for (text, says) in [("", "is empty"), ("a\nb\n", "cannot be one"), ("wrong\n", "not known")] {
        fs::write(&file, text)?;
        cli.run(&["status", "--data-dir", &empty]).await?.refused(1, &[&file, says])?;
    }
    // What is set to nothing is not set.
    let data = cli.data().to_str().context("no UTF-8")?.to_owned();
    cli.done(&["status", "--token", "", "--data-dir", &data]).await?;
    let mqtt = format!("http://{}", bench.platform.mqtt);
    cli.run(&["status", "--server", &mqtt]).await?.refused(1, &[&mqtt, "portal's port"])?;
    let tls = format!("https://{}", bench.platform.http);
    cli.run(&["status", "--server", &tls]).await?.refused(1, &[&tls, "http rather than https"])?;
    let private = format!("http://{}", bench.platform.admin);
    cli.run(&["status", "--server", &private]).await?.refused(1, &["not as a Stoker portal"])?;
    bench.platform.kill9()?;
    bench.cli.run(&["status"]).await?.refused(1, &["failed to reach", "stoker up"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_longer_than_a_page_is_whole_in_either_form_and_may_be_left_early() -> Result<()> {
    const COUNT: usize = 2_300;
    let bench = Bench::new().await?;
    let cli = &bench.cli;
    let lines: String = (0..COUNT).map(|n| format!("{{\"id\":\"d-{n:04}\"}}\n")).collect();
    let imported = cli.fed(&["device", "import", "-", "-o", "json"], &lines).await?.json()?;
    assert_eq!(imported["created"], json!(COUNT));
    assert_eq!(imported["tokens"].as_object().map(serde_json::Map::len), Some(COUNT));
    let table = cli.done(&["device", "list", "--all"]).await?;
    assert_eq!((table.lines().count(), table.matches("MODEL").count()), (COUNT + 1, 1));
    ensure!(table.lines().all(|line| !line.ends_with(' ')), "blanks at ends of lines");
    let list = cli.json(&["device", "list", "--all"]).await?;
    assert_eq!((ids(&list).len(), &list["next_cursor"]), (COUNT, &Value::Null));
    let some = cli.run(&["device", "list", "--limit", "1500"]).await?;
    ensure!(some.out.lines().count() == 1_501 && some.said.contains("--all"), "{}", some.said);

    // As `| head` does.
    for form in ["table", "json"] {
        let mut process = cli.command(&["device", "list", "--all", "-o", form])?.spawn()?;
        let mut stdout = process.stdout.take().context("no output")?;
        let mut first = [0; 1];
        stdout.read_exact(&mut first).await?;
        drop(stdout);
        let ended = timeout(stoker_e2e::WITHIN, process.wait_with_output()).await??;
        let said = String::from_utf8_lossy(&ended.stderr);
        ensure!(ended.status.success() && said.is_empty(), "{form}: {} {said}", ended.status);
    }
    let full = fs::File::options().write(true).open("/dev/full")?;
    let ended = cli.command(&["status"])?.stdout(full).spawn()?.wait_with_output().await?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.code() == Some(1) && said.contains("standard output"), "{} {said}", ended.status);

    // Nothing to show is said, and is not in the way of a script.
    let none = cli.run(&["device", "list", "--site", "nowhere"]).await?;
    assert_eq!((none.code, none.out.as_str(), none.said.as_str()), (0, "", "no devices\n"));
    let none = cli.json(&["device", "list", "--site", "nowhere"]).await?;
    assert_eq!(none, json!({"items": [], "next_cursor": null}));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_killed_has_shown_the_tokens_of_all_it_made() -> Result<()> {
    const PART: usize = 1_000;
    let bench = Bench::new().await?;
    let (cli, import) = (&bench.cli, ["device", "import", "-", "-o", "json"]);
    let mut process = cli.command(&import)?.stdin(Stdio::piped()).spawn()?;
    let (mut stdin, stdout) =
        (process.stdin.take().context("no input")?, process.stdout.take().context("no output")?);
    let lines: String = (0..PART).map(|n| format!("{{\"id\":\"d-{n:04}\"}}\n")).collect();
    stdin.write_all(lines.as_bytes()).await?;
    let mut out = BufReader::new(stdout).lines();
    let tokens = async {
        // The next part never comes: its lines have no end.
        let mut tokens = Vec::new();
        while tokens.len() < PART {
            let line = out.next_line().await?.context("it has ended")?;
            tokens.extend(line.contains("\"stk_").then(|| line.trim_start_matches(',').to_owned()));
        }
        anyhow::Ok(tokens)
    };
    let tokens = timeout(stoker_e2e::WITHIN, tokens).await.context("the tokens are not shown")??;
    process.kill().await?;
    let whole: Value = serde_json::from_str(&format!("{{{}}}", tokens.join(",")))?;
    let shown = whole.as_object().context("no tokens")?;
    ensure!(ids(&cli.json(&["device", "list", "--all"]).await?).iter().all(|id| shown.contains_key(*id)));
    let again = cli.fed(&[&import[..], &["--skip-existing"]].concat(), &lines).await?.json()?;
    assert_eq!(again, json!({"tokens": {}, "created": 0, "failed": []}));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_is_cut_off_says_how_to_go_on() -> Result<()> {
    let mut bench = Bench::new().await?;
    bench.cli.done(&["device", "add", "boiler-7"]).await?;
    let send = ["command", "send", "boiler-7", "reboot", "--expires-in-s", "8", "--wait"];
    let waiting = bench.cli.command(&send)?.spawn()?;
    let id = eventually("the command is there", || async {
        let list = bench.cli.json(&["command", "list", "boiler-7"]).await?;
        Ok(ids(&list).first().map(|id| (*id).to_owned()))
    })
    .await?;
    bench.platform.kill9()?;
    let ended = timeout(stoker_e2e::WITHIN, waiting.wait_with_output()).await??;
    let said = String::from_utf8_lossy(&ended.stderr);
    let way_out = format!("stoker command show {id} --wait");
    ensure!(ended.status.code() == Some(1) && said.contains(&way_out), "{} {said}", ended.status);
    bench.platform.restart().await?;
    bench.cli.run(&["command", "show", &id, "--wait"]).await?.refused(1, &["expired: never sent"])
}

#[tokio::test]
async fn a_file_in_the_way_of_the_data_directory_is_named() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("file");
    fs::write(&file, "")?;
    let file = file.to_str().context("no UTF-8")?;
    let below = format!("{file}/data");
    let flags = ["up", "--data-dir", &below, "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    let refused = stoker_e2e::refused(&flags, &[]).await?;
    let says = format!("{file} is not a directory");
    ensure!(refused.code == 1 && refused.said.contains(&says), "{} {}", refused.code, refused.said);
    Ok(())
}
