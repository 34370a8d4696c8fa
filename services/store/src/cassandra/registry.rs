//! The registry: single rows that change by compare-and-swap on a version.

use futures_util::stream::{self, StreamExt, TryStreamExt};
use stoker_domain::Subscription;
use stoker_domain::ports::store::{RegistryKey, RegistryRow, StoreError, SwapOutcome, Version};
use xxhash_rust::xxh3::xxh3_64;

use super::CassandraStore;
use super::error::corrupt;
use super::request::Applied;
use crate::keys::{REGISTRY_SUBSCRIPTION, registry_key};
use crate::rows::{decode, encode};

/// Over how many partitions the rows of one kind are spread, by a hash of their key. Never changed: it is where the
/// rows are. Few, as those of a kind may be listed; tokens, of which there are many, have most.
fn buckets(kind: u8) -> u64 {
    match kind {
        REGISTRY_TOKEN => 4_096,
        _ => 16,
    }
}

/// First byte of a token's registry key.
const REGISTRY_TOKEN: u8 = 1;

/// Buckets read at once when a kind is listed.
const AT_ONCE: usize = 8;

/// Where a row is.
struct Spot {
    kind: i8,
    bucket: i16,
    key: Vec<u8>,
}

impl Spot {
    fn of(key: &RegistryKey) -> Self {
        let key = registry_key(key);
        let kind = key.first().copied().unwrap_or_default();
        let bucket = xxh3_64(&key) % buckets(kind);
        // Both are small by what they are made from.
        Self { kind: kind.cast_signed(), bucket: i16::try_from(bucket).unwrap_or_default(), key }
    }
}

impl CassandraStore {
    pub(super) async fn get_registry(
        &self,
        key: &RegistryKey,
    ) -> Result<Option<(RegistryRow, Version)>, StoreError> {
        const ACTION: &str = "read a registry row";
        let spot = Spot::of(key);
        let values = (spot.kind, spot.bucket, &spot.key);
        let rows = self.read(ACTION, &self.statements.registry_get, values).await?;
        let row = rows.maybe_first_row::<(Option<i64>, Option<&[u8]>)>();
        match row.map_err(|error| self.place.odd(ACTION, error))? {
            Some((Some(version), Some(value))) => {
                let name = || format!("registry row {:02x?}", spot.key);
                let row: RegistryRow = decode(value).map_err(|error| corrupt(name(), &error))?;
                if row.key() != *key {
                    return Err(StoreError::Corrupt(format!("{}: holds another row", name())));
                }
                Ok(Some((row, version.cast_unsigned())))
            }
            _ => Ok(None),
        }
    }

    pub(super) async fn list_subscriptions(&self) -> Result<Vec<(Subscription, Version)>, StoreError> {
        const ACTION: &str = "read the subscriptions";
        let buckets = i16::try_from(buckets(REGISTRY_SUBSCRIPTION)).unwrap_or_default();
        let lists: Vec<Vec<(Subscription, Version)>> = stream::iter(0..buckets)
            .map(async |bucket| {
                let (mut found, values) = (Vec::new(), (REGISTRY_SUBSCRIPTION.cast_signed(), bucket));
                self.read_all(ACTION, &self.statements.registry_list, values, |page| {
                    type Columns<'a> = (&'a [u8], Option<i64>, Option<&'a [u8]>);
                    for row in page.rows::<Columns<'_>>().map_err(|error| self.place.odd(ACTION, error))? {
                        let (key, version, value) = row.map_err(|error| self.place.odd(ACTION, error))?;
                        let (Some(version), Some(value)) = (version, value) else { continue };
                        let name = || format!("registry row {key:02x?}");
                        match decode(value).map_err(|error| corrupt(name(), &error))? {
                            RegistryRow::Subscription(row) => found.push((row, version.cast_unsigned())),
                            _ => return Err(StoreError::Corrupt(format!("{}: no subscription", name()))),
                        }
                    }
                    Ok(())
                })
                .await?;
                Ok::<_, StoreError>(found)
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        let mut all: Vec<_> = lists.into_iter().flatten().collect();
        all.sort_by(|(a, _), (b, _)| (&a.organization, &a.id).cmp(&(&b.organization, &b.id)));
        Ok(all)
    }

    /// True when there is any token. Looks into so many buckets at once.
    pub(super) async fn has_token(&self, at_once: usize) -> Result<bool, StoreError> {
        const ACTION: &str = "look for tokens";
        let buckets = i16::try_from(buckets(REGISTRY_TOKEN)).unwrap_or_default();
        stream::iter(0..buckets)
            .map(async |bucket| {
                let values = (REGISTRY_TOKEN.cast_signed(), bucket);
                let mut found = false;
                self.read_all(ACTION, &self.statements.registry_list, values, |page| {
                    found |= page.rows_num() > 0;
                    Ok(())
                })
                .await?;
                Ok::<_, StoreError>(found)
            })
            .buffer_unordered(at_once)
            .try_fold(false, async |any, found| Ok(any || found))
            .await
    }

    pub(super) async fn put_registry(
        &self,
        row: &RegistryRow,
        expected: Option<Version>,
    ) -> Result<SwapOutcome, StoreError> {
        const ACTION: &str = "write a registry row";
        let (spot, value) = (Spot::of(&row.key()), encode(row));
        let version = expected.unwrap_or(0) + 1;
        let _turn = self.turn(&self.control).await?;
        let applied = match expected {
            None => {
                let values = (spot.kind, spot.bucket, &spot.key, version.cast_signed(), value);
                self.conditional(ACTION, &self.statements.registry_insert, values, "version").await?
            }
            Some(expected) => {
                let (version, expected) = (version.cast_signed(), expected.cast_signed());
                let values = (version, value, spot.kind, spot.bucket, &spot.key, expected);
                self.conditional(ACTION, &self.statements.registry_update, values, "version").await?
            }
        };
        Ok(swapped(&applied, version))
    }

    pub(super) async fn delete_registry(
        &self,
        key: &RegistryKey,
        expected: Version,
    ) -> Result<SwapOutcome, StoreError> {
        let spot = Spot::of(key);
        let values = (spot.kind, spot.bucket, &spot.key, expected.cast_signed());
        let _turn = self.turn(&self.control).await?;
        let statement = &self.statements.registry_delete;
        let applied = self.conditional("remove a registry row", statement, values, "version").await?;
        Ok(swapped(&applied, 0))
    }
}

fn swapped(applied: &Applied, version: Version) -> SwapOutcome {
    match applied {
        Applied::Yes => SwapOutcome::Swapped(version),
        Applied::No(found) => SwapOutcome::Conflict(found.map(i64::cast_unsigned)),
    }
}

#[cfg(test)]
mod tests {
    use stoker_domain::TokenHash;

    use super::*;

    /// These numbers are where rows are in clusters: a change of hash or of a number of buckets must fail here.
    #[test]
    fn a_rows_bucket_never_changes() {
        let setting = Spot::of(&RegistryKey::Setting("token_key".into()));
        assert_eq!((setting.kind, setting.bucket), (3, 9));
        let token = Spot::of(&RegistryKey::Token(TokenHash([7; 32])));
        assert_eq!((token.kind, token.bucket), (1, 3_789));
        assert_eq!((buckets(1), buckets(2), buckets(3), buckets(4)), (4_096, 16, 16, 16));
    }
}
