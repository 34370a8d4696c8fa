//! The numbers of the private port.

use std::collections::HashMap;

use anyhow::Result;

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

    /// A number by its name without the prefix `stoker_` and, for a counter, without the ending `_total`: the sum of all
    /// its series, or one of them where labels in braces follow.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn get(&self, name: &str) -> Result<u64> {
        let (bare, labels) = name.split_once('{').map_or((name, None), |(bare, labels)| (bare, Some(labels)));
        let names = [format!("stoker_{bare}"), format!("stoker_{bare}_total")];
        let is_meant = |series: &str| {
            let (bare, of) = series.split_once('{').map_or((series, None), |(bare, of)| (bare, Some(of)));
            names.iter().any(|name| name == bare) && (labels.is_none() || labels == of)
        };
        let values: Vec<f64> =
            self.0.iter().filter(|(series, _)| is_meant(series)).map(|(_, value)| *value).collect();
        anyhow::ensure!(!values.is_empty(), "there is no metric {name}");
        // Counters are exact up to 2^53, which is more than any test counts.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Ok(values.iter().sum::<f64>() as u64)
    }
}
