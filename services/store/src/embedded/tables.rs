//! The tables of the database.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | name | format, slot count, slot hash, telemetry sequence |
//! | `slots` | slot | protobuf `SlotHead` |
//! | `state` | slot, kind, row's key | protobuf row |
//! | `registry` | kind, row's key | version (8 bytes), protobuf `RegistryRow` |
//! | `telemetry_days` | day of storing (4 bytes) | times and spans in that day's table, see `telemetry::DayFacts` |
//! | `telemetry_N` | device, newest time in the chunk, sequence | chunk of points stored on day N |
//! | `latest` | device | newest point of each key |
//! | `events` | device, id | time of storing, protobuf `Event` |
//! | `events_by_time` | organization, newest first, device, id | nothing |
//! | `events_by_kind` | organization, kind, newest first, device, id | nothing |
//! | `events_by_device` | device, newest first, id | kind |
//! | `commands` | id | time of storing, protobuf `Command` |
//! | `commands_by_device` | device, greatest id first | state |
//! | `alarms` | id | time of storing, protobuf `Alarm` |
//! | `alarms_by_time` | organization, newest raised first, greatest id first | severity, kind |
//! | `alarms_by_device` | device, newest raised first, greatest id first | severity, kind |
//! | `notifications` | id | time of storing, protobuf `Notification` |
//! | `notifications_by_time` | organization, newest made first, greatest id first | state |
//! | `notifications_by_alarm` | organization, alarm, newest made first, greatest id first | state |
//! | `notifications_by_device` | device, id | nothing |
//! | `stored` | time of storing, table, key there | nothing: what retention goes by |
//!
//! Everything a device reports is keyed by organization first: no range can leave it.

use redb::TableDefinition;

/// What keys and values are to redb: bytes. Their forms are this crate's own.
pub(super) type Bytes = &'static [u8];

/// A table open for writing.
pub(super) type Writable<'txn> = redb::Table<'txn, Bytes, Bytes>;

/// A table open for reading.
pub(super) type Readable = redb::ReadOnlyTable<Bytes, Bytes>;

type Definition = TableDefinition<'static, Bytes, Bytes>;

macro_rules! tables {
    ($($constant:ident = $name:literal),+ $(,)?) => {
        $(pub(super) const $constant: Definition = TableDefinition::new($name);)+
        /// All tables that always exist.
        pub(super) const ALL: &[Definition] = &[$($constant),+];
    };
}

tables! {
    META = "meta",
    SLOTS = "slots",
    STATE = "state",
    REGISTRY = "registry",
    TELEMETRY_DAYS = "telemetry_days",
    LATEST = "latest",
    EVENTS = "events",
    EVENTS_BY_TIME = "events_by_time",
    EVENTS_BY_KIND = "events_by_kind",
    EVENTS_BY_DEVICE = "events_by_device",
    COMMANDS = "commands",
    COMMANDS_BY_DEVICE = "commands_by_device",
    ALARMS = "alarms",
    ALARMS_BY_TIME = "alarms_by_time",
    ALARMS_BY_DEVICE = "alarms_by_device",
    NOTIFICATIONS = "notifications",
    NOTIFICATIONS_BY_TIME = "notifications_by_time",
    NOTIFICATIONS_BY_ALARM = "notifications_by_alarm",
    NOTIFICATIONS_BY_DEVICE = "notifications_by_device",
    STORED = "stored",
}

/// Names of the rows of `meta`.
pub(super) mod meta {
    /// The format's number, 4 bytes.
    pub(in super::super) const FORMAT: &[u8] = b"format";
    /// The count of slots, 4 bytes.
    pub(in super::super) const SLOT_COUNT: &[u8] = b"slot_count";
    /// The name of the slots' hash.
    pub(in super::super) const SLOT_HASH: &[u8] = b"slot_hash";
    /// The last sequence number given to a chunk, 8 bytes.
    pub(in super::super) const SEQUENCE: &[u8] = b"telemetry_sequence";
}

/// Milliseconds of a day.
pub(super) const DAY: i64 = 86_400_000;

/// The day of a time, counted from the epoch. Days outside of what a clock can mean are cut to it.
pub(super) fn day_of(now: i64) -> u32 {
    u32::try_from(now.div_euclid(DAY).max(0)).unwrap_or(u32::MAX)
}

/// The name of the table with the telemetry that was stored on `day`.
pub(super) fn telemetry_table(day: u32) -> String {
    format!("telemetry_{day}")
}
