//! Once a second, and more often while slots move, every core hears that this gateway lives, and says which slots it owns.
//! Whoever owns a slot anew is told of the sessions that this gateway holds in it; however much of this is lost on the way, the
//! next beat makes it good.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use stoker_domain::model::{Slot, SlotEpoch};
use stoker_link::Channel;
use stoker_link::{Cores, Link};
use stoker_proto::convert;
use stoker_proto::core::v1::member_service_client::MemberServiceClient;
use stoker_proto::core::v1::{BeatReply, BeatRequest, MemberRole};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::announce::{Due, announce};
use crate::orders;
use crate::shared::Shared;

/// How often.
const EVERY: Duration = Duration::from_secs(1);
/// How often while slots move: an order waits for its slot's new owner to hear of the device's session.
const EVERY_IN_MOTION: Duration = Duration::from_millis(200);
/// So often in a row; slots that nobody owns for longer are no move.
const IN_MOTION_MOST: u32 = 100;
/// A core that is slower has not heard it.
const WITHIN: Duration = Duration::from_secs(2);
/// What health calls the cores.
const THING: &str = "core";

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

/// When the next beat is due.
#[derive(Debug, Default)]
struct Pace {
    in_motion: u32,
}

impl Pace {
    /// After a beat that found slots in motion, or all of them at rest.
    fn pause(&mut self, in_motion: bool) -> Duration {
        self.in_motion = if in_motion { self.in_motion.saturating_add(1) } else { 0 };
        if (1..=IN_MOTION_MOST).contains(&self.in_motion) { EVERY_IN_MOTION } else { EVERY }
    }
}

/// Whether slots move: a core hands its own on, or some are owned by none of those that have answered.
fn is_in_motion<'a>(heard: impl IntoIterator<Item = &'a BeatReply>) -> bool {
    let (mut owned, mut leaving, mut any) = (BTreeSet::new(), false, false);
    for reply in heard {
        any = true;
        leaving |= reply.cores.iter().any(|core| core.leaving);
        owned.extend(reply.slots.iter().map(|owned| owned.slot));
    }
    any && (leaving || owned.len() < Slot::all().count())
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
    let (mut pace, mut next) = (Pace::default(), Instant::now());
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
            () = sleep_until(next) => {}
        }
        let begun = Instant::now();
        let in_motion = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            in_motion = beating.round() => in_motion,
        };
        // From its beginning: a core that is slow to answer makes beats no rarer for the others, who would take it for dead.
        next = begun + pace.pause(in_motion);
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

    /// Says whether slots move.
    async fn round(&mut self) -> bool {
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
        let in_motion = is_in_motion(heard.iter().map(|(_, reply)| reply));
        let due = self.due(heard);
        if self.announcing.is_empty() && !due.is_empty() {
            self.announcing.spawn(announce(self.shared.clone(), due));
        }
        in_motion
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

async fn ask(channel: Channel, request: BeatRequest) -> Result<BeatReply, Status> {
    match timeout(WITHIN, MemberServiceClient::new(channel).beat(request)).await {
        Ok(reply) => reply.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded("no answer in time")),
    }
}

#[cfg(test)]
mod tests {
    use stoker_proto::core::v1::{CoreMember, OwnedSlot};

    use super::*;

    #[test]
    fn cores_are_left_for_their_own_trouble_and_not_for_that_of_the_store() {
        let left = [(1, 2), (1, 3), (2, 4)].map(|(cut_off, heard)| is_its_own_trouble(cut_off, heard));
        let kept =
            [(1, 1), (2, 2), (2, 3), (3, 3)].map(|(cut_off, heard)| is_its_own_trouble(cut_off, heard));
        assert_eq!((left, kept), ([true; 3], [false; 4]));
    }

    #[test]
    fn beats_are_quicker_while_slots_move_and_not_for_ever() {
        let owns = |slots: std::ops::Range<u32>| BeatReply {
            slots: slots.map(|slot| OwnedSlot { slot, epoch: 1 }).collect(),
            ..BeatReply::default()
        };
        let leaves = CoreMember { leaving: true, ..CoreMember::default() };
        assert!(!is_in_motion([]), "who hears of no core knows of no move");
        assert!(!is_in_motion(&[owns(0..100), owns(100..256)]));
        assert!(is_in_motion(&[owns(0..100), owns(101..256)]), "one is owned by nobody");
        assert!(is_in_motion(&[owns(0..256), BeatReply { cores: vec![leaves], ..owns(0..0) }]));

        let mut pace = Pace::default();
        assert_eq!(pace.pause(false), EVERY);
        for _ in 0..IN_MOTION_MOST {
            assert_eq!(pace.pause(true), EVERY_IN_MOTION);
        }
        assert_eq!((pace.pause(true), pace.pause(true)), (EVERY, EVERY), "slots without an owner");
        assert_eq!((pace.pause(false), pace.pause(true)), (EVERY, EVERY_IN_MOTION));
    }
}
