//! Telemetry: points of a series, where a series is a device and a key.

use std::sync::Arc;

use super::Millis;
use super::ids::DeviceKey;

/// What a device may report.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number that fits; kept apart from [`Value::Number`] so that it comes back as it was sent.
    Integer(i64),
    /// Any other number; always finite.
    Number(f64),
    /// Text of at most 8 KiB.
    Text(String),
    /// An object, an array or null, as compact JSON text.
    Json(String),
}

/// One value of one key at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The key, 1 to 128 bytes.
    pub key: Arc<str>,
    /// When it was measured.
    pub ts: Millis,
    /// What was measured.
    pub value: Value,
}

/// One telemetry message of a device: its points are stored together.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Whose it is.
    pub device: DeviceKey,
    /// What it carries; never empty.
    pub points: Vec<Point>,
}

/// The newest point of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct LatestValue {
    /// When it was measured: the greatest time of the series.
    pub ts: Millis,
    /// What was measured.
    pub value: Value,
}
