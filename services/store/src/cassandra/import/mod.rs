//! Taking an export in: into a keyspace with nothing in it, by a member that owns all slots until everything is there.
//!
//! All of it may be done twice: history is appended, rows of slots are put, rows of the registry are there or not. So an
//! import that was cut off is begun anew with the same file. A setting says whose file is half in the keyspace.
//!
//! Nobody else takes a slot while the setting says so: who is about to looks at it, and then claims on the condition that
//! the slot is as it was seen. One that looked before the setting was there may claim before the import does, which then
//! claims after it; the slot's epoch decides, and the next look finds the setting.

mod feed;
mod slots;
mod write;

use std::time::Duration;

use stoker_domain::ownership::SlotRange;
use stoker_domain::ports::store::{
    ClaimOutcome, RegistryKey, RegistryRow, Store, StoreError, SwapOutcome, Version,
};
use stoker_domain::{MemberId, MemberRole, MemberRow, Slot, SlotEpoch};

use super::stamps::now_us;
use super::{CassandraStore, FIRST_PAUSE, spread};
use crate::transfer::{ExportFile, TransferError};

/// The name of the setting that stands while an import is under way: checksum, blank, phase.
const SETTING: &str = "import";
const FILLING: &str = "filling";
const FILLED: &str = "filled";

/// How often one request is tried, and the longest pause between two tries.
const TRIES: u32 = 10;
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How often the member says that it lives.
const BEAT_EVERY: Duration = Duration::from_secs(1);

/// How long its row lasts when it is over: nobody is asked for less.
const GOODBYE: Duration = Duration::from_secs(1);

/// Buckets of tokens that are looked into at once.
const AT_ONCE: usize = 32;

/// How far an import has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImportProgress {
    /// Rows, points and items that are in the keyspace.
    pub records: u64,
    /// Bytes of the file that were read.
    pub bytes: u64,
}

