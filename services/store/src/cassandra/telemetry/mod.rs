//! Telemetry: one row a point, one partition a device's day.
//!
//! * Days are those of the points, not of the writing; an index says which days a device has, another which keys a day
//!   has. Index rows outlive what they point to and are never deleted, so that a process may remember that it wrote one.
//! * A point's timestamp in the database is that of its append: of two of one key and time the later append stays.
//! * The newest point of each key stands beside its day's, in a partition of the same name, with the time of the point as the
//!   timestamp: the greatest stays without a read. Another table says which day that is.

mod forget;
mod latest;
mod read;
mod write;

use stoker_domain::{DeviceKey, Millis};

use super::known::RowName;

const DAY: i64 = 86_400_000;

/// The name of the lists of days in the index of buckets.
const DAYS: &str = "points";

/// How many keys of one device are looked at together. Who wants points of a device with more names the keys.
const KEYS_MAX: usize = 4_096;

/// Requests of one append or query under way at once.
const AT_ONCE: usize = 16;

fn day_of(ts: Millis) -> i64 {
    ts.div_euclid(DAY)
}

/// Whose days: no id has a slash in it.
fn owner(device: &DeviceKey) -> String {
    device.to_string()
}

fn day_row(device: &DeviceKey, day: i64) -> RowName {
    let (organization, device) = (device.organization.as_str(), device.device.as_str());
    RowName::of(&[organization.as_bytes(), device.as_bytes(), &day.to_le_bytes()])
}

fn key_row(device: &DeviceKey, day: i64, key: &str) -> RowName {
    let (organization, device) = (device.organization.as_str(), device.device.as_str());
    RowName::of(&[organization.as_bytes(), device.as_bytes(), &day.to_le_bytes(), key.as_bytes()])
}
