//! The parts of a device's page.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::{KEYS_MOST, Range, Refused, Shown, chart_link, is_number, typed};
use crate::App;
use crate::commands::{Command, CommandOutcome};
use crate::json::Value;
use crate::page::chart::Chart;
use crate::page::frame::token;
use crate::page::parts::{
    alarm_row, badge, connection, device_path, link, moment, refused as told, short, since,
};
use crate::page::session::Session;
use crate::page::{ACTIVITY, ALARMS, FLEET};
use crate::time::Time;

pub(super) fn main(app: &App, session: &Session, shown: &Shown, refused: Option<&Refused>) -> Markup {
    html! {
        (head(shown))
        (alarms(app, session, shown))
        div.columns {
            (values(shown))
            (chart(shown))
        }
        (commands(app, session, shown, refused))
        (attributes(app, session, shown, refused))
        (events(shown))
    }
}

fn head(shown: &Shown) -> Markup {
    let device = &shown.device;
    let at = &device.connection;
    html! {
        nav.crumbs aria-label="Where this is" { a href=(FLEET) { "Fleet" } " › " span aria-current="page" { (device.id) } }
        section #session data-live="connection device" aria-labelledby="device" {
            h1 #device { (device.id) }
            p.connection { (connection(at, shown.now)) }
            dl.facts {
                @if let Some(model) = &device.model { div { dt { "Model" } dd { (model) } } }
                @if let Some(site) = &device.site {
                    div { dt { "Site" } dd { a href=(link(FLEET, &[("site", site)])) { (site) } } }
                }
                @if !device.tags.is_empty() {
                    div { dt { "Tags" } dd {
                        @for tag in &device.tags { a.tag href=(link(FLEET, &[("tag", tag)])) { (tag) } " " }
                    } }
                }
                @if let Some(address) = &at.address { div { dt { "Address" } dd { (address) } } }
                @if let Some(protocol) = &at.protocol { div { dt { "Protocol" } dd { (protocol) } } }
                @if let Some(gateway) = &at.gateway { div { dt { "Gateway" } dd { (gateway) } } }
                @if let Some(seconds) = device.expected_interval_s {
                    div { dt { "Reports every" } dd { (seconds) " s" } }
                }
                div { dt { "Made" } dd { (moment(device.created_at)) } }
            }
        }
    }
}

fn alarms(app: &App, session: &Session, shown: &Shown) -> Markup {
    let back = device_path(&shown.device.id);
    let all = link(ALARMS, &[("device", &shown.device.id), ("state", "all")]);
    html! {
        section #open-alarms data-live="alarm" aria-labelledby="alarms" {
            div.title { h2 #alarms { "Open alarms" } a href=(all) { "All of this device" } }
            @if shown.alarms.items.is_empty() {
                p.calm { "None." }
            } @else {
                ul.alarms {
                    @for alarm in &shown.alarms.items { (alarm_row(app, session, alarm, &back, shown.now)) }
                }
            }
        }
    }
}

fn values(shown: &Shown) -> Markup {
    html! {
        section #values aria-labelledby="newest" data-live="telemetry" data-every="1000" {
            h2 #newest { "Newest values" }
            @if shown.latest.is_empty() {
                p.calm { "Nothing was reported yet." }
            } @else {
                div.wide { table.list.tight {
                    caption.unseen { "Newest value of each key" }
                    thead { tr { th scope="col" { "Key" } th scope="col" { "Value" } th scope="col" { "Since" } } }
                    tbody { @for (key, latest) in shown.latest.iter().take(KEYS_MOST) {
                        tr {
                            th scope="row" {
                                @if is_number(&latest.value) {
                                    a href=(chart_link(&shown.device.id, key, shown.range))
                                        aria-current=[(shown.key.as_ref() == Some(key)).then_some("true")] { (key) }
                                } @else { (key) }
                            }
                            td.number { (short(&latest.value.to_string())) }
                            td { (since(Time(latest.ts), shown.now)) }
                        }
                    } }
                } }
                @if shown.latest.len() > KEYS_MOST {
                    p.calm { "And " (shown.latest.len() - KEYS_MOST) " more, which the API has." }
                }
            }
        }
    }
}

