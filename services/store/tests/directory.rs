//! A data directory is made, locked, checked and refused as it says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code)]
#[path = "support/samples.rs"]
mod samples;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use redb::{Database, TableDefinition};
use stoker_domain::ports::store::{RegistryKey, RegistryRow, Store, StoreError, SwapOutcome};
use stoker_domain::{SLOT_COUNT, SLOT_HASH_NAME, Slot};
use stoker_store::{EmbeddedOptions, EmbeddedStore, FORMAT_VERSION, OpenError};

fn open(dir: &Path) -> Result<EmbeddedStore, OpenError> {
    EmbeddedStore::open(dir, EmbeddedOptions { cache_bytes: 1 << 20, ..EmbeddedOptions::default() })
}

fn refusal(dir: &Path) -> String {
    open(dir).expect_err("it must not open").to_string()
}

/// Writes a row of `meta`, or of another table, behind the store's back.
fn tamper(dir: &Path, table: &str, key: &[u8], value: &[u8]) {
    let database = Database::open(dir.join("stoker.redb")).unwrap();
    let txn = database.begin_write().unwrap();
    txn.open_table(TableDefinition::<&[u8], &[u8]>::new(table)).unwrap().insert(key, value).unwrap();
    txn.commit().unwrap();
}

#[test]
fn a_directory_is_made_for_its_owner_only_and_says_its_version() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("a/b");
    let store = open(&dir).unwrap();
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(dir.join("stoker.redb")).unwrap().permissions().mode() & 0o777, 0o600);
    let version = fs::read_to_string(dir.join("VERSION")).unwrap();
    assert_eq!(version, format!("stoker {FORMAT_VERSION}\nslots {SLOT_COUNT}\nslot-hash {SLOT_HASH_NAME}\n"));
    let pid = fs::read_to_string(dir.join("stoker.lock")).unwrap();
    assert_eq!(pid.trim(), std::process::id().to_string());
    assert!(!dir.join("stoker.redb.new").exists());
    drop(store);
}

#[tokio::test]
async fn what_was_stored_is_there_when_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let row = RegistryRow::Setting { name: "n".into(), value: vec![1] };
    let store = open(dir.path()).unwrap();
    assert_eq!(store.registry_put(row.clone(), None).await.unwrap(), SwapOutcome::Swapped(1));
    store.close().await;
    let store = open(dir.path()).unwrap();
    assert_eq!(store.registry_get(&row.key()).await.unwrap(), Some((row, 1)));
    // Dropped, not closed: as good.
    drop(store);
    drop(open(dir.path()).unwrap());
}

#[tokio::test]
async fn a_second_process_is_refused_with_the_pid_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let why = refusal(dir.path());
    let pid = std::process::id();
    assert!(why.contains(&format!("is used by another process (pid {pid})")), "{why}");
    assert!(why.contains("--data-dir"), "{why}");
    store.close().await;
    drop(open(dir.path()).unwrap());
}

#[test]
fn what_is_no_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"x").unwrap();
    assert!(matches!(open(&file), Err(OpenError::NotADirectory(_))));
    let why = refusal(&file.join("below"));
    assert!(why.starts_with("failed to create"), "{why}");
    let why = refusal(Path::new("/proc/stoker-cannot-be-here"));
    assert!(why.starts_with("failed to create /proc/stoker-cannot-be-here"), "{why}");
}

#[test]
fn a_newer_format_is_refused_with_both_versions() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    // The text alone, then the database alone.
    let version = dir.path().join("VERSION");
    let text = fs::read_to_string(&version).unwrap();
    fs::write(&version, text.replace("stoker 1", "stoker 2")).unwrap();
    let why = refusal(dir.path());
    assert!(why.contains("has format 2, this version knows formats up to 1"), "{why}");
    fs::write(&version, &text).unwrap();
    drop(open(dir.path()).unwrap());
    tamper(dir.path(), "meta", b"format", &7u32.to_be_bytes());
    let why = refusal(dir.path());
    assert!(why.contains("has format 7, this version knows formats up to 1"), "{why}");
}

