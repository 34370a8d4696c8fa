//! Writing everything out: one snapshot, table by table, a page of points at a time.

use std::io::{self, Write};
use std::ops::Bound;
use std::path::Path;

use redb::{ReadTransaction, ReadableTable};
use stoker_domain::ports::store::{Order, PointsQuery, RegistryRow};
use stoker_domain::{
    Alarm, Command, DeviceId, DeviceKey, Event, Notification, OrganizationId, Point, Reading, Slot, Value,
};

use super::EmbeddedStore;
use super::directory;
use super::error::{Named, Trouble};
use super::history::{Historic, read_row};
use super::state::{read_head, split_version};
use super::tables;
use super::telemetry::{next_device, read_points};
use crate::keys::after_prefix;
use crate::rows::proto::{self, export_record::Kind};
use crate::rows::{StateKind, Stored, decode, decode_state};
use crate::transfer::{ExportCounts, StreamWriter, TransferError, points_kind};

/// Points of one look into the database: 64 MiB where all of them hold as much as a point may.
const POINTS: usize = 2_048;

/// Bytes after which a record of points takes no further one.
const RECORD_BYTES: usize = 64 << 10;

/// What stops an export.
enum Stop {
    Trouble(Trouble),
    Io(io::Error),
}

impl<E: Into<Trouble>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Trouble(error.into())
    }
}

impl EmbeddedStore {
    /// True when a store is in that directory. [`EmbeddedStore::open`] would make one.
    #[must_use]
    pub fn is_in(dir: &Path) -> bool {
        directory::has_database(dir)
    }

    /// Writes everything out as an export, by a program of that version: what one snapshot holds, with memory for a
    /// page of it. Gives back what was written to.
    ///
    /// # Errors
    /// [`TransferError`] when the store holds something unreadable, or cannot be read or written to. What was written
    /// until then has no end, and nobody takes it.
    pub async fn export<W: Write + Send + 'static>(
        &self,
        out: W,
        version: &str,
    ) -> Result<(W, ExportCounts), TransferError> {
        let version = version.to_owned();
        let written = self
            .list(move |txn| match write_all(txn, out, &version) {
                Ok(written) => Ok(Ok(written)),
                Err(Stop::Io(error)) => Ok(Err(error)),
                Err(Stop::Trouble(trouble)) => Err(trouble),
            })
            .await;
        match written {
            Ok(Ok(written)) => Ok(written),
            Ok(Err(error)) => Err(TransferError::io("write")(error)),
            Err(error) => Err(TransferError::Read(error)),
        }
    }
}

fn write_all<W: Write>(txn: &ReadTransaction, out: W, version: &str) -> Result<(W, ExportCounts), Stop> {
    let mut to = StreamWriter::begin(out, version).map_err(Stop::Io)?;
    write_registry(txn, &mut to)?;
    write_slots(txn, &mut to)?;
    write_history::<Event, W>(txn, &mut to, Kind::Event)?;
    write_history::<Command, W>(txn, &mut to, Kind::Command)?;
    write_history::<Alarm, W>(txn, &mut to, Kind::Alarm)?;
    write_history::<Notification, W>(txn, &mut to, Kind::Notification)?;
    write_telemetry(txn, &mut to)?;
    to.finish().map_err(Stop::Io)
}

fn write_registry<W: Write>(txn: &ReadTransaction, to: &mut StreamWriter<W>) -> Result<(), Stop> {
    for row in txn.open_table(tables::REGISTRY)?.iter()? {
        let (key, value) = row?;
        let name = || format!("registry row {:02x?}", key.value());
        let (_, bytes) =
            split_version(value.value()).ok_or_else(|| Trouble::corrupt(name(), "bytes end too early"))?;
        let row: RegistryRow = decode(bytes).named(name)?;
        to.put(Kind::Registry(row.to_row())).map_err(Stop::Io)?;
    }
    Ok(())
}

