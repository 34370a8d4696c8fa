//! What an embedded store holds comes out whole, and a file that is not whole is refused.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/samples.rs"]
mod samples;

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};
use std::path::Path;

use samples::{
    T0, alarm, bare_state_rows, command, event, key, member, notification, number, point, reading,
    state_rows, subscription,
};
use stoker_domain::ports::store::{
    Append, Change, ClaimOutcome, CommitOutcome, RegistryRow, StateRow, Store, SwapOutcome,
};
use stoker_domain::{CommandState, DeviceKey, Slot, SlotEpoch, TokenHash, Value};
use stoker_store::{EmbeddedOptions, EmbeddedStore, ExportFile, ExportReader, ExportRecord, TransferError};

const VERSION: &str = "1.2.3";
/// More than one look into the database brings.
const MANY: i64 = 5_000;

fn open(dir: &Path) -> EmbeddedStore {
    EmbeddedStore::open(dir, EmbeddedOptions { cache_bytes: 1 << 20, ..EmbeddedOptions::default() }).unwrap()
}

fn device() -> DeviceKey {
    key("default", "boiler-7")
}

fn other() -> DeviceKey {
    key("acme", "door:3")
}

/// What was put in, by what an export is to hold.
struct Put {
    registry: Vec<RegistryRow>,
    state: Vec<(Slot, StateRow)>,
    history: Vec<Append>,
    points: BTreeMap<(DeviceKey, i64, String), Value>,
}

async fn fill(store: &EmbeddedStore) -> Put {
    let registry = vec![
        RegistryRow::Token { hash: TokenHash([9; 32]), device: device() },
        RegistryRow::Subscription(subscription("default", "night-shift")),
        RegistryRow::Setting { name: "token_key".into(), value: vec![0, 1, 255] },
    ];
    for row in &registry {
        assert_eq!(store.registry_put(row.clone(), None).await.unwrap(), SwapOutcome::Swapped(1));
    }
    let mut state = Vec::new();
    for (key, rows) in [(device(), state_rows(&device())), (other(), bare_state_rows(&other()))] {
        let slot = key.slot();
        // Taken over more than once, as by restarts.
        for seen in 0..3 {
            let claimed = store.claim(slot, &member("m"), SlotEpoch(seen)).await.unwrap();
            assert_eq!(claimed, ClaimOutcome::Claimed(SlotEpoch(seen + 1)));
        }
        let changes = rows.iter().cloned().map(Change::put).collect();
        assert_eq!(store.commit(slot, SlotEpoch(3), changes).await, CommitOutcome::Committed);
        state.extend(rows.into_iter().map(|row| (slot, row)));
    }
    let alarm = alarm(&device(), 1, 1, T0);
    let history = vec![
        Append::Event(event(&device(), "e-1", T0, "fault")),
        Append::Event(event(&other(), "e-1", T0 + 1, "note")),
        Append::Command(command(&device(), 1, 2, CommandState::Succeeded)),
        Append::Notification(notification(&alarm, 4, T0 + 2)),
        Append::Alarm(alarm),
    ];
    store.append(history.clone()).await.unwrap();
    let great = Value::Json(format!("[{}1]", "1,".repeat(10_000)));
    let mut readings = vec![
        (device(), (0..MANY).map(|n| number("n", T0 + n * 7_000, n as f64)).collect::<Vec<_>>()),
        (other(), (0..100).map(|n| point("config", T0 + n, great.clone())).collect()),
        // Later appends that take others' places, beside points that come before and after.
        (
            device(),
            vec![number("n", T0 - 5, -1.0), number("n", T0, 0.5), number("n", T0 + 7_000 * MANY, 9.0)],
        ),
        (device(), vec![number("n", T0, 0.75), number("m", T0, 1.0)]),
    ];
    readings.push((key("default", "boiler-70"), vec![number("n", T0, 1.0)]));
    let mut points = BTreeMap::new();
    for (device, of) in readings {
        store.append(vec![reading(&device, of.clone())]).await.unwrap();
        points.extend(of.into_iter().map(|p| ((device.clone(), p.ts, p.key.to_string()), p.value)));
    }
    Put { registry, state, history, points }
}

async fn exported() -> (Vec<u8>, Put) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let put = fill(&store).await;
    let (bytes, counts) = store.export(Vec::new(), VERSION).await.unwrap();
    store.close().await;
    assert_eq!(
        counts.total(),
        (put.registry.len() + put.state.len() + put.history.len() + put.points.len()) as u64
    );
    assert_eq!((counts.points, counts.events), (put.points.len() as u64, 2));
    (bytes, put)
}

fn records(bytes: &[u8]) -> Result<Vec<ExportRecord>, TransferError> {
    let mut reader = ExportReader::new(bytes)?;
    assert_eq!(reader.version(), VERSION);
    let mut records = Vec::new();
    while let Some(block) = reader.next_block()? {
        records.extend(block);
    }
    Ok(records)
}

