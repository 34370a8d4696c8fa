//! Every statement, prepared once.

use scylla::client::session::Session;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;

use super::connect::never_again;
use super::error::{CassandraError, Place};

/// Rows that one page of an answer holds.
const PAGE: i32 = 1_000;

macro_rules! statements {
    ($($(#[$doc:meta])* $kind:ident $name:ident = $text:expr;)+) => {
        /// Every statement.
        #[derive(Debug)]
        pub(super) struct Statements {
            $($(#[$doc])* pub(super) $name: PreparedStatement),+
        }

        impl Statements {
            /// Prepares all of them.
            pub(super) async fn prepare(session: &Session, place: &Place) -> Result<Self, CassandraError> {
                Ok(Self {
                    $($name: prepare(session, place, Kind::$kind, $text).await?),+
                })
            }
        }
    };
}

/// What may be done with a statement.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// May be sent again.
    Read,
    /// Sees every conditional write that has ended, and ends those that have not.
    SerialRead,
    /// May be sent again: its timestamp is ours.
    Write,
    /// Is never sent twice.
    Conditional,
}

async fn prepare(
    session: &Session,
    place: &Place,
    kind: Kind,
    text: &str,
) -> Result<PreparedStatement, CassandraError> {
    // Boxed: the driver's future is large, and there are dozens of these.
    let mut statement = Box::pin(session.prepare(text))
        .await
        .map_err(|error| place.request(format!("prepare `{text}`"), error))?;
    statement.set_page_size(PAGE);
    match kind {
        Kind::Read | Kind::Write => statement.set_is_idempotent(true),
        Kind::SerialRead => {
            statement.set_is_idempotent(true);
            statement.set_consistency(Consistency::LocalSerial);
        }
        Kind::Conditional => statement.set_retry_policy(Some(never_again())),
    }
    Ok(statement)
}

statements! {
    SerialRead slot_head = "SELECT DISTINCT slot, epoch, owner FROM slots WHERE slot = ?";
    SerialRead slot_load = "SELECT kind, key, value FROM slots WHERE slot = ?";
    /// Keys of the rows that come and go.
    SerialRead slot_keys = "SELECT kind, key FROM slots WHERE slot = ? AND kind >= ?";
    Conditional slot_first_claim = "UPDATE slots SET epoch = ?, owner = ? WHERE slot = ? IF epoch = null";
    Conditional slot_claim = "UPDATE slots SET epoch = ?, owner = ? WHERE slot = ? IF epoch = ?";
    Conditional slot_release = "UPDATE slots SET owner = null WHERE slot = ? IF epoch = ?";
    /// The condition of every commit.
    Conditional slot_guard = "UPDATE slots SET epoch = ? WHERE slot = ? IF epoch = ?";
    Conditional slot_put = "INSERT INTO slots (slot, kind, key, value) VALUES (?, ?, ?, ?)";
    Conditional slot_delete = "DELETE FROM slots WHERE slot = ? AND kind = ? AND key = ?";
    Conditional slot_delete_between =
        "DELETE FROM slots WHERE slot = ? AND kind = ? AND key > ? AND key < ?";

    Read registry_get = "SELECT version, value FROM registry WHERE kind = ? AND bucket = ? AND key = ?";
    Read registry_list = "SELECT key, version, value FROM registry WHERE kind = ? AND bucket = ?";
    Conditional registry_insert =
        "INSERT INTO registry (kind, bucket, key, version, value) VALUES (?, ?, ?, ?, ?) IF NOT EXISTS";
    Conditional registry_update =
        "UPDATE registry SET version = ?, value = ? WHERE kind = ? AND bucket = ? AND key = ? IF version = ?";
    Conditional registry_delete =
        "DELETE FROM registry WHERE kind = ? AND bucket = ? AND key = ? IF version = ?";

    Write member_put = "INSERT INTO members (part, id, value) VALUES (?, ?, ?) USING TTL ?";
    Read members = "SELECT id, value FROM members WHERE part = ?";

    Write point_put = "UPDATE points USING TTL ? SET value = ? \
        WHERE organization = ? AND device = ? AND day = ? AND key = ? AND ts = ?";
    Read points_descending = "SELECT ts, value FROM points \
        WHERE organization = ? AND device = ? AND day = ? AND key = ? AND ts >= ? AND ts <= ? LIMIT ?";
    Read points_ascending = "SELECT ts, value FROM points \
        WHERE organization = ? AND device = ? AND day = ? AND key = ? AND ts >= ? AND ts <= ? \
        ORDER BY key DESC, ts ASC LIMIT ?";
    Write points_forget = "DELETE FROM points USING TIMESTAMP ? \
        WHERE organization = ? AND device = ? AND day = ?";
    Write point_key_put = "INSERT INTO point_keys (organization, device, day, key) VALUES (?, ?, ?, ?) \
        USING TTL ?";
    Read point_keys = "SELECT key FROM point_keys WHERE organization = ? AND device = ? AND day = ? LIMIT ?";

    /// Shares a batch with points.
    Write newest_put = "UPDATE newest USING TIMESTAMP ? AND TTL ? SET value = ? \
        WHERE organization = ? AND device = ? AND day = ? AND key = ? AND week = ?";
    Read newest = "SELECT key, value FROM newest WHERE organization = ? AND device = ? AND day = ?";
    Write newest_forget = "DELETE FROM newest USING TIMESTAMP ? \
        WHERE organization = ? AND device = ? AND day = ?";

    Write latest_day_put = "UPDATE latest USING TIMESTAMP ? AND TTL ? SET day = ? \
        WHERE organization = ? AND device = ? AND key = ? AND week = ?";
    Read latest = "SELECT key, forgotten, day, value FROM latest WHERE organization = ? AND device = ?";
    Write latest_forget = "DELETE FROM latest USING TIMESTAMP ? WHERE organization = ? AND device = ?";
    Write latest_mark = "UPDATE latest USING TIMESTAMP ? AND TTL ? SET forgotten = ? \
        WHERE organization = ? AND device = ?";

    Write bucket_put = "INSERT INTO buckets (list, owner, bucket) VALUES (?, ?, ?) USING TTL ?";
    Read buckets_descending = "SELECT bucket FROM buckets \
        WHERE list = ? AND owner = ? AND bucket >= ? AND bucket <= ? LIMIT ?";
    Read buckets_ascending = "SELECT bucket FROM buckets \
        WHERE list = ? AND owner = ? AND bucket >= ? AND bucket <= ? ORDER BY bucket ASC LIMIT ?";

    Conditional event_put = "INSERT INTO events (organization, device, shard, id, value) \
        VALUES (?, ?, ?, ?, ?) IF NOT EXISTS USING TTL ?";
    SerialRead events_get = "SELECT id, value, TTL(value) FROM events \
        WHERE organization = ? AND device = ? AND shard = ? AND id IN ?";
    Conditional events_mark = "UPDATE events USING TTL ? SET forgotten = ? \
        WHERE organization = ? AND device = ? AND shard = ? IF forgotten != ?";
    Conditional events_forget = "DELETE FROM events \
        WHERE organization = ? AND device = ? AND shard = ? AND id > ''";

    Write item_put = "INSERT INTO items (kind, id, value) VALUES (?, ?, ?) USING TTL ?";
    Read item_get = "SELECT value, WRITETIME(value) FROM items WHERE kind = ? AND id = ?";
    Write item_delete = "DELETE FROM items WHERE kind = ? AND id = ?";

    Write entry_put = "INSERT INTO lists (list, owner, bucket, place, facts, value) \
        VALUES (?, ?, ?, ?, ?, ?) USING TTL ?";
    Read entries = "SELECT place, facts, value FROM lists \
        WHERE list = ? AND owner = ? AND bucket = ? AND place >= ? AND place < ? LIMIT ?";
    Write entry_delete = "DELETE FROM lists WHERE list = ? AND owner = ? AND bucket = ? AND place = ?";
}
