//! Arguments as people write them, and tables as they see them.

mod talk;

use clap::{CommandFactory, Parser};
use jiff::Timestamp;

use super::{Client, Form, alarm, command, device, event, notification, subscription, telemetry};
use crate::cli::table::Rows;

#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    client: Client,
}

fn parse(line: &str) -> Result<Client, clap::Error> {
    Line::try_parse_from(std::iter::once("stoker").chain(line.split_whitespace())).map(|line| line.client)
}

#[test]
fn the_arguments_fit_together() {
    Line::command().debug_assert();
}

#[test]
fn documented_lines_are_understood() {
    for line in [
        "device add boiler-7",
        "device add boiler-7 --model K200 --site north --tag a --tag b --expected-interval-s 30",
        "device add boiler-7 --own-token-file - --server https://stoker.example --output json",
        "device list --state online --site north --tag a -q boil --limit 5000",
        "device list --all -o json",
        "device show boiler-7",
        "device remove a b c",
        "device import -",
        "command send boiler-7 write_setpoint {\"value\":55} --wait",
        "command send boiler-7 reboot",
        "command send boiler-7 write -",
        "command show cmd-0a-12-ff --wait",
        "command list boiler-7 --state expired",
        "command cancel cmd-0a-12-ff",
        "alarm list --state active --severity critical --device boiler-7",
        "alarm show alm-0a-12-ff",
        "alarm ack alm-0a-12-ff --note coming",
        "alarm clear alm-0a-12-ff",
        "subscription add night --email night@example.com --min-severity major --device boiler-*",
        "subscription add hook --webhook https://example.com --secret-file secret",
        "subscription list",
        "subscription show sub-1",
        "subscription remove sub-1",
        "event list --device boiler-7 --kind fault --from 2h --to 2026-11-21T10:00:00Z",
        "telemetry latest boiler-7 --keys a,b",
        "telemetry list boiler-7 --order asc --from 7d",
        "notification list --alarm alm-0a-12-ff --state failed",
        "status",
        "--help",
    ] {
        match parse(line) {
            Ok(_) => assert_ne!(line, "--help"),
            Err(error) => assert_eq!(error.exit_code(), 0, "{line}: {error}"),
        }
    }
}

#[test]
fn what_makes_no_sense_is_wrong_use() {
    for line in [
        "device",
        "device add",
        "device add -bad",
        "device add a/b",
        "device remove",
        "device list --state gone",
        "device list --limit 0",
        "device list --all --limit 3",
        "command send boiler-7",
        "command send boiler-7 m {value:55}",
        "command send boiler-7 m --expires-in-s 0",
        "command show nonsense",
        "alarm ack cmd-0a-12-ff",
        "subscription add nobody",
        "subscription add hook --webhook https://example.com",
        "event list --from yesterday",
        "status --output yaml",
        "nonsense",
    ] {
        assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
    }
}

#[test]
fn what_holds_for_all_commands_may_stand_anywhere() {
    let Ok(Client::Device(with)) = parse("device --output json list --server http://a:1 --token x") else {
        panic!()
    };
    assert_eq!(with.globals.output, Form::Json);
    assert_eq!((with.globals.server.as_str(), with.globals.token.as_deref()), ("http://a:1", Some("x")));
}

#[test]
fn a_commands_parameters_are_sent_letter_by_letter() {
    let Ok(Client::Command(with)) = parse("command send b say\"it\" --expires-in-s 5") else { panic!() };
    let command::Command::Send(send) = with.command else { panic!() };
    assert_eq!(
        send.body(Some("{\"v\":1.50}".to_owned())),
        r#"{"method":"say\"it\"","params":{"v":1.50},"expires_in_s":5}"#
    );
}

#[test]
fn a_webhooks_secret_comes_from_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "0123456789abcdef\n").unwrap();
    let line = format!(
        "subscription add hook --webhook https://a.b --secret-file {} --tag t",
        file.path().display()
    );
    let Ok(Client::Subscription(with)) = parse(&line) else { panic!() };
    let subscription::Subscription::Add(add) = with.command else { panic!() };
    assert_eq!(
        add.body().unwrap(),
        serde_json::json!({
            "name": "hook", "match": {"tags": ["t"]},
            "deliver": [{"channel": "webhook", "url": "https://a.b", "secret": "0123456789abcdef"}]
        })
    );
}

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