fn write_slots<W: Write>(txn: &ReadTransaction, to: &mut StreamWriter<W>) -> Result<(), Stop> {
    let (heads, rows) = (txn.open_table(tables::SLOTS)?, txn.open_table(tables::STATE)?);
    for slot in (0..=u8::MAX).map(Slot) {
        let epoch = read_head(&heads, slot)?.epoch.0;
        to.put(Kind::Slot(proto::ExportSlot { slot: u32::from(slot.0), epoch })).map_err(Stop::Io)?;
        let (first, end) = ([slot.0], after_prefix(&[slot.0]));
        let range = (Bound::Included(&first[..]), end.as_ref().map(Vec::as_slice));
        for row in rows.range::<&[u8]>(range)? {
            let (key, value) = row?;
            let name = || format!("row {:02x?}", key.value());
            let kind = key.value().get(1).copied();
            let known = kind.and_then(StateKind::from_number);
            let known = known.ok_or_else(|| Trouble::corrupt(name(), "of an unknown kind"))?;
            decode_state(known, value.value()).named(name)?;
            let row = proto::ExportState { kind: known as u32, row: value.value().to_vec() };
            to.put(Kind::State(row)).map_err(Stop::Io)?;
        }
    }
    Ok(())
}

fn write_history<T: Historic, W: Write>(
    txn: &ReadTransaction,
    to: &mut StreamWriter<W>,
    kind: fn(T::Row) -> Kind,
) -> Result<(), Stop> {
    for row in txn.open_table(T::ROWS)?.iter()? {
        let (key, value) = row?;
        let (_, item) = read_row::<T>(value.value()).named(|| format!("{} {:02x?}", T::KIND, key.value()))?;
        to.put(kind(item.to_row())).map_err(Stop::Io)?;
    }
    Ok(())
}

/// Points as queries see them: of repeats only the one that holds, so that they may be stored in any order.
fn write_telemetry<W: Write>(txn: &ReadTransaction, to: &mut StreamWriter<W>) -> Result<(), Stop> {
    let mut at: Option<Vec<u8>> = None;
    while let Some(prefix) = next_device(txn, at.as_deref())? {
        let device = read_device(&prefix)
            .ok_or_else(|| Trouble::corrupt(format_args!("telemetry of {prefix:02x?}"), "no device"))?;
        let mut query = PointsQuery {
            device,
            keys: None,
            from: i64::MIN,
            to: i64::MAX,
            after: None,
            limit: POINTS,
            order: Order::Ascending,
        };
        loop {
            let points = read_points(txn, &query)?;
            let Some(last) = points.last() else { break };
            query.after = Some((last.ts, last.key.clone()));
            let is_last = points.len() < POINTS;
            write_points(&query.device, points, to)?;
            if is_last {
                break;
            }
        }
        at = Some(prefix);
    }
    Ok(())
}

fn write_points<W: Write>(
    device: &DeviceKey,
    points: Vec<Point>,
    to: &mut StreamWriter<W>,
) -> Result<(), Stop> {
    let (mut reading, mut bytes) = (Reading { device: device.clone(), points: Vec::new() }, 0);
    for point in points {
        bytes += 32 + point.key.len();
        if let Value::Text(text) | Value::Json(text) = &point.value {
            bytes += text.len();
        }
        reading.points.push(point);
        if bytes >= RECORD_BYTES {
            to.put(points_kind(&reading)).map_err(Stop::Io)?;
            reading.points.clear();
            bytes = 0;
        }
    }
    if reading.points.is_empty() { Ok(()) } else { to.put(points_kind(&reading)).map_err(Stop::Io) }
}

/// The device that `KeyBuilder::of_device` wrote.
fn read_device(prefix: &[u8]) -> Option<DeviceKey> {
    let mut ids = prefix.strip_suffix(&[0])?.split(|byte| *byte == 0);
    let mut id = || std::str::from_utf8(ids.next()?).ok();
    let (organization, device) = (OrganizationId::new(id()?).ok()?, DeviceId::new(id()?).ok()?);
    ids.next().is_none().then(|| DeviceKey::new(organization, device))
}
