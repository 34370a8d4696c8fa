//! One device connection: a task that waits for bytes, answers, orders and time, and holds no buffer meanwhile.

mod credential;
mod deliveries;
mod io;
mod owed;
mod publish;

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use stoker_domain::machine::HeldSession;
use stoker_domain::model::{DeviceKey, EndReason, Millis, SessionEpoch, SessionInfo, Will};
use stoker_protocol::codec::ReasonCode;
use stoker_protocol::session::{
    Accept, ConnectRequest, EndReason as Ended, Event, Output, PublishOutcome, PublishToken, Refusal,
    ServerReason, Session,
};
use stoker_protocol::topic::{DeviceFilter, DownTopic};
use stoker_telemetry::Health;
use tokio::time::{Instant, Sleep};
use tungstenite::protocol::frame::coding::CloseCode;

use crate::core;
use crate::lane::{Done, How, Lane};
use crate::mailbox::Mail;
use crate::registry::Handle;
use crate::rejections;
use crate::shared::Shared;
use crate::stats;
use crate::transport::{Door, Transport};
use deliveries::Deliveries;
use owed::Owed;

/// Bytes that are read at once, into a buffer of the thread.
const READ: usize = 64 * 1024;
/// Rounds before other connections get their turn.
const ROUNDS: usize = 4;
/// When a connection is to end, what was read from it is answered within this time, or left to be sent again.
const ANSWERED_WITHIN: Duration = Duration::from_secs(8);

/// What a thread needs while it serves one connection after the other.
struct Scratch {
    buffer: Vec<u8>,
    out: Output,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch { buffer: vec![0; READ], out: Output::new() });
}

/// Who is at the other end, as far as the transport knows.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) door: Door,
    /// Organization and common name of a verified client certificate.
    pub(crate) certificate: Option<Box<(String, String)>>,
}

/// Whose session it is.
struct Identity {
    device: DeviceKey,
    epoch: SessionEpoch,
    /// As core was told; for an owner that comes after the one that was.
    will: Option<Box<Will>>,
}

/// How core answered to a CONNECT.
enum Opened {
    /// With what was wrong about the will, if it was dropped.
    Granted(Box<Identity>, Option<String>),
    Refused(Refusal),
    /// Too many wait to be refused, or nobody waits for it.
    CutOff,
}

/// Says so when a connection's task panics: its session would stay online for ever.
struct Watch(Health);

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.mark_dead("the task of a connection panicked");
        }
    }
}

/// One device connection.
pub(crate) struct Connection {
    shared: Arc<Shared>,
    handle: Arc<Handle>,
    transport: Transport,
    session: Session,
    peer: Peer,
    identity: Option<Box<Identity>>,
    opening: Option<Pin<Box<dyn Future<Output = Opened> + Send>>>,
    /// What the device says that takes time: events, attributes, requests.
    device_lane: Option<Box<Lane>>,
    /// What is said about commands; apart, so that neither holds the other up.
    command_lane: Option<Box<Lane>>,
    deliveries: Option<Box<Deliveries>>,
    owed: Owed,
    unsent: Vec<u8>,
    timer: Pin<Box<Sleep>>,
    /// By when the device is to have taken what is sent to it.
    write_by: Option<Instant>,
    /// It is to end once what was read is answered, and by then in any case.
    leaving: Option<Instant>,
    /// Why it ends, where we know better than the session machine.
    ending: Option<EndReason>,
    ended: Option<Ended>,
}

impl Connection {
    /// CONNECT is waited for since that time.
    pub(crate) fn new(shared: Arc<Shared>, transport: Transport, peer: Peer, since: Millis) -> Self {
        let session = Session::new(u64::try_from(since).unwrap_or_default(), shared.limits.clone());
        let mut connection = Self {
            handle: Arc::default(),
            transport,
            session,
            peer,
            identity: None,
            opening: None,
            device_lane: None,
            command_lane: None,
            deliveries: None,
            owed: Owed::default(),
            unsent: Vec::new(),
            timer: Box::pin(tokio::time::sleep(Duration::MAX)),
            write_by: None,
            leaving: None,
            ending: None,
            ended: None,
            shared,
        };
        connection.set_timer();
        connection
    }