/// Renders one item at 80 columns and gives back its lines.
fn lines<T: serde::de::DeserializeOwned>(
    header: &[&'static str],
    json: serde_json::Value,
    row: impl Fn(T) -> Vec<String>,
) -> Vec<String> {
    let mut rows = Rows::new(header);
    rows.push(row(serde_json::from_str(&json.to_string()).unwrap()));
    let text = rows.render(Some(80));
    assert!(text.lines().all(|line| line.chars().count() <= 80), "wider than 80 columns:\n{text}");
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn usual_rows_stand_on_one_line_of_eighty_columns() {
    let device = serde_json::json!({
        "id": "boiler-7", "organization": "default", "model": "K200", "site": "north", "tags": ["heating"],
        "expected_interval_s": null, "created_at": "2026-11-01T12:00:00.000Z",
        "connection": {"state": "online", "since": "2026-11-21T11:59:23.000Z", "gateway": "g", "address": "a",
            "protocol": "mqtt-5", "reason": null}
    });
    let shown = lines(&device::HEADER, device, |view| device::row(view, now()));
    assert_eq!(shown, ["ID MODEL SITE TAGS STATE SINCE", "boiler-7 K200 north heating online 37s"]);

    let alarm = serde_json::json!({
        "id": "alm-0a-12-ff", "device": "boiler-7", "kind": "fault", "code": "E42", "severity": "critical",
        "text": "flame lost", "state": "active", "acknowledged": null, "raised_at": "2026-11-21T11:59:23.000Z",
        "cleared_at": null, "count": 1
    });
    let shown = lines(&alarm::HEADER, alarm, |view| alarm::row(view, now()));
    assert_eq!(shown[1], "alm-0a-12-ff boiler-7 critical active 37s flame lost (E42)");

    let command = serde_json::json!({
        "id": "cmd-0a-12-ff", "number": 1, "device": "boiler-7", "method": "write_setpoint", "params": {},
        "state": "expired", "outcome": "no_reply", "reply": null, "detail": null, "online": true,
        "created_at": "2026-11-21T11:59:23.000Z", "sent_at": null, "delivered_at": null,
        "ended_at": "2026-11-21T12:00:00.000Z", "expires_at": "2026-11-21T12:00:00.000Z"
    });
    let shown = lines(&command::HEADER, command, |view| command::row(view, now()));
    assert_eq!(shown[1], "cmd-0a-12-ff write_setpoint expired: delivered, no reply 37s -");

    let event = serde_json::json!({
        "id": "e", "device": "boiler-7", "ts": "2026-11-21T11:59:23.000Z", "kind": "fault", "code": "E42",
        "severity": "critical", "text": "flame lost", "cleared": false, "data": null
    });
    let shown = lines(&event::HEADER, event, event::row);
    assert_eq!(shown[1], "2026-11-21 11:59:23Z boiler-7 fault critical flame lost (E42)");

    let point = serde_json::json!({"key": "t_supply", "ts": 1_700_000_000_007_i64, "value": 71.2});
    let shown = lines(&telemetry::HEADER, point, telemetry::row);
    assert_eq!(shown[1], "2023-11-14 22:13:20.007Z t_supply 71.2");
}

#[test]
fn long_rows_wrap_within_eighty_columns() {
    let subscription = serde_json::json!({
        "id": "sub-0123456789abcdef", "name": "Night shift of the northern plants",
        "match": {"devices": ["boiler-*", "pump-*"], "min_severity": "major"},
        "deliver": [{"channel": "email", "to": "night@example.com"},
            {"channel": "webhook", "url": "https://example.com/hooks/stoker/alarms?team=night"}],
        "created_at": "2026-11-21T11:59:23.000Z"
    });
    let shown = lines(&subscription::HEADER, subscription, subscription::row).join(" ");
    assert!(shown.contains("boiler-*,") && shown.contains("major"), "{shown}");

    let notification = serde_json::json!({
        "id": "ntf-0a-12-ff", "alarm": "alm-0a-12-ff", "device": "b", "step": "raised", "subscription": "s",
        "channel": "email", "to": "night.shift.of.the.plants@mail.example.com", "state": "pending",
        "attempts": [{"at": "2026-11-21T11:59:23.000Z", "result": "retry", "detail": "451 mailbox busy ".repeat(10)}],
        "created_at": "2026-11-21T11:59:23.000Z", "next_attempt_at": null
    });
    lines(&notification::HEADER, notification, |view| notification::row(view, now()));
}