/// Tries again, later and later, what may pass.
async fn again<T>(
    action: &'static str,
    mut what: impl AsyncFnMut() -> Result<T, StoreError>,
) -> Result<T, TransferError> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..TRIES {
        match what().await {
            Ok(value) => return Ok(value),
            Err(error @ StoreError::Corrupt(_)) => return Err(TransferError::store(action)(error)),
            Err(error) => tracing::warn!(%error, "{action}: tried again"),
        }
        tokio::time::sleep(pause + spread(pause)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
    what().await.map_err(TransferError::store(action))
}

impl CassandraStore {
    /// Takes everything in that the file holds. The keyspace has to be empty, or to hold a part of the same file, and no
    /// core may be at work. `told` hears how far it is.
    ///
    /// # Errors
    /// [`TransferError`], which says what to do. Begun again with the same file, it goes on.
    pub async fn import(
        &self,
        file: &ExportFile,
        told: impl FnMut(ImportProgress) + Send,
    ) -> Result<(), TransferError> {
        let name = format!("import-{}", file.checksum.get(..16).unwrap_or_default());
        let member = MemberId::new(&name)
            .map_err(|error| TransferError::Damaged { at: 0, what: error.to_string() })?;
        self.no_core_runs(&member).await?;
        let (version, phase) = self.begin_import(file, &member).await?;
        tokio::select! {
            done = Box::pin(self.fill(file, &member, version, phase, told)) => done?,
            never = self.live(&member) => match never {},
        }
        // Cores are not to look for it any longer.
        let last = beat(&member, now_us());
        again("say that the import is over", async || self.put_member_for(&last, GOODBYE).await).await
    }

    async fn fill(
        &self,
        file: &ExportFile,
        member: &MemberId,
        mut version: Version,
        phase: &'static str,
        told: impl FnMut(ImportProgress) + Send,
    ) -> Result<(), TransferError> {
        if phase == FILLING {
            // Before it owns anything: whose owner is not known to live is taken over.
            let row = beat(member, now_us());
            again("say that the import is under way", async || self.put_member(&row).await).await?;
            let epochs = self.take_slots(file, member).await?;
            self.feed(file, &epochs, told).await?;
            let row = setting(file, FILLED);
            match again("say that all is there", async || self.put_registry(&row, Some(version)).await)
                .await?
            {
                SwapOutcome::Swapped(next) => version = next,
                // Said by the try before, whose answer was lost.
                SwapOutcome::Conflict(found) => version = found.unwrap_or(version),
            }
        }
        self.release_slots(member).await?;
        let key = RegistryKey::Setting(SETTING.to_owned());
        again("end the import", async || self.delete_registry(&key, version).await).await.map(drop)
    }

    /// Whose import is under way: its setting's version, and how far it is. Begins it, where none is.
    async fn begin_import(
        &self,
        file: &ExportFile,
        member: &MemberId,
    ) -> Result<(Version, &'static str), TransferError> {
        const ACTION: &str = "look for an import that was cut off";
        let key = RegistryKey::Setting(SETTING.to_owned());
        let mut found = again(ACTION, async || self.get_registry(&key).await).await?;
        if found.is_none() {
            self.is_empty(member).await?;
            let row = setting(file, FILLING);
            let begun = again("begin the import", async || self.put_registry(&row, None).await).await?;
            // One that has come since may have looked before the setting was there.
            if let (SwapOutcome::Swapped(version), Err(error)) = (begun, self.no_core_runs(member).await) {
                again("give the import up", async || self.delete_registry(&key, version).await).await?;
                return Err(error);
            }
            // Whoever was first has begun it.
            found = again(ACTION, async || self.get_registry(&key).await).await?;
        }
        let (text, version) = match found {
            Some((RegistryRow::Setting { value, .. }, version)) => (value, version),
            _ => (Vec::new(), 0),
        };
        let text = String::from_utf8_lossy(&text).into_owned();
        match text.split_once(' ') {
            Some((checksum, FILLING)) if checksum == file.checksum => Ok((version, FILLING)),
            Some((checksum, FILLED)) if checksum == file.checksum => Ok((version, FILLED)),
            other => Err(TransferError::OtherImport {
                keyspace: self.options.keyspace.clone(),
                other: other.map_or("unknown", |(checksum, _)| checksum).to_owned(),
            }),
        }
    }

    /// Refuses a keyspace into which a file was taken by half: what is missing would be missing for ever once a core has
    /// worked on it.
    ///
    /// # Errors
    /// [`TransferError::Unfinished`], which says what to do, or that the database did not answer.
    pub async fn holds_no_half(&self) -> Result<(), TransferError> {
        match again("look for an import that was cut off", async || self.half_import().await).await? {
            None => Ok(()),
            Some(checksum) => Err(self.unfinished(checksum)),
        }
    }

    fn unfinished(&self, checksum: String) -> TransferError {
        TransferError::Unfinished { keyspace: self.options.keyspace.clone(), checksum }
    }

    /// The checksum of the file that is half in the keyspace.
    async fn half_import(&self) -> Result<Option<String>, StoreError> {
        let found = self.get_registry(&RegistryKey::Setting(SETTING.to_owned())).await?;
        let Some((RegistryRow::Setting { value, .. }, _)) = found else { return Ok(None) };
        let text = String::from_utf8_lossy(&value);
        // What a later version may say is not known to be whole.
        let (checksum, phase) = text.split_once(' ').unwrap_or((&text, FILLING));
        Ok((phase != FILLED).then(|| checksum.to_owned()))
    }

    /// Takes a slot over for somebody who works on it, unless the keyspace holds half an import.
    pub(in crate::cassandra) async fn claim_whole(
        &self,
        slot: Slot,
        owner: &MemberId,
        seen: SlotEpoch,
    ) -> Result<ClaimOutcome, StoreError> {
        match self.half_import().await? {
            None => self.claim_slot(slot, owner, seen).await,
            Some(checksum) => Err(StoreError::Failed(self.unfinished(checksum).to_string())),
        }
    }

    async fn no_core_runs(&self, member: &MemberId) -> Result<(), TransferError> {
        let members = again("look for cores", async || self.members().await).await?;
        let is_at_work = |row: &MemberRow| row.role == MemberRole::Core && !row.leaving && row.id != *member;
        match members.into_iter().find(is_at_work) {
            None => Ok(()),
            Some(row) => Err(TransferError::CoresRun {
                keyspace: self.options.keyspace.clone(),
                member: row.id,
                address: row.address,
            }),
        }
    }

    /// Refuses a keyspace with anything in it that an import could meet.
    async fn is_empty(&self, member: &MemberId) -> Result<(), TransferError> {
        let full =
            |what: String| Err(TransferError::NotEmpty { keyspace: self.options.keyspace.clone(), what });
        for slot in (0..=u8::MAX).map(Slot) {
            if let Some(row) = self.first_row(slot, member).await? {
                return full(row);
            }
        }
        let subscriptions = again("look for subscriptions", async || self.list_subscriptions().await).await?;
        if let Some((found, _)) = subscriptions.first() {
            return full(format!("the subscription {:?}", found.name));
        }
        if again("look for tokens", async || self.has_token(AT_ONCE).await).await? {
            return full("tokens of devices".to_owned());
        }
        Ok(())
    }

    /// Says again and again that this member lives, so that cores wait for its slots.
    async fn live(&self, member: &MemberId) -> std::convert::Infallible {
        let began = now_us();
        let mut every = tokio::time::interval(BEAT_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            let row = beat(member, began);
            if let Err(error) = self.put_member(&row).await {
                tracing::warn!(%error, "nobody hears that the import is under way");
            }
        }
    }
}

/// The row of a member that began so many microseconds after the epoch, and takes nothing more.
fn beat(member: &MemberId, began: i64) -> MemberRow {
    MemberRow {
        id: member.clone(),
        role: MemberRole::Core,
        address: String::new(),
        host: "stoker data import".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        slots: Some(SlotRange::ALL),
        sessions: 0,
        leaving: true,
        started_at: began / 1_000,
        beat: now_us().cast_unsigned(),
    }
}

fn setting(file: &ExportFile, phase: &str) -> RegistryRow {
    let value = format!("{} {phase}", file.checksum).into_bytes();
    RegistryRow::Setting { name: SETTING.to_owned(), value }
}

/// What to call a row of the registry in errors, without showing what is secret.
fn registry_name(row: &RegistryRow) -> String {
    match row {
        RegistryRow::Token { device, .. } => format!("a token of {device}"),
        RegistryRow::Subscription(row) => format!("the subscription {:?}", row.name),
        RegistryRow::Setting { name, .. } => format!("the setting {name}"),
    }
}
