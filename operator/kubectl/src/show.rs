//! For people and for programs.

use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use serde_json::json;

use crate::certificate::Certificate;
use crate::flags::Output;
use crate::row::Row;

/// All rows, and below them what is the matter.
pub(crate) fn shown(rows: &[Row], output: Output, all_namespaces: bool) -> String {
    match output {
        Output::Json => format!("{:#}\n", json!({"items": rows})),
        Output::Table if rows.is_empty() => String::new(),
        Output::Table => table(rows, all_namespaces),
    }
}

fn table(rows: &[Row], all_namespaces: bool) -> String {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let columns = ["KIND", "NAME", "HEALTH", "READY", "REVISION", "SESSIONS", "SLOTS", "CERTIFICATES"];
    table.set_header(all_namespaces.then_some("NAMESPACE").into_iter().chain(columns));
    for row in rows {
        let cells = [
            row.kind.to_owned(),
            row.name.clone(),
            health(row),
            format!("{}/{}", row.ready, row.replicas),
            revisions(row),
            row.sessions.map_or_else(dash, |sessions| sessions.to_string()),
            slots(row),
            certificates(&row.certificates),
        ];
        table.add_row(all_namespaces.then(|| row.namespace.clone()).into_iter().chain(cells));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim().to_owned()).collect();
    let mut text = lines.join("\n") + "\n";
    let mut said: Vec<String> = Vec::new();
    for row in rows {
        let about = if all_namespaces {
            format!("{} {}/{}", row.kind, row.namespace, row.name)
        } else {
            format!("{} {}", row.kind, row.name)
        };
        if !row.message.is_empty() {
            said.push(format!("{about}: {}", row.message));
        }
        if let Some(degraded) = &row.degraded {
            said.push(format!("{about}: since {}: {}", degraded.since, degraded.message));
        }
        for of in &row.certificates {
            if let Some(problem) = &of.problem {
                said.push(format!("{about}: Secret {} {problem}", of.secret));
            }
        }
    }
    if !said.is_empty() {
        text = format!("{text}\n{}\n", said.join("\n"));
    }
    text
}

/// What it does without stands beside it.
fn health(row: &Row) -> String {
    match &row.degraded {
        Some(degraded) => format!("{}, {}", row.health, degraded.reason),
        None => row.health.clone(),
    }
}

fn dash() -> String {
    "-".to_owned()
}

/// The newest first; beside it those that have pods yet.
fn revisions(row: &Row) -> String {
    let mut all = row.revisions.iter();
    let Some(newest) = all.next() else { return dash() };
    let former: Vec<String> =
        all.filter(|of| of.ready > 0 || of.wanted > 0).map(|of| of.revision.clone()).collect();
    if former.is_empty() {
        newest.revision.clone()
    } else {
        format!("{} (beside {})", newest.revision, former.join(", "))
    }
}

fn slots(row: &Row) -> String {
    let Some(slots) = &row.slots else { return dash() };
    match &slots.in_effect {
        Some(now) if *now == slots.wished => now.clone(),
        Some(now) => format!("{now} (wished {})", slots.wished),
        None => format!("none (wished {})", slots.wished),
    }
}

fn certificates(all: &[Certificate]) -> String {
    if all.is_empty() {
        return dash();
    }
    let each = all.iter().map(|of| match of.days_left {
        Some(days) if days < 0 => format!("{}: over", of.secret),
        Some(1) => format!("{}: 1 day", of.secret),
        Some(days) => format!("{}: {days} days", of.secret),
        None => format!("{}: ?", of.secret),
    });
    each.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{rows, tests::found};

    fn all() -> Vec<Row> {
        let certificate = Certificate {
            secret: "tls".to_owned(),
            days_left: None,
            problem: Some("does not exist".to_owned()),
        };
        rows(&found(), &[(("heating".to_owned(), "tls".to_owned()), certificate)].into())
    }

    #[test]
    fn a_table_has_a_line_for_each_and_says_what_is_the_matter() {
        let text = shown(&all(), Output::Table, false);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0][..3], ["KIND", "NAME", "HEALTH"]);
        assert_eq!(lines[1].join(" "), "CoreShard main SlotsMissing 1/2 core - 0-255 (wished 0-127) -");
        assert_eq!(lines[2].join(" "), "Gateway edge Ready, BusAway 1/2 new (beside old) 40 - tls: ?");
        assert!(text.contains("\nCoreShard main: words\n"), "{text}");
        let since = "\nGateway edge: since 2026-01-01T00:00:00Z: 2 of 2 pods do without RabbitMQ\n";
        assert!(text.contains(since), "{text}");
        assert!(text.contains("\nGateway edge: Secret tls does not exist\n"), "{text}");
        assert!(shown(&all(), Output::Table, true).starts_with("NAMESPACE"));
        assert_eq!(shown(&[], Output::Table, true), "");
    }

    #[test]
    fn json_has_all_of_it() {
        let text = shown(&all(), Output::Json, false);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["items"][1]["sessions"], 40);
        assert_eq!(value["items"][1]["degraded"]["reason"], "BusAway");
        assert_eq!(value["items"][0].get("degraded"), None);
        assert_eq!(value["items"][0]["slots"]["in_effect"], "0-255");
        assert_eq!(shown(&[], Output::Json, false).split_whitespace().collect::<String>(), "{\"items\":[]}");
    }
}
