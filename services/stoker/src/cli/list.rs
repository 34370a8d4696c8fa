//! Lists, page after page. No more than one page is held: a list may be longer than memory.

use clap::Args;
use reqwest::Url;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::api::{Api, not_json};
use super::failure::Failure;
use super::input;
use super::output::Output;
use super::table::Rows;

/// The most that the API gives at once.
const PAGE: usize = 1_000;

/// How much of a list.
#[derive(Debug, Clone, Args)]
pub(crate) struct Paging {
    /// How many at most
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = input::count)]
    limit: u32,
    /// All of them, however many
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// Go on where an earlier list ended: the next_cursor of its JSON
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

/// A page as the API gives it. Its items are passed on letter by letter.
#[derive(Debug, Deserialize)]
struct Page {
    items: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

async fn fetch(api: &Api, url: &Url, limit: usize, cursor: Option<&str>) -> Result<Page, Failure> {
    let mut url = url.clone();
    url.query_pairs_mut().append_pair("limit", &limit.to_string());
    if let Some(cursor) = cursor {
        url.query_pairs_mut().append_pair("cursor", cursor);
    }
    serde_json::from_str(&api.get(url).await?).map_err(|_| not_json())
}

/// Shows a list of `what`, as many pages as it takes: the API's JSON, or a table with a row for each item. `url` has
/// the filters in its query already.
pub(crate) async fn show<T: DeserializeOwned>(
    api: &Api,
    output: &Output,
    url: &Url,
    paging: Paging,
    (what, header): (&str, &[&'static str]),
    row: impl Fn(T) -> Vec<String>,
) -> Result<(), Failure> {
    let wanted = if paging.all { usize::MAX } else { paging.limit as usize };
    let mut cursor = paging.cursor;
    let mut rows = Rows::new(header);
    let mut seen = 0;
    loop {
        let page = fetch(api, url, PAGE.min(wanted - seen), cursor.as_deref()).await?;
        if output.is_json() {
            let items: Vec<_> = page.items.iter().map(|item| item.get()).collect();
            output.write(if seen == 0 { "{\"items\":[" } else { "," })?;
            output.write(&items.join(","))?;
        } else if !page.items.is_empty() {
            for item in &page.items {
                rows.push(row(serde_json::from_str(item.get()).map_err(|_| not_json())?));
            }
            output.rows(&mut rows)?;
        }
        seen += page.items.len();
        cursor = page.next_cursor;
        // A page with nothing on it and more behind it would lead round and round.
        if cursor.is_none() || seen >= wanted || page.items.is_empty() {
            break;
        }
    }
    if output.is_json() {
        output.print(&format!("],\"next_cursor\":{}}}", serde_json::Value::from(cursor.as_deref())))?;
    } else if seen == 0 {
        eprintln!("no {what}");
    }
    if cursor.is_some() {
        eprintln!("there are more: --limit COUNT shows so many, --all shows all");
    }
    Ok(())
}

/// Adds what is given of a query's parameters.
pub(crate) fn query(url: &mut Url, pairs: &[(&str, Option<String>)]) {
    for (name, value) in pairs {
        if let Some(value) = value {
            url.query_pairs_mut().append_pair(name, value);
        }
    }
}
