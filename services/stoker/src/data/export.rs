//! `stoker data export`.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use stoker_store::{EmbeddedOptions, EmbeddedStore, ExportCounts};

use super::size;
use crate::data_dir;

const EXAMPLES: &str = "\
Examples:
  stoker data export stoker.export
  stoker data export --data-dir /var/lib/stoker - | ssh elsewhere 'cat > stoker.export'

The platform must not run meanwhile. The file holds credentials: it is made for its owner only.";

/// Everything out of a data directory.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Export {
    /// The file to make; - is standard output
    file: PathBuf,
    /// The data directory [default: $XDG_DATA_HOME/stoker or ~/.local/share/stoker]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Where it goes. A file has its name only once it is whole.
enum Out {
    Stdout,
    File { half: PathBuf, whole: PathBuf },
}

impl Out {
    fn of(file: PathBuf) -> Result<Self> {
        if file == Path::new("-") {
            return Ok(Self::Stdout);
        }
        if file.exists() {
            bail!("{} is there already: give another name, or remove it", file.display());
        }
        let mut half = file.clone().into_os_string();
        half.push(".part");
        Ok(Self::File { half: half.into(), whole: file })
    }

    fn open(&self) -> Result<Box<dyn Write + Send>> {
        let Self::File { half, .. } = self else { return Ok(Box::new(io::stdout())) };
        let failed = || format!("failed to write {}", half.display());
        match std::fs::remove_file(half) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).with_context(failed),
            _ => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(half);
        Ok(Box::new(BufWriter::new(file.with_context(failed)?)))
    }

    /// Gives the file its name, once its bytes are on the disk.
    fn finish(&self) -> Result<String> {
        let Self::File { half, whole } = self else { return Ok("standard output".to_owned()) };
        let rename = || {
            let file = File::open(half)?;
            file.sync_all()?;
            std::fs::rename(half, whole)?;
            file.metadata()
        };
        let file = rename().with_context(|| format!("failed to write {}", whole.display()))?;
        Ok(format!("{} ({})", whole.display(), size(file.len())))
    }

    /// Leaves nothing half done behind, as far as that is possible.
    fn give_up(&self) {
        if let Self::File { half, .. } = self {
            drop(std::fs::remove_file(half));
        }
    }
}

impl Export {
    pub(super) async fn run(self) -> Result<()> {
        let directory = match self.data_dir {
            Some(directory) => directory,
            None => data_dir::default()?,
        };
        let out = Out::of(self.file)?;
        if !EmbeddedStore::is_in(&directory) {
            bail!(
                "{} is no data directory of `stoker up`: give the one that it was started with by --data-dir",
                directory.display()
            );
        }
        let opened =
            tokio::task::spawn_blocking(move || EmbeddedStore::open(&directory, EmbeddedOptions::default()));
        let store = opened.await.context("the store's opening died")??;
        let written = write(&store, &out).await;
        store.close().await;
        match written {
            Ok(counts) => {
                eprintln!("exported {counts} to {}", out.finish()?);
                Ok(())
            }
            Err(error) => {
                out.give_up();
                Err(error)
            }
        }
    }
}

async fn write(store: &EmbeddedStore, out: &Out) -> Result<ExportCounts> {
    let (_, counts) = store.export(out.open()?, env!("CARGO_PKG_VERSION")).await?;
    Ok(counts)
}
