//! Once a second every core hears that this gateway lives, and says which slots it owns. Whoever owns a slot anew is told
//! of the sessions that this gateway holds in it; however much of this is lost on the way, the next beat makes it good.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use stoker_domain::machine::HeldSession;
use stoker_domain::model::{Slot, SlotEpoch};
use stoker_link::{Cores, Link};
use stoker_proto::convert;
use stoker_proto::core::v1::gateway_service_client::GatewayServiceClient;
use stoker_proto::core::v1::member_service_client::MemberServiceClient;
use stoker_proto::core::v1::{AnnounceSessionsRequest, BeatReply, BeatRequest, MemberRole};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Channel;

use crate::shared::Shared;

/// How often.
const EVERY: Duration = Duration::from_secs(1);
/// A core that is slower has not heard it.
const WITHIN: Duration = Duration::from_secs(2);
/// A core may take so long to hear of the sessions of one slot.
const ANNOUNCE_WITHIN: Duration = Duration::from_secs(5);
/// Connections say within this time what they hold; one that does not is asked at the next beat.
const TELL_WITHIN: Duration = Duration::from_secs(1);
/// What health calls the cores.
const THING: &str = "core";
/// Sessions in one announcement.
const SESSIONS_AT_ONCE: usize = 1_000;

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
    beat: u64,
}

/// Beats until shutdown.
pub(crate) async fn run(
    shared: Arc<Shared>,
    beats: Beats,
    shutdown: CancellationToken,
) -> Result<(), std::convert::Infallible> {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut beating = Beating {
        shared,
        beats,
        channels: HashMap::new(),
        registrar: None,
        deaths: HashMap::new(),
        // Another number than that of a namesake.
        beat: 1,
    };
    beating.shared.health.waiting(THING, "none has answered yet");
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = beating.round() => {}
        }
    }
}

impl Beating {
    fn request(&self, register: bool) -> BeatRequest {
        BeatRequest {
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
            ask(core.channel.clone(), self.request(register))
        });
        let replies = futures_util::future::join_all(asked).await;
        let mut heard: Vec<(Core, BeatReply)> = Vec::new();
        for (core, reply) in cores.into_iter().zip(replies) {
            match reply {
                Ok(reply) => heard.push((core, reply)),
                Err(status) => {
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
        }
        self.announce(heard).await;
    }

    /// Has this gateway's row written by one of those that have answered.
    async fn register(&mut self, heard: &[(Core, BeatReply)]) {
        for (core, _) in heard {
            match ask(core.channel.clone(), self.request(true)).await {
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
        let mut cores = Vec::with_capacity(addresses.len());
        for address in addresses {
            let link = &self.beats.link;
            let channel = self.channels.entry(address.clone()).or_insert_with(|| link.to(&address)).clone();
            cores.push(Core { address, channel });
        }
        cores
    }

    /// Tells owners that are new of the sessions held here.
    async fn announce(&mut self, heard: Vec<(Core, BeatReply)>) {
        let mut due: BTreeMap<Slot, (SlotEpoch, Channel)> = BTreeMap::new();
        for (core, reply) in heard {
            // It has presumed the sessions lost: they are not.
            let deaths = self.deaths.insert(reply.member, reply.presumed_dead);
            if deaths.unwrap_or_default() != reply.presumed_dead {
                self.shared.announced.forget();
            }
            for owned in reply.slots {
                let (Ok(slot), epoch) = (u8::try_from(owned.slot).map(Slot), SlotEpoch(owned.epoch)) else {
                    continue;
                };
                let newer = due.get(&slot).is_none_or(|(known, _)| *known < epoch);
                if newer && self.shared.announced.is_due(slot, epoch) {
                    due.insert(slot, (epoch, core.channel.clone()));
                }
            }
        }
        if due.is_empty() {
            return;
        }
        let (mut held, all) = self.held(&due).await;
        let mut told = 0;
        for (slot, (epoch, channel)) in due {
            let sessions = held.remove(&slot).unwrap_or_default();
            let count = sessions.len();
            if self.tell(slot, channel, sessions).await {
                told += count;
                if all {
                    self.shared.announced.told(slot, epoch);
                }
            }
        }
        if told > 0 {
            tracing::info!(sessions = told, "new owners of slots have heard of the sessions held here");
        }
    }

    /// True when the owner has heard of all of them.
    async fn tell(&self, slot: Slot, channel: Channel, sessions: Vec<HeldSession>) -> bool {
        let mut sessions = sessions.into_iter().map(convert::held_session_to_wire).peekable();
        while sessions.peek().is_some() {
            let request = AnnounceSessionsRequest {
                gateway: self.shared.member.as_str().to_owned(),
                slot: slot.0.into(),
                sessions: sessions.by_ref().take(SESSIONS_AT_ONCE).collect(),
            };
            let mut core = GatewayServiceClient::new(channel.clone());
            match timeout(ANNOUNCE_WITHIN, core.announce_sessions(request)).await {
                Ok(Ok(_)) => {}
                Ok(Err(status)) => {
                    tracing::warn!(%slot, error = status.message(), "an owner did not hear of the sessions here");
                    return false;
                }
                Err(_) => return false,
            }
        }
        true
    }

    /// The sessions held in these slots, and whether those are all: a connection may be slow to answer.
    async fn held(
        &self,
        due: &BTreeMap<Slot, (SlotEpoch, Channel)>,
    ) -> (BTreeMap<Slot, Vec<HeldSession>>, bool) {
        let handles = self.shared.registry.of_slots(|slot| due.contains_key(&slot));
        let (collector, mut collected) = mpsc::channel(handles.len().max(1));
        for handle in handles {
            handle.mailbox.tell(collector.clone());
        }
        drop(collector);
        let mut held: BTreeMap<Slot, Vec<HeldSession>> = BTreeMap::new();
        let all = async {
            while let Some(session) = collected.recv().await {
                held.entry(session.device.slot()).or_default().push(session);
            }
        };
        let all = timeout(TELL_WITHIN, all).await.is_ok();
        if !all {
            tracing::warn!("not all connections said in time what they hold; they are asked again");
        }
        (held, all)
    }
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
