//! Once a second every core hears that this gateway lives, and says which slots it owns. Whoever owns a slot anew is told
//! of the sessions that this gateway holds in it; however much of this is lost on the way, the next beat makes it good.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::Mutex;
use prost::Message;
use stoker_domain::machine::HeldSession;
use stoker_domain::model::{Slot, SlotEpoch};
use stoker_link::Channel;
use stoker_link::{Cores, Link};
use stoker_proto::convert;
use stoker_proto::core::v1::gateway_service_client::GatewayServiceClient;
use stoker_proto::core::v1::member_service_client::MemberServiceClient;
use stoker_proto::core::v1::{AnnounceSessionsRequest, BeatReply, BeatRequest, MemberRole};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::orders;
use crate::shared::Shared;

/// How often.
const EVERY: Duration = Duration::from_secs(1);
/// A core that is slower has not heard it.
const WITHIN: Duration = Duration::from_secs(2);
/// A core may take so long to hear of the sessions of one slot.
const ANNOUNCE_WITHIN: Duration = Duration::from_secs(5);
/// Connections say within this time what they hold; one that does not is asked again.
const TELL_WITHIN: Duration = Duration::from_secs(1);
/// What health calls the cores.
const THING: &str = "core";
/// Sessions in one announcement, and their bytes: wills may be large, and the owner may have to write them.
const SESSIONS_AT_ONCE: usize = 1_000;
const BYTES_AT_ONCE: usize = 1 << 20;
/// Slots told of at once.
const AT_ONCE: usize = 16;

/// Whom a gateway tells that it lives. Where core is in the same process nobody needs to know.
pub struct Beats {
    /// How cores are reached.
    pub link: Link,
    /// The cores; what they tell of each other is put in here.
    pub cores: Cores,
    /// Where this gateway is reached, for people.
    pub address: String,
    /// Its host or pod, for people.
    pub host: String,
}

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

    fn is_due(&self, slot: Slot, epoch: SlotEpoch) -> bool {
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

/// One of the cores.
struct Core {
    address: String,
    channel: Channel,
}

struct Beating {
    shared: Arc<Shared>,
    beats: Beats,
    channels: HashMap<String, Channel>,
    /// Who writes this gateway's row.
    registrar: Option<String>,
    /// How often each core has taken this gateway for dead.
    deaths: HashMap<String, u64>,
    /// The member that last answered at each address, and up to which number it was heard what is to be closed.
    closes: HashMap<String, (String, u64)>,
    beat: u64,
    /// At most one.
    announcing: JoinSet<()>,
}

/// Beats until shutdown.
pub(crate) async fn run(
    shared: Arc<Shared>,
    beats: Beats,
    shutdown: CancellationToken,
) -> Result<(), JoinError> {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut beating = Beating {
        shared,
        beats,
        channels: HashMap::new(),
        registrar: None,
        deaths: HashMap::new(),
        closes: HashMap::new(),
        beat: 1,
        announcing: JoinSet::new(),
    };
    beating.shared.health.waiting(THING, "none has answered yet");
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            Some(over) = beating.announcing.join_next(), if !beating.announcing.is_empty() => {
                over?;
                continue;
            }
            _ = ticks.tick() => {}
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = beating.round() => {}
        }
    }
}

impl Beating {
    fn request(&self, core: &Core, register: bool) -> BeatRequest {
        let (closes_of, closes_heard) = self.closes.get(&core.address).cloned().unwrap_or_default();
        BeatRequest {
            closes_of,
            closes_heard,
            member: self.shared.member.as_str().to_owned(),
            role: MemberRole::Gateway.into(),
            address: self.beats.address.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sessions: self.shared.stats.snapshot().sessions,
            host: self.beats.host.clone(),
            register,
            leaving: self.shared.registry.is_closed(),
            beat: self.beat,
            started_at: self.shared.started_at,
        }
    }

    async fn round(&mut self) {
        self.beat += 1;
        let cores = self.cores();
        let asked = cores.iter().map(|core| {
            let register = self.registrar.as_ref() == Some(&core.address);
            ask(core.channel.clone(), self.request(core, register))
        });
        let replies = futures_util::future::join_all(asked).await;
        let mut heard: Vec<(Core, BeatReply)> = Vec::new();
        for (core, reply) in cores.into_iter().zip(replies) {
            match reply {
                Ok(reply) => heard.push((core, reply)),
                Err(status) => {
                    if status.code() == Code::DeadlineExceeded {
                        self.shared.pulse.failed();
                    }
                    tracing::debug!(
                        core = core.address,
                        error = status.message(),
                        "a core did not hear the beat"
                    );
                    if self.registrar.as_ref() == Some(&core.address) {
                        self.registrar = None;
                    }
                }
            }
        }
        for (core, reply) in &heard {
            self.close(core, reply);
        }
        let away = heard.iter().filter(|(_, reply)| reply.cut_off).count();
        for (core, reply) in heard.iter().filter(|(_, reply)| reply.cut_off) {
            if is_its_own_trouble(away, heard.len()) && self.beats.cores.leave(&core.address) {
                let (core, member) = (&core.address, &reply.member);
                tracing::warn!(core, member, "a core is cut from its store; it is left");
            }
            self.registrar.take_if(|registrar| *registrar == core.address);
        }
        if self.registrar.is_none() {
            self.register(&heard).await;
        }
        let addresses: Vec<String> =
            heard.iter().flat_map(|(_, reply)| &reply.cores).map(|core| core.address.clone()).collect();
        if heard.is_empty() {
            self.shared.health.waiting(THING, "none has answered");
        } else {
            self.shared.health.ready(THING);
            self.beats.cores.learn(&addresses);
            self.learn_owners(&heard);
        }
        let due = self.due(heard);
        if self.announcing.is_empty() && !due.is_empty() {
            self.announcing.spawn(announce(self.shared.clone(), due));
        }
    }

