//! Starts that are to fail.

use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::platform::{binary, stoker};
use crate::wait::WITHIN;

/// How a start failed.
#[derive(Debug)]
pub struct Refused {
    /// The exit code.
    pub code: i32,
    /// What stood on standard error.
    pub said: String,
}

/// Runs `stoker` with these arguments and variables, which is to end by itself.
///
/// # Errors
/// It does not end in time, or by a signal.
pub async fn refused(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Refused> {
    let mut command = stoker(&binary()?);
    command.args(arguments).envs(variables.iter().copied());
    let pipe = std::process::Stdio::piped;
    let mut process = command.stdout(pipe()).stderr(pipe()).spawn().context("failed to start stoker")?;
    let by = Instant::now() + WITHIN;
    while process.try_wait()?.is_none() {
        if Instant::now() > by {
            process.kill()?;
            process.wait()?;
            bail!("stoker {arguments:?} did not end within {} s", WITHIN.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let Output { status, stderr, .. } = process.wait_with_output()?;
    let said = String::from_utf8_lossy(&stderr).into_owned();
    let code = status.code().with_context(|| format!("stoker ended by a signal: {status}; {said}"))?;
    Ok(Refused { code, said })
}
