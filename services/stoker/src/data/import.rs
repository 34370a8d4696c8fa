//! `stoker data import`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use stoker_store::{CassandraStore, ExportFile};

use super::progress::Progress;
use super::size;
use crate::config::Configuration;
use crate::parts::cassandra_options;
use crate::signals::Signals;

const EXAMPLES: &str = "\
Examples:
  stoker data import stoker.export --config stoker.yaml
  STOKER__CASSANDRA__KEYSPACE=second stoker data import stoker.export --config stoker.yaml

The keyspace must hold no devices, and no core may run meanwhile. What was cut off goes on with the same command.";

/// Everything into an empty keyspace.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Import {
    /// What `stoker data export` has made
    file: PathBuf,
    /// The configuration, of which cassandra.… is needed; the environment (STOKER__SECTION__KEY) stands over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Import {
    pub(super) async fn run(self) -> Result<()> {
        if self.file == Path::new("-") {
            bail!(
                "an import needs a file, not standard input: it is read twice, first to see that it is whole"
            );
        }
        let options = cassandra_options(&Configuration::read(self.config.as_deref())?.cassandra)?;
        let shown = self.file.display().to_string();
        let checked = tokio::task::spawn_blocking(move || ExportFile::check(&self.file));
        let file = checked.await.context("the check of the file died")?.with_context(|| shown.clone())?;
        let (bytes, version) = (size(file.bytes), &file.version);
        eprintln!("{shown} is whole: {bytes}, written by stoker {version}; {}", file.counts);
        let keyspace = options.keyspace.clone();
        let store = CassandraStore::open(options).await.context("Cassandra could not be opened")?;
        let mut progress = Progress::of(&file);
        let mut signals = Signals::listen();
        let imported = tokio::select! {
            imported = Box::pin(store.import(&file, |told| progress.told(told))) => Some(imported),
            _ = signals.ended() => None,
        };
        store.close();
        progress.end();
        match imported {
            Some(imported) => imported.with_context(|| format!("{shown} was not imported"))?,
            None => bail!("cut off: the same command goes on; start no core before it is done"),
        }
        eprintln!("imported {} into keyspace {keyspace}; the cores may start", file.counts);
        Ok(())
    }
}
