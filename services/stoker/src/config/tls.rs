//! `tls.…`: all of it or none.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer};
use stoker_link::TlsFiles;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Tls {
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    ca: Option<PathBuf>,
    core_name: Option<String>,
}

pub(super) fn files<'de, D: Deserializer<'de>>(from: D) -> Result<Option<TlsFiles>, D::Error> {
    let Tls { cert, key, ca, core_name } = Tls::deserialize(from)?;
    let missing = match (cert, key, ca) {
        (None, None, None) if core_name.is_none() => return Ok(None),
        (Some(cert), Some(key), Some(ca)) => return Ok(Some(TlsFiles { cert, key, ca, core_name })),
        (None, ..) => "tls.cert",
        (_, None, _) => "tls.key",
        (.., None) => "tls.ca",
    };
    Err(serde::de::Error::custom(format!(
        "{missing} is missing: tls.cert, tls.key and tls.ca belong together; give all of them or none"
    )))
}
