//! mosquitto, which Stoker is measured beside.

use anyhow::{Result, bail};

use super::Tools;
use crate::process::Step;

/// Where Debian keeps it, which is not in everybody's `PATH`.
const PROGRAMS: [&str; 2] = ["mosquitto", "/usr/sbin/mosquitto"];

pub(super) fn ensure(tools: &Tools<'_>) -> Result<()> {
    if is_there(tools)? {
        return Ok(());
    }
    // Where packages may start services it also starts one of the machine's own, on port 1883, that nobody here uses.
    tools.debian(&["mosquitto"], "there is no mosquitto")?;
    if !is_there(tools)? {
        bail!("there still is no mosquitto in PATH or /usr/sbin after installing it");
    }
    Ok(())
}

/// Whether one says its version. How its help ends says nothing: 2.0 ends it with 3.
fn is_there(tools: &Tools<'_>) -> Result<bool> {
    for program in PROGRAMS {
        tools.runner.check()?;
        let said = tools.runner.capture(&Step::new(program).args(["-h"]));
        if said.is_ok_and(|said| said.out.starts_with("mosquitto version ")) {
            return Ok(true);
        }
    }
    Ok(false)
}
