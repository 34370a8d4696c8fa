//! The numbers of the private port.

use std::collections::HashMap;

use anyhow::{Context, Result};

/// What `/metrics` said at one moment.
#[derive(Debug, Clone)]
pub struct Metrics(HashMap<String, f64>);

impl Metrics {
    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.rsplit_once(' '));
        Self(pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect())
    }

    /// A number by its name without the prefix `stoker_` and, for a counter, without the ending `_total`.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn get(&self, name: &str) -> Result<u64> {
        let names = [format!("stoker_{name}"), format!("stoker_{name}_total")];
        let value = names.iter().find_map(|name| self.0.get(name));
        // Counters are exact up to 2^53, which is more than any test counts.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        value.map(|value| *value as u64).with_context(|| format!("there is no metric {name}"))
    }
}
