//! What a device shows when it connects, and what core says to it.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use stoker_domain::model::{DeviceId, DeviceKey, OrganizationId};
use stoker_domain::payload;
use stoker_proto::convert;
use stoker_proto::core::v1::credential::{Certificate, Kind, Password};
use stoker_proto::core::v1::{Credential, OpenSessionRequest, Will};
use stoker_proto::problem::ProblemKind;
use stoker_protocol::codec::Version;
use stoker_protocol::session::{ConnectRequest, Refusal};
use stoker_protocol::topic::UpTopic;

use super::{Identity, Opened, Peer};
use crate::core;
use crate::registry::Handle;
use crate::shared::Shared;
use crate::stats;

/// Refusals that wait for their delay at once; more are cut off without a word.
const WAITING_MOST: usize = 4_096;

static WAITING: AtomicUsize = AtomicUsize::new(0);

/// A place among those that wait; given back also when the peer does not.
struct Place(usize);

impl Place {
    fn take() -> Self {
        Self(WAITING.fetch_add(1, Ordering::Relaxed))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        WAITING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The credential that a CONNECT shows, and the name by which its failures are counted.
fn shown(peer: &Peer, connect: &ConnectRequest) -> (Option<Kind>, String) {
    let user_name = connect.user_name.as_deref().unwrap_or_default();
    let password = connect.password.as_deref().unwrap_or_default();
    if user_name.is_empty() {
        return match peer.certificate.as_deref() {
            Some((organization, device)) => {
                let (organization, device) = (organization.clone(), device.clone());
                let name = format!("{organization}/{device}");
                (Some(Kind::Certificate(Certificate { organization, device })), name)
            }
            None => (None, String::new()),
        };
    }
    if password.is_empty() {
        return (Some(Kind::Token(user_name.to_owned())), user_name.to_owned());
    }
    let credential = std::str::from_utf8(password).ok().map(|password| {
        Kind::Password(Password { user_name: user_name.to_owned(), password: password.to_owned() })
    });
    (credential, user_name.to_owned())
}

/// The will as an event. It is stamped anew when it is said, and core knows whose it is.
fn will(shared: &Shared, connect: &ConnectRequest) -> Option<Result<Will, String>> {
    let will = connect.will.as_deref()?;
    if will.topic != Some(UpTopic::Events) {
        return Some(Err("a will is said on v1/devices/me/events; this one was dropped".to_owned()));
    }
    let somebody = DeviceKey::new(OrganizationId::default_organization(), DeviceId::new("will").ok()?);
    let now = shared.now();
    let event = payload::event(
        &will.payload,
        &somebody,
        now,
        &mut || now,
        || shared.make_event_id(),
        &shared.payload_limits,
    );
    Some(match event {
        Ok(event) => Ok(Will {
            event: Some(convert::event_to_wire(event)),
            delay_ms: will.delay_s.saturating_mul(1_000),
        }),
        Err(error) => Err(format!("the will is no event: {error}")),
    })
}

/// What is spoken over the connection, for people.
pub(super) fn protocol(version: Version, peer: &Peer) -> String {
    let version = match version {
        Version::V311 => "mqtt-3.1.1",
        Version::V5 => "mqtt-5",
    };
    format!("{version}{}", peer.door.suffix())
}

/// What core is asked, and the name by which failures are counted. None: nothing was shown.
pub(super) fn request(
    shared: &Shared,
    peer: &Peer,
    connect: ConnectRequest,
) -> (Option<(OpenSessionRequest, Option<String>)>, String) {
    let (credential, name) = shown(peer, &connect);
    let Some(kind) = credential else { return (None, name) };
    let (will, dropped) = match will(shared, &connect) {
        None => (None, None),
        Some(Ok(will)) => (Some(will), None),
        Some(Err(reason)) => (None, Some(reason)),
    };
    let request = OpenSessionRequest {
        credential: Some(Credential { kind: Some(kind) }),
        gateway: shared.member.as_str().to_owned(),
        address: peer.address.to_string(),
        protocol: protocol(connect.version, peer),
        will,
        arrival: shared.next_arrival(),
    };
    (Some((request, dropped)), name)
}

/// Asks core for a session. A wrong credential is answered late, the later the more have failed.
pub(super) async fn open(
    shared: Arc<Shared>,
    handle: Arc<Handle>,
    request: Option<(OpenSessionRequest, Option<String>)>,
    name: String,
    address: IpAddr,
) -> Opened {
    let Some((request, dropped)) = request else { return refuse(&shared, &name, address).await };
    let will = request.will.clone();
    let reply = match core::open_session(&shared, request, || !handle.mailbox.is_closed()).await {
        Some(Ok(reply)) => reply,
        None => return Opened::CutOff,
        Some(Err(status)) => {
            return match ProblemKind::of(&status).0 {
                ProblemKind::Unauthenticated | ProblemKind::InvalidRequest => {
                    refuse(&shared, &name, address).await
                }
                _ => {
                    tracing::warn!(%address, error = status.message(), "core granted no session");
                    Opened::Refused(Refusal::Unavailable)
                }
            };
        }
    };
    if reply.superseded {
        tracing::debug!(%address, "the device has connected anew meanwhile");
        return Opened::Refused(Refusal::Unavailable);
    }
    let (Ok(device), Ok(epoch)) =
        (convert::device_key(reply.device.as_ref()), convert::epoch_from_wire(reply.epoch))
    else {
        tracing::error!(%address, "core granted a session without a device or an epoch");
        return Opened::Refused(Refusal::Unavailable);
    };
    handle.stamp_after(reply.stamp_floor);
    let will = will.and_then(|mut will| {
        if let Some(event) = will.event.as_mut() {
            event.device.clone_from(&reply.device);
        }
        convert::will_from_wire(will).ok().map(Box::new)
    });
    Opened::Granted(Box::new(Identity { device, epoch, will }), dropped)
}

async fn refuse(shared: &Shared, name: &str, address: IpAddr) -> Opened {
    stats::up(&shared.stats.credentials_refused);
    let delay = shared.refusals.failed(address, name, shared.now());
    tracing::info!(%address, delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), "a wrong credential");
    let place = Place::take();
    if place.0 >= WAITING_MOST {
        return Opened::CutOff;
    }
    tokio::time::sleep(delay).await;
    Opened::Refused(Refusal::NotAuthorized)
}
