//! The numbers of the private port.

use std::collections::HashMap;

use anyhow::{Context, Result};

/// What `/metrics` said at one moment.
#[derive(Debug, Clone)]
pub struct Metrics(HashMap<String, f64>);

impl Metrics {
    /// Of several processes, what they say together.
    pub(crate) fn sum(texts: &[String]) -> Self {
        let mut sums = HashMap::new();
        let lines = texts.iter().flat_map(|text| text.lines()).filter(|line| !line.starts_with('#'));
        for (name, value) in lines.filter_map(|line| line.rsplit_once(' ')) {
            if let Ok(value) = value.parse::<f64>() {
                *sums.entry(name.to_owned()).or_default() += value;
            }
        }
        Self(sums)
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
