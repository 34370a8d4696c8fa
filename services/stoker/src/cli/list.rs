//! Lists, page after page.

use clap::Args;
use reqwest::Url;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::api::{Api, not_json};
use super::failure::Failure;
use super::output::Output;
use super::table::Rows;

/// The most that the API gives at once.
const PAGE: usize = 1_000;

/// How much of a list.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Paging {
    /// How many at most
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// All of them, however many
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

/// A list as the API gives it. Its items are passed on letter by letter.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Listed {
    pub(crate) items: Vec<Box<RawValue>>,
    pub(crate) next_cursor: Option<String>,
}

/// Fetches as many pages as it takes. `url` has the filters in its query already.
pub(crate) async fn fetch(api: &Api, url: &Url, paging: Paging) -> Result<Listed, Failure> {
    let wanted = if paging.all { usize::MAX } else { paging.limit as usize };
    let mut listed = Listed { items: Vec::new(), next_cursor: None };
    loop {
        let mut url = url.clone();
        let count = PAGE.min(wanted - listed.items.len());
        url.query_pairs_mut().append_pair("limit", &count.to_string());
        if let Some(cursor) = &listed.next_cursor {
            url.query_pairs_mut().append_pair("cursor", cursor);
        }
        let page: Listed = serde_json::from_str(&api.get(url).await?).map_err(|_| not_json())?;
        listed.items.extend(page.items);
        listed.next_cursor = page.next_cursor;
        if listed.next_cursor.is_none() || listed.items.len() >= wanted {
            return Ok(listed);
        }
    }
}

/// Shows a list: the API's JSON, or a table with a row for each item.
pub(crate) fn show<T: DeserializeOwned>(
    output: &Output,
    listed: &Listed,
    header: &[&'static str],
    row: impl Fn(T) -> Vec<String>,
) -> Result<(), Failure> {
    if output.is_json() {
        return output.print(&serde_json::to_string(listed).map_err(|_| not_json())?);
    }
    let mut rows = Rows::new(header);
    for item in &listed.items {
        rows.push(row(serde_json::from_str(item.get()).map_err(|_| not_json())?));
    }
    output.rows(rows)?;
    if listed.next_cursor.is_some() {
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
