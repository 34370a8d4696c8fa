//! Those who use the platform while it is mistreated, beside the fleet and who gives it orders.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use stoker_sim::{FaultPlan, Ledger, Sim, SimConfig};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::random::Random;

/// Between two doubles.
const DOUBLE_EVERY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(2));
/// How long one stays: shorter than it takes to be let in, or long enough to report something.
const DOUBLE_STAYS: (Duration, Duration) = (Duration::ZERO, Duration::from_millis(1_500));

/// Devices that connect a second time with the credentials of the first, at whichever gateway, and are cut off without
/// a word: of two sessions only the newer counts. Returns the commands that they carried out, by device number.
pub(super) async fn doubles(
    config: SimConfig,
    mut random: Random,
    end: CancellationToken,
) -> Result<HashMap<u32, Vec<u64>>> {
    let mut done: HashMap<u32, Vec<u64>> = HashMap::new();
    while end.run_until_cancelled(sleep(random.between(DOUBLE_EVERY.0, DOUBLE_EVERY.1))).await.is_some() {
        let number = config.first + u32::try_from(random.below(config.devices.into()))?;
        let double = SimConfig {
            first: number,
            devices: 1,
            faults: FaultPlan { per_hour: 0.0, ..config.faults },
            interval: Duration::from_millis(100),
            ..config.clone()
        };
        let sim = Sim::new(double)?;
        let ledger: Option<Arc<Ledger>> = sim.ledger();
        let stays = random.between(DOUBLE_STAYS.0, DOUBLE_STAYS.1);
        // Dropped in the middle of whatever it does: its connection ends without a goodbye.
        drop(timeout(stays, sim.run(CancellationToken::new())).await);
        let commands = ledger.and_then(|ledger| ledger.entry(number)).unwrap_or_default().commands;
        if !commands.is_empty() {
            done.entry(number).or_default().extend(commands);
        }
    }
    Ok(done)
}
