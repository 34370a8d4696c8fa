//! Forgetting a device's telemetry.

use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use stoker_domain::DeviceKey;
use stoker_domain::ports::store::{Order, StoreError};

use super::AT_ONCE;
use crate::cassandra::CassandraStore;
use crate::cassandra::stamps::{micros, now_us, ttl};

const ACTION: &str = "forget a device's telemetry";

/// Points may be ahead of time by a day; what removes the newest ones has to be later than all of them.
const AHEAD: Duration = Duration::from_secs(48 * 3600);
/// It hides days that began before it, and is not looked at until the last of them is over.
const DAY: Duration = Duration::from_secs(24 * 3600);

impl CassandraStore {
    /// Removes all that was written before `stamp`. The indexes stay until they expire: they only name days and keys,
    /// and other processes may remember having written them.
    pub(in crate::cassandra) async fn forget_telemetry(
        &self,
        device: &DeviceKey,
        stamp: i64,
    ) -> Result<(), StoreError> {
        let (organization, name) = (device.organization.as_str(), device.device.as_str());
        // The mark first: from now on the newest points are looked up among the points themselves.
        let removal = now_us().saturating_add(micros(AHEAD));
        let ttl = ttl(self.options.telemetry_retention.saturating_add(AHEAD + DAY));
        let mark = (removal + 1, ttl, stamp, organization, name);
        self.write(&self.bulk, ACTION, &self.statements.latest_mark, mark, None).await?;
        let all = (removal, organization, name);
        self.write(&self.bulk, ACTION, &self.statements.latest_forget, all, None).await?;
        let mut high = i64::MAX;
        loop {
            let days = self.days(device, i64::MIN, high, Order::Descending).await?;
            let Some(next) = days.last().and_then(|last| last.checked_sub(1)) else { return Ok(()) };
            stream::iter(days)
                .map(async |day| {
                    let points = (stamp, organization, name, day);
                    self.write(&self.bulk, ACTION, &self.statements.points_forget, points, None).await?;
                    let newest = (removal, organization, name, day);
                    self.write(&self.bulk, ACTION, &self.statements.newest_forget, newest, None).await
                })
                .buffer_unordered(AT_ONCE)
                .try_collect::<()>()
                .await?;
            high = next;
        }
    }
}