fn chart(shown: &Shown) -> Markup {
    let (Some(key), Some(chart)) = (&shown.key, &shown.chart) else { return html! {} };
    let id = &shown.device.id;
    html! {
        section #chart.card aria-labelledby="charted" data-live="telemetry" data-every=(shown.range.anew_ms()) {
            div.title {
                h2 #charted { (key) }
                nav.ranges aria-label="How far back" {
                    @for range in Range::ALL {
                        a href=(chart_link(id, key, range)) aria-current=[(range == shown.range).then_some("true")] {
                            (range.names().1)
                        }
                    }
                }
            }
            @match chart {
                Err(problem) => p.wrong { "The chart cannot be drawn: " (problem.detail()) },
                Ok(summary) if summary.items.is_empty() => p.calm.empty {
                    "No number within " (shown.range.names().1) "." },
                Ok(summary) => figure {
                    (Chart {
                        key,
                        from: shown.now - shown.range.millis(),
                        to: shown.now,
                        part_ms: summary.part_ms,
                        parts: &summary.items,
                    }.drawn())
                    figcaption.small {
                        "The line is the mean, the band what lies between lowest and highest, of "
                        (span(summary.part_ms)) " each."
                        @if summary.complete_from > shown.now - shown.range.millis() {
                            " Shown from " (moment(Time(summary.complete_from))) " on: there are too many values for more."
                        }
                    }
                },
            }
        }
    }
}

/// A length of time, rounded.
fn span(millis: i64) -> String {
    match (millis + 500) / 1_000 {
        seconds @ ..120 => format!("{} s", seconds.max(1)),
        seconds @ 120..7_200 => format!("{} min", (seconds + 30) / 60),
        seconds => format!("{} h", (seconds + 1_800) / 3_600),
    }
}

const COMMAND_FIELDS: [(&str, &str); 3] =
    [("/method", "Method"), ("/params", "Parameters"), ("/expires_in_s", "Time for it")];

fn commands(app: &App, session: &Session, shown: &Shown, refused: Option<&Refused>) -> Markup {
    let problem = refused.filter(|refused| refused.form == "command").map(|refused| &refused.problem);
    let filled = |field| typed(refused, "command", field);
    let path = device_path(&shown.device.id);
    html! {
        section #commands aria-labelledby="ordered" {
            h2 #ordered { "Commands" }
            form.card.order method="post" action={ (path) "/commands" } {
                (token(app, session))
                (told(problem, &COMMAND_FIELDS))
                div { label for="method" { "Method" }
                    input #method name="method" required maxlength="128" value=(filled("method"))
                        autocomplete="off" spellcheck="false" placeholder="write_setpoint"; }
                div.grow { label for="params" { "Parameters (JSON)" }
                    input #params name="params" value=(filled("params")) autocomplete="off" spellcheck="false"
                        placeholder="{\"value\": 55}"; }
                div { label for="expires" { "Seconds it may take" }
                    input #expires.narrow name="expires_in_s" inputmode="numeric" value=(filled("expires_in_s"))
                        placeholder="60" autocomplete="off"; }
                div.go { button type="submit" { "Send" } }
            }
            div #ledger data-live="command" {
                @if shown.commands.items.is_empty() {
                    p.calm { "None was given yet." }
                } @else {
                    div.wide { table.list {
                        caption.unseen { "The newest commands and what became of them" }
                        thead { tr {
                            th scope="col" { "Command" } th scope="col" { "State" } th scope="col" { "Made" }
                            th scope="col" { "Sent" } th scope="col" { "Delivered" } th scope="col" { "Ended" }
                            th scope="col" { "Reply" }
                        } }
                        tbody { @for command in &shown.commands.items { (command_row(app, session, command)) } }
                    } }
                }
            }
        }
    }
}

fn outcome(command: &Command) -> Option<&'static str> {
    command.outcome.map(|outcome| match outcome {
        CommandOutcome::NeverSent => "never sent",
        CommandOutcome::Unknown => "sent, outcome unknown",
        CommandOutcome::NoReply => "delivered, no reply",
    })
}

/// Milliseconds from the making of a command.
fn after(command: &Command, at: Option<Time>) -> Markup {
    match at {
        Some(at) => {
            let millis = at.0.saturating_sub(command.created_at.0);
            html! { time datetime=(at) title=(at) { "+" (format!("{}.{:03}", millis / 1_000, millis.rem_euclid(1_000))) " s" } }
        }
        None => html! { span.none { "–" } },
    }
}

