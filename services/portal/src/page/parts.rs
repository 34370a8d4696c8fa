//! Pieces that several pages are made of.

use maud::{Markup, html};
use stoker_domain::Millis;

use super::frame::token;
use super::session::Session;
use crate::App;
use crate::alarms::{Alarm, AlarmState, Severity};
use crate::devices::{Connection, ConnectionState};
use crate::problem::Problem;
use crate::time::{Time, ago};

/// So many characters of a text are shown where there is one line for it.
const SHORT: usize = 120;

/// Hours, minutes and seconds of a day in UTC.
pub(super) fn clock(at: Millis) -> String {
    Time(at).to_string().get(11..19).map_or_else(String::new, |time| format!("{time} UTC"))
}

/// A moment in full, to the second.
pub(super) fn moment(at: Time) -> Markup {
    let text = at.to_string();
    let (day, time) = (text.get(..10).unwrap_or_default(), text.get(11..19).unwrap_or_default());
    html! { time datetime=(at) { (day) " " (time) } }
}

/// How long ago.
pub(super) fn since(at: Time, now: Millis) -> Markup {
    html! { time datetime=(at) title=(at) { (ago(at.0, now)) } }
}

/// As much of a text as fits on a line; the rest is left out, and an ellipsis says so.
pub(super) fn short(text: &str) -> Markup {
    match text.char_indices().nth(SHORT) {
        Some((end, _)) => html! { (text.get(..end).unwrap_or_default()) "…" },
        None => html! { (text) },
    }
}

pub(super) fn badge(severity: Severity, text: &str) -> Markup {
    html! { span class={ "badge " (severity.as_str()) } { (text) } }
}

/// Where a device's page is. Its id needs no encoding: it is of letters, digits, `.`, `_`, `:` and `-`.
pub(super) fn device_path(id: &str) -> String {
    format!("/devices/{id}")
}

pub(super) fn device_link(id: &str) -> Markup {
    html! { a href=(device_path(id)) { (id) } }
}

/// How a connection ended, in the words of whoever looks for the cause.
fn ended(reason: &str) -> &str {
    match reason {
        "disconnect" | "disconnect_with_will" => "it said goodbye",
        "cut" => "the connection was cut",
        "keep_alive" => "nothing was heard any more",
        "protocol_error" => "it broke the protocol",
        "slow_reader" => "it did not read what was sent",
        "taken_over" => "another took its place",
        "platform" | "platform_crash" => "by the platform",
        "revoked" => "its credential was withdrawn",
        other => other,
    }
}

/// Whether a device is connected, since when, and why not.
pub(super) fn connection(connection: &Connection, now: Millis) -> Markup {
    let state = connection.state.as_str();
    html! {
        span class={ "state " (state) } {
            @if connection.state == ConnectionState::Never { "never connected" } @else { (state) }
        }
        @if connection.state != ConnectionState::Never {
            span.small { " for " (since(connection.since, now))
                @if let Some(reason) = &connection.reason { ", " (ended(reason)) } }
        }
    }
}

/// An alarm in a list, with the form to take note of it; `back` is where that leads afterwards.
pub(super) fn alarm_row(app: &App, session: &Session, alarm: &Alarm, back: &str, now: Millis) -> Markup {
    let active = alarm.state == AlarmState::Active;
    html! {
        li.card.alarm.noted[alarm.acknowledged.is_some()].over[!active] {
            (badge(alarm.severity, alarm.severity.as_str()))
            div.what {
                a href=(device_path(&alarm.device)) { b { (alarm.device) } } ": "
                a.plain href={ "/alarms/" (alarm.id) } {
                    (short(&alarm.text))
                    @if alarm.text != alarm.code { span.code { " (" (alarm.code) ")" } }
                }
                p.small {
                    @if active { "for " (since(alarm.raised_at, now)) }
                    @else {
                        "raised " (moment(alarm.raised_at))
                        @if let Some(at) = alarm.cleared_at { ", cleared " (moment(at)) }
                    }
                    @if alarm.count > 1 { ", said " (alarm.count) " times" }
                }
            }
            @match &alarm.acknowledged {
                Some(noted) => p.small.by {
                    "noted by " (noted.by)
                    @if let Some(note) = &noted.note { ": “" (short(note)) "”" }
                },
                None if active => form method="post" action={ "/alarms/" (alarm.id) "/acknowledge" } {
                    (token(app, session))
                    input type="hidden" name="back" value=(back);
                    button.small type="submit" #{ "ack-" (alarm.id) } {
                        "Acknowledge" span.unseen { " " (alarm.device) ": " (short(&alarm.text)) }
                    }
                },
                None => p.small.by { "not acknowledged" },
            }
        }
    }
}

/// Where a list goes on.
pub(super) fn pages(first: Option<String>, next: Option<String>) -> Markup {
    if first.is_none() && next.is_none() {
        return html! {};
    }
    html! {
        nav.pages aria-label="Pages" {
            @if let Some(first) = first { a.button href=(first) { "First" } }
            @if let Some(next) = next { a.button rel="next" href=(next) { "Next" } }
        }
    }
}

/// A path with those parameters that have a value.
pub(super) fn link(path: &str, parameters: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters {
        if !value.is_empty() {
            query.append_pair(name, value);
        }
    }
    match query.finish() {
        query if query.is_empty() => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}

/// What a form was refused for, above its fields. `fields` are the JSON pointers of the body and what the page calls them.
pub(super) fn refused(problem: Option<&Problem>, fields: &[(&str, &str)]) -> Markup {
    let Some(problem) = problem else { return html! {} };
    let named = problem
        .pointer()
        .and_then(|pointer| fields.iter().find(|(at, _)| !at.is_empty() && pointer.starts_with(at)));
    html! {
        p.wrong role="alert" {
            b { (problem.title()) "." } " "
            @if let Some((_, name)) = named { (name) ": " }
            (problem.detail())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = "é".repeat(SHORT + 1);
        assert_eq!(short(&text).into_string(), format!("{}…", "é".repeat(SHORT)));
        assert_eq!(short("<b>").into_string(), "&lt;b&gt;");
    }

    #[test]
    fn a_link_leaves_out_what_is_empty_and_encodes_the_rest() {
        assert_eq!(link("/fleet", &[("q", ""), ("cursor", "")]), "/fleet");
        assert_eq!(
            link("/fleet", &[("q", "a&b=\"c\""), ("state", "online")]),
            "/fleet?q=a%26b%3D%22c%22&state=online"
        );
    }
}