    /// Serves the device until its connection ends.
    pub(crate) async fn serve(mut self) {
        let _watch = Watch(self.shared.health.clone());
        self.shared.registry.arrive(&self.handle);
        poll_fn(|context| SCRATCH.with_borrow_mut(|scratch| self.poll(context, scratch))).await;
        let reason = self.ended.and_then(close_code);
        // Nobody who reads nothing is waited for.
        let is_ours = matches!(self.ended, Some(Ended::Shut(_)));
        let goodbye = async {
            let said = poll_fn(|context| self.transport.poll_shutdown(context, reason)).await;
            if said.is_ok() && is_ours {
                poll_fn(|context| self.poll_rest(context)).await;
            }
        };
        drop(tokio::time::timeout(Duration::from_secs(1), goodbye).await);
        self.finish().await;
    }

    async fn finish(self) {
        let now = now(&self.shared);
        let waits = self.session.waits(now);
        let Self {
            shared,
            handle,
            transport,
            session,
            peer,
            identity,
            opening,
            device_lane,
            command_lane,
            deliveries,
            owed,
            ..
        } = self;
        drop((transport, session));
        shared.stats.closed(peer.door);
        shared.registry.settle(&handle);
        let left = handle.mailbox.close();
        let Some(identity) = identity else {
            // Core may have granted a session by now, or be about to: nobody else would report its end.
            if let Some(opening) = opening
                && let Opened::Granted(identity, _) = opening.await
            {
                let Identity { device, epoch, .. } = *identity;
                let reason = owed.end(EndReason::Cut, now, waits);
                core::session_ended(&shared, &device, epoch, reason, handle.last_stamp()).await;
            }
            return;
        };
        stats::down(&shared.stats.sessions);
        let Identity { device, epoch, .. } = *identity;
        shared.registry.leave(&device, epoch, &handle, shared.now());
        let reason = self.ending.or_else(|| self.ended.and_then(ended_as)).unwrap_or(EndReason::Cut);
        let reason = owed.end(reason, now, waits);
        let transport = peer.door.as_str();
        tracing::debug!(%device, session = %epoch, transport, reason = reason.as_str(), "session ended");
        // What the device said before it went is done first.
        Lane::finish(device_lane).await;
        Lane::finish(command_lane).await;
        for report in deliveries::never_sent(deliveries, left.orders, epoch) {
            Box::pin(core::command(shared.clone(), device.clone(), report)).await;
        }
        core::session_ended(&shared, &device, epoch, reason, handle.last_stamp()).await;
    }