    /// What is to be asked of the owner of a slot goes straight to whom the newest epoch is.
    fn learn_owners(&self, heard: &[(Core, BeatReply)]) {
        let mut owners: BTreeMap<u32, (u64, &str)> = BTreeMap::new();
        for (_, reply) in heard.iter().filter(|(_, reply)| !reply.cut_off) {
            // What it was asked at may be an address of several.
            let Some(core) = reply.cores.iter().find(|core| core.member == reply.member) else { continue };
            for owned in &reply.slots {
                let newest = owners.entry(owned.slot).or_default();
                *newest = (*newest).max((owned.epoch, &core.address));
            }
        }
        for (slot, (_, address)) in owners {
            if let Ok(slot) = u8::try_from(slot) {
                self.beats.cores.owns(address, [Slot(slot)]);
            }
        }
    }

    /// Closes what a core wants closed: the orders by the bus may be late.
    fn close(&mut self, core: &Core, reply: &BeatReply) {
        for close in &reply.closes {
            match (
                convert::device_key(close.device.as_ref()),
                convert::epoch_from_wire(close.epoch),
                convert::end_reason_from_wire(close.reason),
            ) {
                (Ok(device), Ok(session), Ok(reason)) => {
                    tracing::debug!(%device, %session, ?reason, "a core wants a session closed");
                    orders::close(&self.shared, &device, session, reason);
                }
                (device, session, reason) => {
                    tracing::warn!(
                        core = core.address,
                        ?device,
                        ?session,
                        ?reason,
                        "what is to be closed is not understood"
                    );
                }
            }
        }
        let said = reply.closes.iter().map(|close| close.number).max().unwrap_or_default();
        let known = self.closes.entry(core.address.clone()).or_default();
        if known.0 != reply.member {
            *known = (reply.member.clone(), 0);
        }
        known.1 = known.1.max(said);
    }

    /// Has this gateway's row written by one of those that have answered.
    async fn register(&mut self, heard: &[(Core, BeatReply)]) {
        for (core, _) in heard.iter().filter(|(_, reply)| !reply.cut_off) {
            match ask(core.channel.clone(), self.request(core, true)).await {
                Ok(_) => {
                    self.registrar = Some(core.address.clone());
                    return;
                }
                Err(status) => {
                    tracing::warn!(
                        core = core.address,
                        error = status.message(),
                        "a core could not write that this gateway lives"
                    );
                }
            }
        }
    }

    fn cores(&mut self) -> Vec<Core> {
        let addresses = self.beats.cores.in_order();
        self.channels.retain(|address, _| addresses.contains(address));
        self.closes.retain(|address, _| addresses.contains(address));
        let mut cores = Vec::with_capacity(addresses.len());
        for address in addresses {
            let link = &self.beats.link;
            let channel = self.channels.entry(address.clone()).or_insert_with(|| link.to(&address)).clone();
            cores.push(Core { address, channel });
        }
        cores
    }

    /// The slots whose owners have yet to hear of the sessions held here, and the way to them.
    fn due(&mut self, heard: Vec<(Core, BeatReply)>) -> Vec<Due> {
        let mut due: BTreeMap<Slot, Due> = BTreeMap::new();
        for (core, reply) in heard {
            // It has presumed the sessions lost: they are not.
            let deaths = self.deaths.insert(reply.member, reply.presumed_dead);
            if deaths.unwrap_or_default() != reply.presumed_dead {
                self.shared.announced.forget();
            }
            for owned in reply.slots {
                let Ok(slot) = u8::try_from(owned.slot).map(Slot) else { continue };
                let epoch = SlotEpoch(owned.epoch);
                let newer = due.get(&slot).is_none_or(|known| known.epoch < epoch);
                if newer && self.shared.announced.is_due(slot, epoch) {
                    due.insert(
                        slot,
                        Due { slot, epoch, core: core.address.clone(), channel: core.channel.clone() },
                    );
                }
            }
        }
        due.into_values().collect()
    }
}

/// Whether those cores that are cut from the store are to be left for the others. Not when they are most of them: then it is the
/// store that does not keep up, and everything that is under way at them would have to be asked once more of fewer.
fn is_its_own_trouble(cut_off: usize, heard: usize) -> bool {
    cut_off * 2 <= heard
}

/// A slot whose owner has yet to hear of the sessions held here.
struct Due {
    slot: Slot,
    epoch: SlotEpoch,
    core: String,
    channel: Channel,
}

/// Tells owners that are new of the sessions held here, several at once. Beside the beats: those go on meanwhile.
async fn announce(shared: Arc<Shared>, due: Vec<Due>) {
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

async fn ask(channel: Channel, request: BeatRequest) -> Result<BeatReply, Status> {
    match timeout(WITHIN, MemberServiceClient::new(channel).beat(request)).await {
        Ok(reply) => reply.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded("no answer in time")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_left_for_their_own_trouble_and_not_for_that_of_the_store() {
        let left = [(1, 2), (1, 3), (2, 4)].map(|(cut_off, heard)| is_its_own_trouble(cut_off, heard));
        let kept =
            [(1, 1), (2, 2), (2, 3), (3, 3)].map(|(cut_off, heard)| is_its_own_trouble(cut_off, heard));
        assert_eq!((left, kept), ([true; 3], [false; 4]));
    }

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
