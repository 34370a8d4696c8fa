//! What the payloads of the device API promise.

mod forms;
mod limits;
mod random;

use super::*;
use crate::model::{DeviceId, DeviceKey, OrganizationId, Point, Value};

const NOW: Millis = 1_700_000_000_000;

fn device() -> DeviceKey {
    DeviceKey::new(OrganizationId::default_organization(), DeviceId::new("boiler-7").unwrap())
}

/// Reads telemetry with stamps `NOW`, `NOW + 1`, ….
fn read_with(payload: &[u8], limits: &PayloadLimits) -> Result<Vec<Point>, PayloadError> {
    let mut next = NOW;
    let mut stamp = || {
        next += 1;
        next - 1
    };
    telemetry(payload, NOW, &mut stamp, limits)
}

fn read(payload: &str) -> Result<Vec<Point>, PayloadError> {
    read_with(payload.as_bytes(), &PayloadLimits::default())
}

fn point(key: &str, ts: Millis, value: Value) -> Point {
    Point { key: key.into(), ts, value }
}

fn read_event(payload: &str) -> Result<crate::model::Event, PayloadError> {
    let made = || crate::model::EventId::new("made").unwrap();
    event(payload.as_bytes(), &device(), NOW, &mut || NOW, made, &PayloadLimits::default())
}
