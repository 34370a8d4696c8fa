//! YAML, behind one small module, so that another parser can take its place.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use config::{ConfigError, Map, Source, Value, ValueKind};

/// A configuration of a platform is a page of text; this is a hundred times that.
const BYTES_MOST: u64 = 1024 * 1024;

/// A YAML file that was read.
#[derive(Debug, Clone)]
pub(super) struct YamlFile {
    path: PathBuf,
    values: Map<String, Value>,
}

impl YamlFile {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        let bytes = std::fs::metadata(path)
            .with_context(|| format!("failed to read the configuration {shown}"))?
            .len();
        ensure!(
            bytes <= BYTES_MOST,
            "the configuration {shown} has {bytes} bytes; at most {BYTES_MOST} are read"
        );
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("failed to read the configuration {shown}"))?;
        let parsed: serde_yaml::Value =
            serde_yaml::from_str(&text).with_context(|| format!("the configuration {shown} is no YAML"))?;
        let origin = shown.to_string();
        let values = match convert(&origin, parsed)?.kind {
            ValueKind::Table(values) => values,
            ValueKind::Nil => Map::new(),
            _ => bail!("the configuration {shown} is no mapping of sections"),
        };
        Ok(Self { path: path.to_owned(), values })
    }
}

fn convert(origin: &String, value: serde_yaml::Value) -> Result<Value> {
    use serde_yaml::Value as Yaml;
    let kind = match value {
        Yaml::Null => ValueKind::Nil,
        Yaml::Bool(value) => ValueKind::Boolean(value),
        Yaml::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => ValueKind::I64(whole),
            (None, Some(other)) => ValueKind::Float(other),
            (None, None) => bail!("{origin}: the number {number} is out of range"),
        },
        Yaml::String(text) => ValueKind::String(text),
        Yaml::Sequence(items) => {
            ValueKind::Array(items.into_iter().map(|item| convert(origin, item)).collect::<Result<_>>()?)
        }
        Yaml::Mapping(mapping) => {
            let mut table = Map::new();
            for (key, value) in mapping {
                let Yaml::String(key) = key else { bail!("{origin}: the key {key:?} is no text") };
                table.insert(key, convert(origin, value)?);
            }
            ValueKind::Table(table)
        }
        Yaml::Tagged(tagged) => bail!("{origin}: the tag {} means nothing here", tagged.tag),
    };
    Ok(Value::new(Some(origin), kind))
}

impl Source for YamlFile {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        tracing::debug!(path = %self.path.display(), "configuration");
        Ok(self.values.clone())
    }
}
