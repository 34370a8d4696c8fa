//! Runs a fleet.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use stoker_domain::Millis;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{ConfigError, SimConfig};
use crate::device::{Device, Shared};
use crate::ledger::Ledger;
use crate::link::{Dial, Tcp};
use crate::stats::{SimStats, StatsSnapshot};

/// Why a simulation ended early.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// It can't be run as configured.
    #[error("the simulation is not configured right")]
    Config(#[from] ConfigError),
    /// The task of a device died.
    #[error("the task of a simulated device died")]
    Died(#[from] tokio::task::JoinError),
}

/// A fleet that is ready to run.
#[derive(Debug)]
pub struct Sim {
    config: SimConfig,
    stats: Arc<SimStats>,
    ledger: Option<Arc<Ledger>>,
}

impl Sim {
    /// Checks the configuration.
    ///
    /// # Errors
    /// [`SimError::Config`] names the value that does not fit.
    pub fn new(config: SimConfig) -> Result<Self, SimError> {
        config.validate()?;
        let ledger = config.ledger.then(|| Arc::new(Ledger::new(config.first, config.devices)));
        Ok(Self { config, stats: Arc::default(), ledger })
    }

    /// What is counted, also while it runs.
    #[must_use]
    pub fn stats(&self) -> Arc<SimStats> {
        Arc::clone(&self.stats)
    }

    /// What is acknowledged, also while it runs; none unless [`SimConfig::ledger`] says so.
    #[must_use]
    pub fn ledger(&self) -> Option<Arc<Ledger>> {
        self.ledger.clone()
    }

    /// Runs until `shutdown`, then waits shortly for what is not acknowledged, says goodbye and ends with the final
    /// counts. Every task has ended by then.
    ///
    /// # Errors
    /// [`SimError::Died`]: a device's task panicked; all others were ended.
    pub async fn run(self, shutdown: CancellationToken) -> Result<StatsSnapshot, SimError> {
        let dial = Tcp { address: self.config.address.clone() };
        self.run_over(dial, shutdown).await
    }

    pub(crate) async fn run_over<D: Dial>(
        self,
        dial: D,
        shutdown: CancellationToken,
    ) -> Result<StatsSnapshot, SimError> {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let connecting = usize::try_from(self.config.connecting_max).unwrap_or(Semaphore::MAX_PERMITS);
        let shared = Arc::new(Shared {
            stats: Arc::clone(&self.stats),
            ledger: self.ledger,
            origin: Instant::now(),
            origin_wall: Millis::try_from(since_epoch.as_millis()).unwrap_or(Millis::MAX),
            connecting: Semaphore::new(connecting),
            config: self.config,
        });
        let dial = Arc::new(dial);
        // Dropping the set ends what still runs, so that no task outlives this call.
        let mut tasks = JoinSet::new();
        for number in shared.config.numbers() {
            let device = Device::new(Arc::clone(&shared), number);
            tasks.spawn(device.run(Arc::clone(&dial), shutdown.clone()));
        }
        while let Some(ended) = tasks.join_next().await {
            ended?;
        }
        Ok(self.stats.snapshot())
    }
}

#[cfg(test)]
mod tests;