#[test]
fn other_slots_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let version = dir.path().join("VERSION");
    let text = fs::read_to_string(&version).unwrap();
    fs::write(&version, text.replace("slots 256", "slots 64")).unwrap();
    let why = refusal(dir.path());
    assert!(why.contains("slot count 64, this version uses 256"), "{why}");
    fs::write(&version, &text).unwrap();
    tamper(dir.path(), "meta", b"slot_hash", b"md5");
    let why = refusal(dir.path());
    assert!(why.contains("slot hash md5, this version uses xxh3"), "{why}");
}

#[test]
fn a_crash_before_version_was_written_is_made_good() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    fs::remove_file(dir.path().join("VERSION")).unwrap();
    drop(open(dir.path()).unwrap());
    assert!(dir.path().join("VERSION").exists());
}

#[test]
fn a_database_that_was_never_finished_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("stoker.redb.new"), b"half of something").unwrap();
    drop(open(dir.path()).unwrap());
    assert!(!dir.path().join("stoker.redb.new").exists());
}

#[test]
fn a_damaged_database_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let file = dir.path().join("stoker.redb");
    let good = fs::read(&file).unwrap();
    let mut scratched = good.clone();
    for byte in scratched.iter_mut().skip(64).step_by(97) {
        *byte ^= 0x5a;
    }
    let damages = [
        ("garbage", vec![0x42; 100_000]),
        ("nothing", Vec::new()),
        ("a part", good[..good.len() / 3].to_vec()),
        ("scratches", scratched),
    ];
    for (name, bytes) in damages {
        fs::write(&file, &bytes).unwrap();
        let error = open(dir.path()).expect_err(name);
        assert!(matches!(error, OpenError::Damaged { .. }), "{name}: {error:?}");
        let why = error.to_string();
        assert!(why.contains("is damaged") && why.contains("backup"), "{name}: {why}");
        if name == "garbage" {
            assert_eq!(fs::read(&file).unwrap(), bytes, "{name} is not written over");
        }
    }
    fs::remove_file(&file).unwrap();
    let why = refusal(dir.path());
    assert!(why.contains("it has a VERSION but no stoker.redb"), "{why}");
    fs::write(&file, good).unwrap();
    fs::write(dir.path().join("VERSION"), b"\xff\xfe").unwrap();
    let why = refusal(dir.path());
    assert!(why.contains("VERSION cannot be read"), "{why}");
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_an_error_that_names_it_and_no_end() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let prefix = b"o\0d\0";
    tamper(dir.path(), "state", b"\x05\x01o\0d\0", b"\xff\xff");
    tamper(dir.path(), "state", b"\x06\x63o\0d\0", b"");
    tamper(dir.path(), "slots", b"\x07", b"\xff");
    tamper(dir.path(), "registry", b"\x03n", b"\0\0\0\0\0\0\0\x01\xff");
    tamper(dir.path(), "latest", prefix, b"\x09");
    let store = open(dir.path()).unwrap();
    let corrupt = |error: StoreError, what: &str| {
        let StoreError::Corrupt(why) = error else { panic!("{error}") };
        assert!(why.contains(what), "{why}");
    };
    corrupt(store.load(Slot(5)).await.unwrap_err(), "of slot 5: device row:");
    corrupt(store.load(Slot(6)).await.unwrap_err(), "of an unknown kind");
    corrupt(store.head(Slot(7)).await.unwrap_err(), "head of slot 7");
    let setting = RegistryKey::Setting("n".into());
    corrupt(store.registry_get(&setting).await.unwrap_err(), "registry row:");
    let device = samples::key("o", "d");
    corrupt(store.latest(&device, None).await.unwrap_err(), "newest points of o/d");
    // The neighbours in one transaction are not held up by it.
    let other = samples::key("o", "e");
    let point = samples::number("t", samples::T0, 1.0);
    let (bad, good) = tokio::join!(
        store.append(vec![samples::reading(&device, vec![point.clone()])]),
        store.append(vec![samples::reading(&other, vec![point])]),
    );
    corrupt(bad.unwrap_err(), "newest points of o/d");
    good.unwrap();
    assert_eq!(store.latest(&other, None).await.unwrap().len(), 1);
    assert!(store.healthy());
}