fn command_row(app: &App, session: &Session, command: &Command) -> Markup {
    let state = command.state.as_str();
    html! {
        tr {
            th scope="row" {
                b { (short(&command.method)) } span.small { "no. " (command.number) " "
                    code { (short(command.params.get())) } }
            }
            td data-label="State" {
                span class={ "ledger " (state) } { (state) }
                @if let Some(outcome) = outcome(command) { span.small { (outcome) } }
                @if command.ended_at.is_none() {
                    form method="post" action={ "/commands/" (command.id) "/cancel" } {
                        (token(app, session))
                        button.plain #{ "cancel-" (command.id) } type="submit" {
                            "Take back" span.unseen { " no. " (command.number) }
                        }
                    }
                }
            }
            td data-label="Made" { (moment(command.created_at)) }
            td data-label="Sent" { (after(command, command.sent_at)) }
            td data-label="Delivered" { (after(command, command.delivered_at)) }
            td data-label="Ended" { (after(command, command.ended_at)) }
            td data-label="Reply" {
                @if let Some(reply) = &command.reply { code { (short(reply.get())) } }
                @else if let Some(detail) = &command.detail { (short(detail)) }
                @else { span.none { "–" } }
            }
        }
    }
}

fn attributes(app: &App, session: &Session, shown: &Shown, refused: Option<&Refused>) -> Markup {
    let problem = refused.filter(|refused| refused.form == "attribute").map(|refused| &refused.problem);
    let filled = |field| typed(refused, "attribute", field);
    let path = format!("{}/attributes", device_path(&shown.device.id));
    let all = &shown.attributes;
    html! {
        section #attributes aria-labelledby="known" {
            h2 #known { "Attributes" }
            div #scopes.scopes data-live="attributes" {
                (scope("Of the device", "The device says them.", &all.client, None))
                (scope("Shared", "You say them, the device hears them.", &all.shared, Some((app, session, &path, "shared"))))
                (scope("Of the server", "For people only.", &all.server, Some((app, session, &path, "server"))))
            }
            form.card.order method="post" action=(path) {
                (token(app, session))
                (told(problem, &[("/shared", "Value"), ("/server", "Value"), ("", "")]))
                div { label for="scope" { "Scope" }
                    select #scope name="scope" {
                        option value="shared" { "shared" }
                        option value="server" selected[filled("scope") == "server"] { "of the server" }
                    } }
                div { label for="key" { "Key" }
                    input #key name="key" required maxlength="128" value=(filled("key")) autocomplete="off" spellcheck="false"; }
                div.grow { label for="value" { "Value: a number, true, false, JSON or text" }
                    input #value name="value" required value=(filled("value")) autocomplete="off" spellcheck="false"; }
                div.go { button type="submit" { "Set" } }
            }
        }
    }
}

type Writable<'a> = Option<(&'a App, &'a Session, &'a str, &'a str)>;

fn scope(name: &str, whose: &str, values: &BTreeMap<String, Value>, writable: Writable<'_>) -> Markup {
    html! {
        div.card {
            h3 { (name) }
            p.small { (whose) }
            @if values.is_empty() { p.calm { "None." } } @else {
                dl.pairs { @for (key, value) in values.iter().take(KEYS_MOST) {
                    div {
                        dt { (key) } dd { (short(&value.to_string()))
                            @if let Some((app, session, path, scope)) = writable {
                                form method="post" action=(path) {
                                    (token(app, session))
                                    input type="hidden" name="scope" value=(scope);
                                    input type="hidden" name="key" value=(key);
                                    button.plain type="submit" { "Remove" span.unseen { " " (key) } }
                                }
                            }
                        }
                    }
                } }
                @if values.len() > KEYS_MOST { p.calm { "And " (values.len() - KEYS_MOST) " more, which the API has." } }
            }
        }
    }
}

fn events(shown: &Shown) -> Markup {
    html! {
        section #events aria-labelledby="happened" data-live="event" {
            div.title {
                h2 #happened { "Events" }
                a href=(link(ACTIVITY, &[("device", &shown.device.id)])) { "All of this device" }
            }
            @if shown.events.items.is_empty() { p.calm { "None yet." } } @else {
                div.wide { table.list {
                    caption.unseen { "The newest events" }
                    thead { tr { th scope="col" { "Time" } th scope="col" { "Event" } th scope="col" { "Severity" } } }
                    tbody { @for event in &shown.events.items {
                        tr {
                            td data-label="Time" { (moment(event.ts)) }
                            td data-label="Event" { (event.kind) " " span.code { (event.code) } ": " (short(&event.text)) }
                            td data-label="Severity" {
                                @if event.cleared { span.badge { "cleared" } } @else { (badge(event.severity, event.severity.as_str())) }
                            }
                        }
                    } }
                } }
            }
        }
    }
}
