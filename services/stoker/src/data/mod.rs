//! `stoker data`: everything out of one store, and into another.

mod export;
mod import;
mod progress;

use anyhow::Result;
use clap::Subcommand;

pub(crate) const EXAMPLES: &str = "\
Examples:
  stoker data export --data-dir ~/.local/share/stoker stoker.export
  stoker data import stoker.export --config stoker.yaml

Stop `stoker up` before the export, and start the cores after the import. docs/services.md tells all of it.";

/// From one store to another.
#[derive(Debug, Subcommand)]
pub(crate) enum Data {
    /// Write everything that a data directory holds into one file
    Export(export::Export),
    /// Write what such a file holds into an empty keyspace of Cassandra
    Import(import::Import),
}

impl Data {
    /// Does it.
    ///
    /// # Errors
    /// What could not be read or written, and the way out.
    pub(crate) async fn run(self) -> Result<()> {
        match self {
            Self::Export(export) => export.run().await,
            Self::Import(import) => import.run().await,
        }
    }
}

/// Bytes, for people.
fn size(bytes: u64) -> String {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    match bytes {
        0..KIB => format!("{bytes} bytes"),
        KIB..MIB => format!("{}.{} KiB", bytes / KIB, bytes % KIB * 10 / KIB),
        _ => format!("{}.{} MiB", bytes / MIB, bytes % MIB * 10 / MIB),
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_readable() {
        let sizes = [0, 1_023, 1_024, 1_792, 1_048_575, 1_048_576, 5_767_168].map(size);
        assert_eq!(
            sizes,
            ["0 bytes", "1023 bytes", "1.0 KiB", "1.7 KiB", "1023.9 KiB", "1.0 MiB", "5.5 MiB"]
        );
    }
}
