//! Which lab: real Cassandra and RabbitMQ, as `cargo xtask lab up` brings them up.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Where its parts are.
#[derive(Debug, Clone)]
pub struct Lab {
    /// Nodes of Cassandra.
    pub cassandra: Vec<String>,
    /// RabbitMQ, with its user and password.
    pub amqp: String,
}

pub(crate) fn variable(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set: `cargo xtask lab up` says what it is"))
}

/// Beside the configuration of services that run on it.
fn beside(config: &Path) -> PathBuf {
    config.with_file_name("lab.json")
}

impl Lab {
    /// That of the variables.
    ///
    /// # Errors
    /// One is not set.
    pub fn of_variables() -> Result<Self> {
        let cassandra = variable("STOKER_TEST_CASSANDRA")?.split(',').map(ToOwned::to_owned).collect();
        Ok(Self { cassandra, amqp: variable("STOKER_TEST_AMQP")? })
    }

    /// That on which services with this configuration run; where it was not said, that of the variables.
    pub(crate) fn of(config: &Path) -> Result<Self> {
        let file = beside(config);
        if !file.exists() {
            return Self::of_variables();
        }
        let said: Value = serde_json::from_slice(&fs::read(file)?)?;
        let nodes = said["cassandra"].as_array().into_iter().flatten();
        Ok(Self {
            cassandra: nodes.filter_map(|node| Some(node.as_str()?.to_owned())).collect(),
            amqp: said["amqp"].as_str().context("the lab's broker is not named")?.to_owned(),
        })
    }

    pub(crate) fn write(&self, config: &Path) -> Result<()> {
        let said = json!({"cassandra": self.cassandra, "amqp": self.amqp});
        Ok(fs::write(beside(config), said.to_string())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_on_a_lab_is_removed_from_that_one() {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("stoker.yaml");
        let cassandra = vec!["127.0.0.7:9042".to_owned(), "127.0.0.8:9042".to_owned()];
        Lab { cassandra: cassandra.clone(), amqp: "amqp://a@b/".to_owned() }.write(&config).unwrap();
        let lab = Lab::of(&config).unwrap();
        assert_eq!((lab.cassandra, lab.amqp.as_str()), (cassandra, "amqp://a@b/"));
    }
}