#[tokio::test]
async fn everything_comes_out_as_it_was_put_in() {
    let (bytes, put) = exported().await;
    let (mut registry, mut state, mut history, mut points) = (vec![], vec![], vec![], BTreeMap::new());
    let (mut slot, mut epochs) = (None, BTreeMap::new());
    for record in records(&bytes).unwrap() {
        match record {
            ExportRecord::Registry(row) => registry.push(row),
            ExportRecord::Slot(next, epoch) => {
                assert_eq!(epochs.insert(next, epoch), None, "slot {next} twice");
                slot = Some(next);
            }
            ExportRecord::State(row) => state.push((slot.unwrap(), *row)),
            ExportRecord::Points(reading) => {
                for point in reading.points {
                    let place = (reading.device.clone(), point.ts, point.key.to_string());
                    assert_eq!(points.insert(place, point.value), None, "a point twice");
                }
            }
            ExportRecord::Event(item) => history.push(Append::Event(item)),
            ExportRecord::Command(item) => history.push(Append::Command(item)),
            ExportRecord::Alarm(item) => history.push(Append::Alarm(item)),
            ExportRecord::Notification(item) => history.push(Append::Notification(item)),
        }
    }
    assert_eq!(epochs.len(), 256);
    let taken: HashSet<Slot> = [device().slot(), other().slot()].into();
    for (slot, epoch) in epochs {
        assert_eq!(epoch, SlotEpoch(if taken.contains(&slot) { 3 } else { 0 }));
    }
    let same = |what: &str, found: Vec<String>, put: Vec<String>| {
        let (found, put): (std::collections::BTreeSet<_>, std::collections::BTreeSet<_>) =
            (found.into_iter().collect(), put.into_iter().collect());
        assert_eq!(found, put, "{what}");
    };
    let shown = |items: &[RegistryRow]| items.iter().map(|item| format!("{item:?}")).collect();
    same("registry", shown(&registry), shown(&put.registry));
    let shown = |items: &[(Slot, StateRow)]| items.iter().map(|item| format!("{item:?}")).collect();
    same("state", shown(&state), shown(&put.state));
    let shown = |items: &[Append]| items.iter().map(|item| format!("{item:?}")).collect();
    same("history", shown(&history), shown(&put.history));
    assert_eq!((registry.len(), state.len(), history.len()), (3, put.state.len(), put.history.len()));
    assert_eq!(points.len(), put.points.len());
    assert!(points == put.points, "the points differ");
}

#[tokio::test]
async fn an_empty_store_comes_out_too_and_the_directory_is_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    assert!(!EmbeddedStore::is_in(dir.path()));
    let store = open(dir.path());
    assert!(EmbeddedStore::is_in(dir.path()));
    let (first, counts) = store.export(Vec::new(), VERSION).await.unwrap();
    assert_eq!(counts.total(), 0);
    let (second, _) = store.export(Vec::new(), VERSION).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(records(&first).unwrap().len(), 256, "a record for each slot");
}

#[tokio::test]
async fn a_file_that_is_cut_off_is_refused_wherever_that_is() {
    let (bytes, _) = exported().await;
    // Between two blocks nothing but the missing end tells it.
    let mut ends = vec![8];
    while let Some(head) = bytes.get(*ends.last().unwrap()..).filter(|rest| !rest.is_empty()) {
        let length = u32::from_le_bytes(head[..4].try_into().unwrap()) as usize;
        ends.push(ends.last().unwrap() + 16 + length);
    }
    assert_eq!(ends.pop(), Some(bytes.len()));
    assert!(ends.len() > 3, "{} blocks", ends.len());
    for end in ends.into_iter().chain([9, 20, bytes.len() / 2, bytes.len() - 1]) {
        let refused = records(&bytes[..end]).unwrap_err();
        assert!(
            matches!(refused, TransferError::Truncated { bytes } if bytes == end as u64),
            "{end}: {refused}"
        );
        assert!(refused.to_string().contains("cut off after"), "{refused}");
    }
    for end in [0, 7] {
        assert!(matches!(ExportReader::new(&bytes[..end]), Err(TransferError::NoExport)));
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("export");
    std::fs::write(&file, &bytes).unwrap();
    let checked = ExportFile::check(&file).unwrap();
    assert_eq!((checked.bytes, checked.version.as_str()), (bytes.len() as u64, VERSION));
    std::fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    assert!(matches!(ExportFile::check(&file), Err(TransferError::Truncated { .. })));
    std::fs::write(&file, [&bytes[..], &bytes[8..]].concat()).unwrap();
    assert!(matches!(ExportFile::check(&file), Err(TransferError::Damaged { .. })), "two in one");
}

#[tokio::test]
async fn a_flipped_bit_is_found_wherever_it_is() {
    let (bytes, _) = exported().await;
    let step = bytes.len() / 400 + 1;
    let places = (0..64).chain((64..bytes.len()).step_by(step)).chain(bytes.len() - 64..bytes.len());
    for (bit, place) in places.enumerate() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1 << (bit % 8);
        let refused = records(&damaged).map(|_| ()).unwrap_err();
        let is_clear = match &refused {
            TransferError::NoExport => place < 8,
            TransferError::Damaged { at, .. } => *at <= place as u64,
            // A length that leads beyond the end.
            TransferError::Truncated { .. } => true,
            _ => false,
        };
        assert!(is_clear, "byte {place}: {refused:?}");
    }
}

#[tokio::test]
async fn a_disk_that_is_full_is_told() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for room in [0, 100, 200] {
        let refused = store.export(Full(room), VERSION).await.map(|_| ()).unwrap_err();
        assert!(matches!(refused, TransferError::Io { action: "write", .. }), "{refused:?}");
    }
    assert!(store.healthy());
}
