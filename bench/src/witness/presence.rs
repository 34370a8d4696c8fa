//! Who the platform says is connected.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use stoker_sim::SimConfig;
use tokio::time::sleep;

use crate::api::{Api, Device};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Waits until the API says of all devices of a fleet that they are in that state; returns those of which it does not.
pub(crate) async fn not_in_state(
    api: &Api,
    config: &SimConfig,
    state: &str,
    within: Duration,
) -> Result<Vec<String>> {
    let begun = Instant::now();
    loop {
        let mut others: BTreeMap<String, String> = BTreeMap::new();
        let listed = api.each("/devices", "", |device: Device| {
            if config.device_number(&device.id).is_some() && device.connection.state != state {
                others.insert(device.id, device.connection.state);
            }
        });
        // A list is whole or an error: some slots may have no owner yet.
        let listed = listed.await;
        if (listed.is_ok() && others.is_empty()) || begun.elapsed() > within {
            listed?;
            return Ok(others.into_iter().map(|(id, state)| format!("{id} is {state}")).collect());
        }
        sleep(LOOK_EVERY).await;
    }
}
