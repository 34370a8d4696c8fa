//! What can be known of the fleet at any time: from the devices, and from the platform.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Result;
use parking_lot::Mutex;
use serde::Deserialize;
use stoker_sim::{Ledger, SimConfig, SimStats};

use super::moves::{Order, Sessions};
use crate::api::{Alarm, Api, Device};

/// All that can be looked at.
pub(super) struct Eyes {
    pub(super) api: Api,
    pub(super) config: SimConfig,
    pub(super) ledger: Arc<Ledger>,
    pub(super) stats: Arc<SimStats>,
    pub(super) orders: Arc<Mutex<Vec<Order>>>,
}

#[derive(Deserialize)]
struct Status {
    members: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    member: String,
    host: String,
}

impl Eyes {
    /// The sessions of all devices so far.
    pub(super) fn sessions(&self) -> Vec<Sessions> {
        let of = |device| Sessions { device, spans: self.ledger.sessions(device) };
        self.config.numbers().map(of).collect()
    }

    /// In which pod the session of each connected device is, as the platform says.
    pub(super) async fn places(&self) -> Result<HashMap<u32, String>> {
        let status: Status = self.api.get("/status").await?;
        let hosts: HashMap<String, String> =
            status.members.into_iter().map(|member| (member.member, member.host)).collect();
        let mut places = HashMap::new();
        self.api
            .each("/devices", "", |device: Device| {
                let gateway = device.connection.gateway.filter(|_| device.connection.state == "online");
                let host = gateway.and_then(|gateway| hosts.get(&gateway));
                places.extend(self.config.device_number(&device.id).zip(host.cloned()));
            })
            .await?;
        Ok(places)
    }

    /// Alarms that no device has raised.
    pub(super) async fn false_alarms(&self) -> Result<u64> {
        let mut count = 0;
        self.api
            .each("/alarms", "", |alarm: Alarm| {
                count +=
                    u64::from(alarm.kind != "fault" && self.config.device_number(&alarm.device).is_some());
            })
            .await?;
        Ok(count)
    }
}
