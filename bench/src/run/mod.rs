//! The sub-commands.

pub(crate) mod beside;
pub(crate) mod commands;
pub(crate) mod faults;
pub(crate) mod fleet;
pub(crate) mod history;
pub(crate) mod idle;
pub(crate) mod kill;
mod load;
pub(crate) mod overload;
pub(crate) mod peer;
pub(crate) mod readings;
pub(crate) mod resumes;
pub(crate) mod rollout;
mod several;
pub(crate) mod soak;
pub(crate) mod start;

use std::time::Duration;

use anyhow::{Result, ensure};
use stoker_sim::SimStats;
use tokio::time::{Instant, sleep};

use crate::process;

/// The secret of simulated devices. The platform is the run's own and listens on loopback.
const SIM_SECRET: &str = "stoker-bench";

/// A share in per cent.
fn percent(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole * 100.0 } else { 0.0 }
}

/// A part for each of so many; 0 when there are none.
fn per(total: f64, count: u64) -> f64 {
    if count == 0 { 0.0 } else { total / count as f64 }
}

/// Waits until a process's memory and processor come to rest, but at most `within`; its anonymous memory then, in kB.
async fn settled(pid: u32, within: Duration) -> Result<u64> {
    const STEP: Duration = Duration::from_secs(2);
    let deadline = Instant::now() + within;
    let (mut memory, mut cpu) = (process::memory(pid)?.1, process::cpu(pid)?);
    loop {
        sleep(STEP).await;
        let (memory_now, cpu_now) = (process::memory(pid)?.1, process::cpu(pid)?);
        let still = memory_now.abs_diff(memory) * 1_000 <= memory_now
            && percent((cpu_now - cpu).as_secs_f64(), STEP.as_secs_f64()) < 5.0;
        if still || Instant::now() > deadline {
            return Ok(memory_now);
        }
        (memory, cpu) = (memory_now, cpu_now);
    }
}

/// Waits until so many simulated devices are connected, all of them.
async fn all_connected(stats: &SimStats, devices: u32, within: Duration) -> Result<()> {
    let begun = Instant::now();
    while stats.snapshot().connected < u64::from(devices) {
        let connected = stats.snapshot().connected;
        ensure!(
            begun.elapsed() < within,
            "only {connected} of {devices} devices are connected after {} s",
            within.as_secs()
        );
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
