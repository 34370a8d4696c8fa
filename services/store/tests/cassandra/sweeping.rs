//! Deletions in a slot: Cassandra keeps a trace of each for days, and warns of a read that passes more than a thousand.

use stoker_domain::ports::store::{Change, CommitOutcome, StateKey, StateRow, Store};
use stoker_domain::{CommandState, DeviceKey, Slot};
use stoker_store::{CassandraOptions, CassandraStore};

use super::lab::Lab;
use super::samples::{command, key};
use super::several::{counters, take};

/// Commands come and go; those stay whose number can be divided by `stays`.
async fn live(store: &CassandraStore, device: &DeviceKey, stays: u64) -> Vec<u64> {
    let epoch = take(store, device).await;
    let slot = device.slot();
    let of = |counter| command(device, 1, counter, CommandState::Queued);
    let kept: Vec<u64> = (0..1_500).filter(|n| n % stays == 0).collect();
    let mut commits: Vec<Vec<Change>> = vec![vec![Change::put(counters(device, 1))]];
    for from in (0..1_500).step_by(500) {
        commits.push((from..from + 500).map(|n| Change::put(StateRow::Command(of(n)))).collect());
        let gone = (from..from + 500).filter(|n| !kept.contains(n));
        commits.push(gone.map(|n| Change::Delete(StateKey::Command(of(n).id))).collect());
    }
    for changes in commits {
        assert_eq!(store.commit(slot, epoch, changes).await, CommitOutcome::Committed);
    }
    kept
}

/// What the database complains about when the slot is read.
async fn warnings(lab: &Lab, keyspace: &str, slot: Slot) -> Vec<String> {
    let text = format!("SELECT kind, key, value FROM {keyspace}.slots WHERE slot = {}", slot.0);
    let result = lab.session().await.query_unpaged(text, ()).await.unwrap();
    result.warnings().map(str::to_owned).collect()
}

pub(crate) async fn deletions_leave_no_more_than_the_database_is_willing_to_read_past(lab: &Lab) {
    let keyspace = lab.fresh_keyspace();
    // Few that stay, and many: then there are many gaps in which something was deleted.
    for (after, stays, swept) in [(usize::MAX, 700, false), (400, 700, true), (400, 5, true)] {
        let options = CassandraOptions { sweep_after: after, ..lab.options_of(&keyspace) };
        let store = CassandraStore::open(options).await.unwrap();
        let device = key("sweep", &format!("{after}-{stays}"));
        let kept = live(&store, &device, stays).await;
        assert_eq!(store.stats().swept > 0, swept);
        let warnings = warnings(lab, &keyspace, device.slot()).await;
        assert_eq!(warnings.is_empty(), swept, "{warnings:?}");
        let rows = store.load(device.slot()).await.unwrap();
        let commands: Vec<u64> = rows
            .iter()
            .filter_map(|row| match row {
                StateRow::Command(command) => Some(command.id.0.counter),
                _ => None,
            })
            .collect();
        assert_eq!((rows.len(), commands), (kept.len() + 1, kept));
        assert_eq!(store.stats().sweeps_failed, 0);
    }
}
