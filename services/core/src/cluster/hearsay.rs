//! Readings need no owner, so they come to any core. The owner of a device's slot has to know that some came, or it would
//! miss a device that is expected to send them: a few times a second it is told.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use stoker_domain::model::{DeviceKey, MemberId, Millis, Slot};
use stoker_link::Channel;
use stoker_proto::convert;
use stoker_proto::core::v1::peer_service_client::PeerServiceClient;
use stoker_proto::core::v1::{HeardDevice, HeardRequest};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::Routes;
use crate::shared::Shared;
use crate::slots::Slots;

/// How often: a device that is expected to send every second is missed after half a second more.
const EVERY: Duration = Duration::from_millis(250);
/// A core that is slower is told the same again.
const WITHIN: Duration = Duration::from_secs(2);
/// Devices in one message.
const DEVICES_AT_ONCE: usize = 5_000;
/// What came to devices of slots that others own is remembered for so long.
const REMEMBERED_MS: Millis = 600_000;

/// Tells until shutdown.
pub(crate) async fn run(
    shared: Arc<Shared>,
    slots: Slots,
    routes: Routes,
    shutdown: CancellationToken,
) -> Result<(), Infallible> {
    let mut every = interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Up to when each has been told.
    let mut told: HashMap<MemberId, Millis> = HashMap::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            _ = every.tick() => {}
        }
        let others: HashMap<MemberId, Channel> = routes.others().into_iter().collect();
        told.retain(|core, _| others.contains_key(core));
        let now = shared.clock.now_ms();
        let mut to_tell: BTreeMap<MemberId, Vec<(DeviceKey, Millis)>> = BTreeMap::new();
        for slot in Slot::all().filter(|slot| slots.epoch(*slot).is_none()) {
            let Some(owner) = shared.roster.likely_owner(slot).filter(|owner| others.contains_key(owner))
            else {
                continue;
            };
            let after = told.get(&owner).copied().unwrap_or_default();
            let heard = shared.seen.heard_elsewhere(slot, after, now - REMEMBERED_MS);
            to_tell.entry(owner).or_default().extend(heard);
        }
        let telling = to_tell.into_iter().filter_map(|(core, heard)| {
            let channel = others.get(&core)?.clone();
            Some(async move { (tell(channel, heard, now).await, core) })
        });
        let telling = futures_util::future::join_all(telling);
        let heard_by = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            heard_by = telling => heard_by,
        };
        // What came in this very millisecond may have been missed: it is told again.
        told.extend(heard_by.into_iter().filter(|(heard, _)| *heard).map(|(_, core)| (core, now - 1)));
    }
}

/// True when it has heard all of it.
async fn tell(channel: Channel, heard: Vec<(DeviceKey, Millis)>, now: Millis) -> bool {
    let mut core = PeerServiceClient::new(channel);
    for some in heard.chunks(DEVICES_AT_ONCE) {
        let devices = some.iter().map(|(device, last)| HeardDevice {
            device: Some(convert::device_ref(device)),
            age_ms: (now - last).max(0),
        });
        let request = HeardRequest { devices: devices.collect() };
        if !matches!(timeout(WITHIN, core.heard(request)).await, Ok(Ok(_))) {
            return false;
        }
    }
    true
}
