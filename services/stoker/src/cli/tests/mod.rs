//! Arguments as people write them, and tables as they see them.

mod talk;

use clap::{CommandFactory, Parser, Subcommand};
use jiff::Timestamp;

use super::{Client, Failure, Form, With, alarm, attribute, command, device, event};
use super::{notification, subscription, telemetry};
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
        "device list --cursor abc",
        "devices list",
        "device show boiler-7",
        "device change boiler-7 --model K300 --no-site --tag a --tag b --renew-token",
        "device change boiler-7 --no-token --password-file -",
        "attribute show boiler-7 --scope client",
        "attribute set boiler-7 --scope shared a=55 b=\"eco\" --text c=eco",
        "attribute remove boiler-7 --scope server a b",
        "device remove a b c",
        "device delete a",
        "device import - --skip-existing",
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
        "subscription change sub-1 --name day --webhook https://example.com --min-severity minor",
        "subscription change sub-1 --every-alarm",
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
        "device change boiler-7 --model a --no-model",
        "device change boiler-7 --renew-token --no-token",
        "device change boiler-7 --expected-interval-s 40000000",
        "attribute set boiler-7 a=1",
        "attribute set boiler-7 --scope client a=1",
        "attribute set boiler-7 --scope shared",
        "attribute set boiler-7 --scope shared a=eco",
        "attribute remove boiler-7 --scope shared",
        "subscription change sub-1 --every-alarm --site north",
        "subscription add x --email a@example.com --secret-file f",
        "command send boiler-7",
        "command send boiler-7 m {value:55}",
        "command send boiler-7 m --expires-in-s 0",
        "command show nonsense",
        "alarm ack cmd-0a-12-ff",
        "subscription add nobody",
        "event list --from yesterday",
        "status --output yaml",
        "nonsense",
    ] {
        assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
    }
}

#[test]
fn a_count_names_no_way_out_that_there_is_not() {
    let letters = super::dead_letters::DeadLetters::augment_subcommands(clap::Command::new("dead-letters"));
    let refused = letters.try_get_matches_from(["dead-letters", "list", "--limit", "0"]).unwrap_err();
    assert!(!refused.to_string().contains("--all"), "{refused}");
    assert!(parse("device list --limit 0").unwrap_err().to_string().contains("--all gives all"));
}

#[test]
fn what_holds_for_all_commands_may_stand_anywhere() {
    let Ok(Client::Device(with)) = parse("device --output json list --server http://a:1 --token x") else {
        panic!()
    };
    assert_eq!(with.globals.output, Form::Json);
    let platform = with.globals.platform;
    assert_eq!((platform.server.as_str(), platform.token.as_deref()), ("http://a:1", Some("x")));
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

#[test]
fn a_webhook_without_a_secret_is_wrong_use() {
    let Ok(Client::Subscription(with)) = parse("subscription add hook --webhook https://a.b") else {
        panic!()
    };
    let subscription::Subscription::Add(add) = with.command else { panic!() };
    assert!(matches!(add.body(), Err(Failure::Use(_))));
}

#[test]
fn a_change_says_what_is_named_and_empties_what_is_to_be_empty() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "the password\n").unwrap();
    for (line, body) in [
        (
            "--model K300 --no-site --tag a --tag b --expected-interval-s 30",
            serde_json::json!({"model": "K300", "site": null, "tags": ["a", "b"], "expected_interval_s": 30}),
        ),
        ("--no-tags --no-token --renew-token", serde_json::Value::Null),
        ("--no-tags --no-token", serde_json::json!({"tags": null, "token": null})),
        ("--renew-token --no-password", serde_json::json!({"renew_token": true, "password": null})),
        (
            &format!("--password-file {} --no-expected-interval", file.path().display()),
            serde_json::json!({"password": "the password", "expected_interval_s": null}),
        ),
    ] {
        match parse(&format!("device change b {line}")) {
            Err(error) => assert!(body.is_null() && error.exit_code() == 2, "{line}: {error}"),
            Ok(Client::Device(With { command: device::Device::Change(change), .. })) => {
                assert_eq!(change.body().unwrap(), body, "{line}");
            }
            Ok(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_change_of_nothing_is_wrong_use() {
    let Ok(Client::Device(With { command: device::Device::Change(change), .. })) = parse("device change b")
    else {
        panic!()
    };
    assert!(matches!(change.body(), Err(Failure::Use(_))));
    let Ok(Client::Subscription(with)) = parse("subscription change s") else { panic!() };
    let subscription::Subscription::Change(change) = with.command else { panic!() };
    assert!(matches!(change.body(), Err(Failure::Use(_))));
}

#[test]
fn a_change_of_a_subscription_says_what_is_named() {
    for (line, body) in [
        ("--name day", serde_json::json!({"name": "day"})),
        ("--every-alarm", serde_json::json!({"match": {}})),
        (
            "--device a* --min-severity minor --webhook https://a.b",
            serde_json::json!({"match": {"devices": ["a*"], "min_severity": "minor"},
                "deliver": [{"channel": "webhook", "url": "https://a.b"}]}),
        ),
    ] {
        let Ok(Client::Subscription(with)) = parse(&format!("subscription change s {line}")) else {
            panic!()
        };
        let subscription::Subscription::Change(change) = with.command else { panic!() };
        assert_eq!(change.body().unwrap(), body, "{line}");
    }
}

#[test]
fn attributes_are_sent_letter_by_letter_and_each_once() {
    let body = |line: &str| {
        let Ok(Client::Attribute(with)) = parse(&format!("attribute set b --scope server {line}")) else {
            panic!()
        };
        let attribute::Attribute::Set(set) = with.command else { panic!() };
        set.body()
    };
    assert_eq!(
        body(r#"n=1.50 o={"x":[1]} --text t=7"#).unwrap(),
        r#"{"server":{"n":1.50,"o":{"x":[1]},"t":"7"}}"#
    );
    assert!(matches!(body("n=1 --text n=2"), Err(Failure::Use(_))));
}

#[test]
fn every_command_that_takes_much_shows_how_it_is_used() {
    let mut bare = Vec::new();
    for group in Line::command().get_subcommands() {
        for command in group.get_subcommands() {
            let own = command.get_arguments().filter(|argument| !argument.is_global_set()).count();
            if own > 1 && command.get_after_help().is_none() {
                bare.push(format!("{} {}", group.get_name(), command.get_name()));
            }
        }
    }
    // What pages through a list and has nothing else to give needs no example.
    bare.retain(|name| name != "subscription list");
    assert!(bare.is_empty(), "no examples: {bare:?}");
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
    assert_eq!(shown[1], "alm-0a-12-ff boiler-7 critical active - 37s flame lost (E42)");

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