    fn poll(&mut self, context: &mut Context<'_>, scratch: &mut Scratch) -> Poll<()> {
        for _ in 0..ROUNDS {
            if self.poll_unsent(context).is_pending() {
                return self
                    .poll_timer(context, scratch)
                    .is_ready()
                    .then_some(())
                    .map_or(Poll::Pending, Poll::Ready);
            }
            if self.ended.is_some() {
                return Poll::Ready(());
            }
            let Scratch { buffer, out } = scratch;
            out.clear();
            let mut moved = false;
            if let Poll::Ready(mail) = self.handle.mailbox.poll(context) {
                self.mail(mail, out);
                moved = true;
            }
            if let Poll::Ready(opened) = self.poll_opening(context) {
                self.opened(opened, out);
                moved = true;
            }
            if let Poll::Ready(done) = Lane::poll(&mut self.device_lane, context) {
                self.done(done, out);
                moved = true;
            }
            if let Poll::Ready(done) = Lane::poll(&mut self.command_lane, context) {
                self.done(done, out);
                moved = true;
            }
            if self.may_read() {
                moved |= self.poll_read(context, buffer, out).is_ready();
            }
            moved |= self.leave_if_answered(out);
            self.settle(context, out);
            if !moved {
                return if self.poll_timer(context, scratch).is_ready() {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                };
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// False while core has not caught up with what the device has said.
    fn may_read(&self) -> bool {
        let full = |lane: &Option<Box<Lane>>| Lane::is_full(lane.as_deref());
        self.leaving.is_none()
            && self.session.wants_read()
            && !full(&self.device_lane)
            && !full(&self.command_lane)
    }

    fn poll_opening(&mut self, context: &mut Context<'_>) -> Poll<Opened> {
        let Some(opening) = &mut self.opening else { return Poll::Pending };
        let opened = std::task::ready!(opening.as_mut().poll(context));
        self.opening = None;
        Poll::Ready(opened)
    }

    fn event(&mut self, event: Event, out: &mut Output) {
        match event {
            Event::Connect(connect) => self.open(*connect),
            Event::Publish(publish) => self.publish(publish, out),
            Event::RejectedTopic { topic, .. } => {
                stats::up(&self.shared.stats.topics_rejected);
                self.reject(&format!("no device publishes to the topic {topic:?}"));
            }
            Event::Subscribed { filter: DeviceFilter::RpcRequests, .. } => self.want_commands(true),
            Event::Unsubscribed(DeviceFilter::RpcRequests) => self.want_commands(false),
            Event::Subscribed { .. } | Event::Unsubscribed(_) => {}
            Event::DeliverySent { .. }
            | Event::Delivered { .. }
            | Event::DeliveryRefused { .. }
            | Event::DeliveryExpired { .. } => self.delivery_event(&event),
            Event::Ended(reason) => {
                self.ended.get_or_insert(reason);
            }
        }
    }

    fn mail(&mut self, mail: Mail, out: &mut Output) {
        let now = now(&self.shared);
        for (token, outcome) in mail.answers {
            self.answer(now, token, outcome, out);
        }
        for order in mail.orders {
            self.order(order, out);
        }
        for command in mail.withdrawn {
            self.withdraw(command);
        }
        if let Some(whom) = mail.asks
            && let Some(held) = self.held()
        {
            // Made for as many as were asked: there is room.
            let _ = whom.try_send(held);
        }
        if let Some((reason, end)) = mail.shut {
            self.ending.get_or_insert(end);
            self.session.shut(reason, out);
        }
        if mail.leave {
            self.leaving.get_or_insert_with(|| Instant::now() + ANSWERED_WITHIN);
            self.set_timer();
        }
    }

    /// Ends the session if it is to end and nothing that was read waits for its answer.
    fn leave_if_answered(&mut self, out: &mut Output) -> bool {
        let is_due = self.leaving.is_some_and(|by| self.session.unanswered() == 0 || by <= Instant::now());
        if !is_due || self.session.is_ended() {
            return false;
        }
        self.ending.get_or_insert(EndReason::ByPlatform);
        self.session.shut(ServerReason::ShuttingDown, out);
        true
    }

    /// The session, as an owner that does not know it is to hear of it.
    fn held(&self) -> Option<HeldSession> {
        let identity = self.identity.as_deref()?;
        let session = SessionInfo {
            gateway: self.shared.member.clone(),
            address: self.peer.address.to_string(),
            protocol: credential::protocol(self.session.version(), &self.peer),
            will: identity.will.as_deref().cloned(),
        };
        Some(HeldSession {
            device: identity.device.clone(),
            epoch: identity.epoch,
            session,
            commands_wanted: self.session.subscribed(DownTopic::RpcRequest(0)).is_some(),
        })
    }

    fn open(&mut self, connect: ConnectRequest) {
        self.owed.asked(now(&self.shared));
        let shared = self.shared.clone();
        let handle = self.handle.clone();
        let (request, name) = credential::request(&shared, &self.peer, connect);
        let address = self.peer.address.ip();
        self.opening = Some(Box::pin(credential::open(shared, handle, request, name, address)));
    }

    fn opened(&mut self, opened: Opened, out: &mut Output) {
        let now = now(&self.shared);
        match opened {
            Opened::Refused(refusal) => self.session.refuse(refusal, out),
            Opened::CutOff => self.cut(),
            Opened::Granted(identity, dropped) => {
                stats::up(&self.shared.stats.sessions);
                self.shared.registry.enter(&identity.device, identity.epoch, &self.handle);
                // After it was entered: whoever asks for the sessions from now on finds this one.
                self.shared.announced.granted(identity.device.slot(), identity.epoch.slot);
                let client_id = identity.device.device.as_str().to_owned();
                let (device, session, peer) = (&identity.device, identity.epoch, &self.peer);
                tracing::debug!(%device, %session, address = %peer.address, transport = peer.door.as_str(), "session");
                self.transport.trust(self.shared.limits.max_packet);
                self.identity = Some(identity);
                self.owed.granted(now);
                self.session.accept(now, &Accept { assigned_client_id: &client_id }, out);
                self.set_timer();
                if let Some(reason) = dropped {
                    self.reject(&reason);
                }
            }
        }
    }

    /// Answers a publish.
    fn answer(&mut self, now: u64, token: PublishToken, outcome: PublishOutcome, out: &mut Output) {
        self.owed.answered(now, self.session.waits(now));
        self.session.publish_done(now, token, outcome, out);
    }

    fn done(&mut self, done: Done, out: &mut Output) {
        if let Some((token, outcome)) = done.answer {
            self.answer(now(&self.shared), token, outcome, out);
        }
        if let Some((topic, payload)) = done.delivery {
            self.send(topic, payload, out);
        }
    }

    fn want_commands(&mut self, wanted: bool) {
        let Some(Identity { device, epoch, .. }) = self.identity.as_deref() else { return };
        let report = core::commands_wanted(self.shared.clone(), device.clone(), *epoch, wanted);
        Lane::put(&mut self.command_lane, How::default(), async move {
            report.await;
            Done::default()
        });
    }

    /// Counts something that could not be taken, and says so if it is time.
    fn reject(&mut self, reason: &str) {
        let Some(Identity { device, .. }) = self.identity.as_deref() else { return };
        if let Some(event) = rejections::count(&self.shared, device, reason) {
            let shared = self.shared.clone();
            Lane::put(&mut self.device_lane, How::default(), async move {
                rejections::report(&shared, event).await;
                Done::default()
            });
        }
    }
}

/// The session machine's time: the same clock, which never is before the epoch.
fn now(shared: &Shared) -> u64 {
    u64::try_from(shared.now()).unwrap_or_default()
}

/// What core is told of an end.
fn ended_as(ended: Ended) -> Option<EndReason> {
    match ended {
        Ended::ClientDisconnect { will: false } => Some(EndReason::Disconnect),
        Ended::ClientDisconnect { will: true } => Some(EndReason::DisconnectWithWill),
        Ended::TransportClosed => Some(EndReason::Cut),
        Ended::KeepAliveTimeout => Some(EndReason::KeepAlive),
        Ended::ProtocolError { .. } => Some(EndReason::ProtocolError),
        Ended::Shut(ServerReason::TakenOver) => Some(EndReason::TakenOver),
        Ended::Shut(ServerReason::Administrative | ServerReason::NotAuthorized) => Some(EndReason::Revoked),
        Ended::Shut(_) => Some(EndReason::ByPlatform),
        Ended::ConnectTimeout | Ended::Refused(_) => None,
    }
}

/// What a WebSocket is told at its end. None where nobody is there to hear it.
fn close_code(ended: Ended) -> Option<CloseCode> {
    match ended {
        Ended::TransportClosed | Ended::KeepAliveTimeout => None,
        Ended::ClientDisconnect { .. } => Some(CloseCode::Normal),
        Ended::ProtocolError { reason: ReasonCode::PacketTooLarge, .. } => Some(CloseCode::Size),
        Ended::ProtocolError { .. } => Some(CloseCode::Protocol),
        Ended::Shut(ServerReason::ShuttingDown) => Some(CloseCode::Away),
        Ended::Shut(ServerReason::StoreUnavailable)
        | Ended::Refused(Refusal::Unavailable | Refusal::Busy | Refusal::ConnectionRateExceeded) => {
            Some(CloseCode::Again)
        }
        Ended::ConnectTimeout | Ended::Shut(_) | Ended::Refused(_) => Some(CloseCode::Policy),
    }
}

/// What a device is told when core could not answer: nothing, so that it comes again. Only a refusal in core's own words
/// is one: the transport has codes of its own for other things.
fn outcome_of(status: &tonic::Status) -> PublishOutcome {
    use stoker_proto::problem::ProblemKind;
    match ProblemKind::said_by_core(status) {
        Some(ProblemKind::InvalidRequest) => PublishOutcome::PayloadInvalid,
        Some(ProblemKind::LimitReached) => PublishOutcome::QuotaExceeded,
        Some(ProblemKind::NotFound | ProblemKind::Unauthenticated) => PublishOutcome::NotAuthorized,
        _ => PublishOutcome::StoreUnavailable,
    }
}
