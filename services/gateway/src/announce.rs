//! Owners of slots hear of the sessions that are held here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::Mutex;
use prost::Message;
use stoker_domain::machine::HeldSession;
use stoker_domain::model::{Slot, SlotEpoch};
use stoker_link::Channel;
use stoker_proto::convert;
use stoker_proto::core::v1::AnnounceSessionsRequest;
use stoker_proto::core::v1::gateway_service_client::GatewayServiceClient;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::shared::Shared;

/// A core may take so long to hear of the sessions of one slot.
const ANNOUNCE_WITHIN: Duration = Duration::from_secs(5);
/// Connections say within this time what they hold; one that does not is asked again.
const TELL_WITHIN: Duration = Duration::from_secs(1);
/// Sessions in one announcement, and their bytes: wills may be large, and the owner may have to write them.
const SESSIONS_AT_ONCE: usize = 1_000;
const BYTES_AT_ONCE: usize = 1 << 20;
/// Slots told of at once.
const AT_ONCE: usize = 16;

/// In which epoch of each slot its owner has heard of the sessions here.
#[derive(Debug, Default)]
pub(crate) struct Announced(Mutex<BTreeMap<Slot, SlotEpoch>>);

impl Announced {
    /// A session was granted in that epoch. If a newer owner has been told of the others already, it does not know this
    /// one.
    pub(crate) fn granted(&self, slot: Slot, epoch: SlotEpoch) {
        let mut announced = self.0.lock();
        if announced.get(&slot).is_some_and(|told| *told > epoch) {
            announced.remove(&slot);
        }
    }

    /// Orders may have been lost: all owners are to hear of all sessions, and say again what they want of them.
    pub(crate) fn forget(&self) {
        self.0.lock().clear();
    }

    pub(crate) fn is_due(&self, slot: Slot, epoch: SlotEpoch) -> bool {
        self.0.lock().get(&slot).is_none_or(|told| *told < epoch)
    }

    fn told(&self, slot: Slot, epoch: SlotEpoch) {
        self.0.lock().insert(slot, epoch);
    }

    /// It was not told after all.
    fn failed(&self, slot: Slot, epoch: SlotEpoch) {
        let mut announced = self.0.lock();
        if announced.get(&slot) == Some(&epoch) {
            announced.remove(&slot);
        }
    }
}

/// A slot whose owner has yet to hear of the sessions held here.
pub(crate) struct Due {
    pub(crate) slot: Slot,
    pub(crate) epoch: SlotEpoch,
    pub(crate) core: String,
    pub(crate) channel: Channel,
}

/// Tells owners that are new of the sessions held here, several at once. Beside the beats: those go on meanwhile.
pub(crate) async fn announce(shared: Arc<Shared>, due: Vec<Due>) {
    // One that is silent once is left alone until the next beat.
    let silent: Mutex<BTreeSet<String>> = Mutex::default();
    let told = futures_util::stream::iter(due)
        .map(|due| {
            let (shared, silent) = (&shared, &silent);
            async move {
                if silent.lock().contains(&due.core) {
                    return 0;
                }
                // First this: what is granted or lost from now on takes it back, and is told by another round.
                shared.announced.told(due.slot, due.epoch);
                let count = tell(shared, &due).await;
                if count.is_none() {
                    silent.lock().insert(due.core);
                    shared.announced.failed(due.slot, due.epoch);
                }
                count.unwrap_or_default()
            }
        })
        .buffer_unordered(AT_ONCE)
        .fold(0, |sum, count| std::future::ready(sum + count))
        .await;
    if told > 0 {
        tracing::info!(sessions = told, "new owners of slots have heard of the sessions held here");
    }
}

/// How many sessions the owner has heard of; none when not all of them.
async fn tell(shared: &Shared, due: &Due) -> Option<usize> {
    let (sessions, all) = held(shared, due.slot).await;
    let count = sessions.len();
    let mut sessions = sessions.into_iter().map(convert::held_session_to_wire).peekable();
    while sessions.peek().is_some() {
        let mut some = Vec::new();
        let mut weight = 0;
        while let Some(session) =
            sessions.next_if(|_| some.len() < SESSIONS_AT_ONCE && weight < BYTES_AT_ONCE)
        {
            weight += session.encoded_len();
            some.push(session);
        }
        let gateway = shared.member.as_str().to_owned();
        let request = AnnounceSessionsRequest { gateway, slot: due.slot.0.into(), sessions: some };
        let mut core = GatewayServiceClient::new(due.channel.clone());
        match timeout(ANNOUNCE_WITHIN, core.announce_sessions(request)).await {
            Ok(Ok(_)) => {}
            Ok(Err(status)) => {
                tracing::warn!(slot = %due.slot, error = status.message(), "an owner did not hear of the sessions here");
                return None;
            }
            Err(_) => return None,
        }
    }
    if !all {
        // The others are known; those that were slow are told of by the next round.
        shared.announced.failed(due.slot, due.epoch);
    }
    Some(count)
}

/// The sessions held in a slot, and whether those are all: a connection may be slow to answer.
async fn held(shared: &Shared, slot: Slot) -> (Vec<HeldSession>, bool) {
    let handles = shared.registry.of_slot(slot);
    let (collector, mut collected) = mpsc::channel(handles.len().max(1));
    for handle in handles {
        handle.mailbox.tell(collector.clone());
    }
    drop(collector);
    let mut held = Vec::new();
    let all = async {
        while let Some(session) = collected.recv().await {
            held.push(session);
        }
    };
    let all = timeout(TELL_WITHIN, all).await.is_ok();
    (held, all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_of_an_older_owner_is_told_to_the_newer_one() {
        let announced = Announced::default();
        let (slot, epoch) = (Slot(3), SlotEpoch);
        assert!(announced.is_due(slot, epoch(1)));
        announced.told(slot, epoch(2));
        assert!(!announced.is_due(slot, epoch(2)) && announced.is_due(slot, epoch(3)));
        announced.granted(slot, epoch(2));
        assert!(!announced.is_due(slot, epoch(2)), "its owner knows what it has granted");
        announced.granted(slot, epoch(1));
        assert!(announced.is_due(slot, epoch(2)));
    }
}
