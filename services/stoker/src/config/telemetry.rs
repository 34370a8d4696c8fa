//! `telemetry.…` and `crash.…`: where traces and crash reports go.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer};
use stoker_domain::model::MemberId;
use stoker_telemetry::OtlpConfig;

/// What all programs with OpenTelemetry take their collector's address from.
pub(crate) const STANDARD: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// What names it for us alone.
const KEY: &str = "telemetry.otlp.endpoint";
/// One trace in a hundred: readings come by the hundred thousand.
const RATIO: f64 = 0.01;

/// `telemetry.…`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Telemetry {
    pub(crate) otlp: Otlp,
}

/// `telemetry.otlp.…`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Otlp {
    pub(crate) endpoint: Option<String>,
    #[serde(deserialize_with = "ratio")]
    pub(crate) sample_ratio: Option<f64>,
}

/// `crash.…`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Crash {
    pub(crate) directory: Option<PathBuf>,
    pub(crate) mail_to: Option<String>,
}

fn ratio<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    use serde::de::Error;
    match f64::deserialize(from)? {
        ratio if (0.0..=1.0).contains(&ratio) => Ok(Some(ratio)),
        ratio => Err(D::Error::custom(format!("telemetry.otlp.sample_ratio is 0 to 1, not {ratio}"))),
    }
}

impl Otlp {
    /// Where this process's spans go; nowhere unless it is said here or in the standard variable.
    pub(crate) fn config(&self, service: &str, member: &MemberId) -> Option<OtlpConfig> {
        let standard = || std::env::var(STANDARD).ok().filter(|endpoint| !endpoint.is_empty());
        let ours = self.endpoint.clone().map(|endpoint| (KEY, endpoint));
        let (named, endpoint) = ours.or_else(|| Some((STANDARD, standard()?)))?;
        Some(OtlpConfig {
            endpoint,
            named,
            sample_ratio: self.sample_ratio.unwrap_or(RATIO),
            service: format!("stoker-{service}"),
            instance: member.to_string(),
        })
    }
}
