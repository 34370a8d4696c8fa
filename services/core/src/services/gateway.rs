//! What gateways ask: sessions, events, reports about commands, attributes.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, future, stream};
use stoker_domain::machine::{
    Announce, CommandReport, EventVerdict, Input, OpenSession, PatchAttributes, Reply, SessionRefusal,
    SessionReport,
};
use stoker_domain::model::{CommandId, DeviceKey, EndReason, Millis, SessionInfo, Slot};
use stoker_link::Channel;
use stoker_link::MESSAGE_MOST;
use stoker_proto::convert::{self, WireError};
use stoker_proto::core::v1::gateway_service_client::GatewayServiceClient;
use stoker_proto::core::v1::gateway_service_server::GatewayService;
use stoker_proto::core::v1::report_command_request::Report;
use stoker_proto::core::v1::report_session_request::Report as Session;
use stoker_proto::core::v1::{self as wire, credential};
use stoker_proto::problem::ProblemKind;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::{credential_status, readings, slot_status, wrong_reply};
use crate::cluster::Routes;
use crate::credentials::{Credentials, Shown};
use crate::shared::Shared;
use crate::slots::{SlotError, Slots};
use crate::tasks::Tasks;

/// How far stamps may be ahead of the clock; for so long after a take-over the newest points are asked.
const STAMPS_AHEAD_MS: Millis = 60_000;

/// The longest grace that a gateway may ask for: the longest that any duration may be configured to.
const GRACE_MOST_MS: Millis = 31_536_000_000;

/// Sessions of one announcement that wait for their slot at once: a small part of what its mailbox takes.
const ANNOUNCED_AT_ONCE: usize = 64;

/// Serves gateways.
#[derive(Clone)]
pub struct Gateways {
    pub(crate) shared: Arc<Shared>,
    pub(crate) slots: Slots,
    pub(crate) routes: Routes,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) tasks: Tasks,
}

impl Gateways {
    async fn apply(&self, device: &DeviceKey, input: Input) -> Result<Reply, Status> {
        self.slots.apply(device.slot(), input).await.map_err(slot_status)
    }

    /// The time after which the device's points are to be stamped. Its stamps may run ahead of the clock when it sends
    /// more than one in a millisecond; what was told of that is lost with the owner of its slot, so for a while after
    /// a take-over the newest points say it, which are read once.
    async fn stamp_floor(&self, device: &DeviceKey) -> Millis {
        let told = self.shared.seen.stamp_floor(device);
        let now = self.shared.clock.now_ms();
        let since = self.slots.since(device.slot()).unwrap_or(now);
        if now - since > STAMPS_AHEAD_MS || self.shared.seen.is_floor_read(device, since) {
            return told;
        }
        match self.shared.store.latest(device, None).await {
            Ok(latest) => {
                let stamps = latest.into_values().map(|latest| latest.ts);
                let floor = stamps.filter(|&ts| ts <= now + STAMPS_AHEAD_MS).fold(told, Millis::max);
                self.shared.seen.floor_read(device, floor, now);
                floor
            }
            Err(error) => {
                tracing::warn!(%device, %error, "the newest points could not be read");
                told
            }
        }
    }

    async fn report(&self, report: CommandReport) -> Result<(), Status> {
        let slot = match &report {
            CommandReport::Replied { device, .. } => device.slot(),
            CommandReport::Sent { id, .. }
            | CommandReport::Delivered { id, .. }
            | CommandReport::Refused { id, .. }
            | CommandReport::NotSent { id, .. } => id.slot(),
        };
        self.slots.apply(slot, Input::Command(report)).await.map_err(slot_status)?;
        Ok(())
    }
}

fn shown(credential: Option<wire::Credential>) -> Result<Shown, WireError> {
    match credential.and_then(|credential| credential.kind) {
        None => Err(WireError::Missing("credential")),
        Some(credential::Kind::Token(token)) => Ok(Shown::Token(token)),
        Some(credential::Kind::Password(shown)) => {
            Ok(Shown::Password { user_name: shown.user_name, password: shown.password })
        }
        Some(credential::Kind::Certificate(shown)) => {
            Ok(Shown::Certificate { organization: shown.organization, device: shown.device })
        }
    }
}

fn command_report(report: Option<Report>) -> Result<CommandReport, WireError> {
    let id = |text: &str| convert::id::<CommandId>("command", text);
    Ok(match report.ok_or(WireError::Missing("report"))? {
        Report::Sent(sent) => {
            CommandReport::Sent { id: id(&sent.id)?, session: convert::epoch_from_wire(sent.session)? }
        }
        Report::Delivered(report) => CommandReport::Delivered {
            id: id(&report.id)?,
            session: convert::epoch_from_wire(report.session)?,
        },
        Report::Refused(report) => CommandReport::Refused {
            id: id(&report.id)?,
            session: convert::epoch_from_wire(report.session)?,
            detail: report.detail,
        },
        Report::NotSent(report) => CommandReport::NotSent {
            id: id(&report.id)?,
            session: convert::epoch_from_wire(report.session)?,
            never: report.never,
            detail: report.detail,
        },
        Report::Replied(report) => CommandReport::Replied {
            device: convert::device_key(report.device.as_ref())?,
            number: report.number,
            reply: report.reply,
            failed: report.failed,
            at: report.at,
        },
    })
}

fn no_credential() -> Status {
    ProblemKind::Unauthenticated.status("no device has this credential")
}

fn client(channel: Channel) -> GatewayServiceClient<Channel> {
    GatewayServiceClient::new(channel).max_decoding_message_size(MESSAGE_MOST)
}

impl Gateways {
    /// A session whose requester has gone is held by nobody, and nobody would report its end. A gateway asks to the end for
    /// devices that have gone: when it has gone itself, that is none of the device's doing.
    async fn granted(&self, request: wire::OpenSessionRequest) -> Result<wire::OpenSessionReply, Status> {
        let (reply, answer) = oneshot::channel();
        let (this, gone) = (self.clone(), CancellationToken::new());
        let _guard = gone.clone().drop_guard();
        self.tasks.spawn(async move {
            let Err(Ok(unheard)) = reply.send(this.opened_session(request, gone).await) else { return };
            let (Ok(device), Ok(epoch)) =
                (convert::device_key(unheard.device.as_ref()), convert::epoch_from_wire(unheard.epoch))
            else {
                return;
            };
            let report = SessionReport::Ended { device: device.clone(), epoch, reason: EndReason::ByPlatform };
            if let Err(status) = this.apply(&device, Input::Session(report)).await {
                tracing::warn!(%device, error = status.message(), "a session that nobody holds could not be ended");
            }
        });
        answer
            .await
            .unwrap_or_else(|_| Err(ProblemKind::Internal.status("the request could not be finished")))
    }

    async fn opened_session(
        &self,
        request: wire::OpenSessionRequest,
        unwanted: CancellationToken,
    ) -> Result<wire::OpenSessionReply, Status> {
        let shown = shown(request.credential)?;
        let checked = self.credentials.check(shown).await;
        let (device, proof) =
            checked.map_err(|error| credential_status(&error))?.ok_or_else(no_credential)?;
        let will = match request.will {
            None => None,
            Some(mut will) => {
                // The gateway does not know yet whose connection it is: the credential says so.
                if let Some(event) = will.event.as_mut() {
                    event.device = Some(convert::device_ref(&device));
                }
                Some(convert::will_from_wire(will)?)
            }
        };
        let arrival = request.arrival;
        let session = SessionInfo {
            gateway: convert::id("gateway", &request.gateway)?,
            address: request.address,
            protocol: request.protocol,
            will,
        };
        let open = Input::OpenSession(OpenSession { device: device.clone(), proof, session, arrival });
        let reply =
            self.slots.apply_unless(device.slot(), open, Some(unwanted)).await.map_err(slot_status)?;
        let Reply::Session(grant) = reply else { return Err(wrong_reply()) };
        let grant = match grant {
            Ok(grant) => grant,
            Err(SessionRefusal::NotAdmitted) => return Err(no_credential()),
            Err(SessionRefusal::Superseded) => {
                let reply = wire::OpenSessionReply {
                    device: Some(convert::device_ref(&device)),
                    superseded: true,
                    ..wire::OpenSessionReply::default()
                };
                return Ok(reply);
            }
        };
        self.shared.seen.message(&device, self.shared.clock.now_ms());
        let stamp_floor = self.stamp_floor(&device).await;
        Ok(wire::OpenSessionReply {
            device: Some(convert::device_ref(&device)),
            epoch: Some(convert::epoch_to_wire(grant.epoch)),
            stamp_floor,
            superseded: false,
        })
    }

    /// Whether it has to be looked up once more whose the credential is.
    fn is_of_another(&self, shown: &Shown, refusal: &Status) -> bool {
        let refused = ProblemKind::said_by_core(refusal) == Some(ProblemKind::Unauthenticated);
        refused && self.credentials.forget(shown)
    }

    async fn opened_by_owner(
        &self,
        shown: &Shown,
        request: Request<wire::OpenSessionRequest>,
    ) -> Result<Response<wire::OpenSessionReply>, Status> {
        if !self.routes.has_others() {
            return self.granted(request.into_inner()).await.map(Response::new);
        }
        // Only its owner knows whether the credential is right; whose it would be stands in the registry.
        let claimed = self.credentials.claimed(shown).await;
        let device = claimed.map_err(|error| credential_status(&error))?.ok_or_else(no_credential)?;
        let here = |request| self.granted(request);
        let there = |channel, request| async move { client(channel).open_session(request).await };
        self.routes.carry(device.slot(), request, here, there).await
    }

    async fn reported_session(
        &self,
        request: wire::ReportSessionRequest,
    ) -> Result<wire::ReportSessionReply, Status> {
        let device = convert::device_key(request.device.as_ref())?;
        let epoch = convert::epoch_from_wire(request.epoch)?;
        let report = match request.report.ok_or(WireError::Missing("report"))? {
            Session::CommandsWanted(wanted) => {
                SessionReport::CommandsWanted { device: device.clone(), epoch, wanted }
            }
            Session::Ended(ended) => {
                self.shared.seen.stamped(&device, ended.stamp_floor);
                let reason = convert::end_reason_from_wire(ended.reason)?;
                let device = device.clone();
                match ended.grace_ms {
                    Some(grace) if reason == EndReason::ByPlatform => {
                        let grace_ms = Millis::try_from(grace).unwrap_or(Millis::MAX).min(GRACE_MOST_MS);
                        SessionReport::HandedOver { device, epoch, grace_ms }
                    }
                    _ => SessionReport::Ended { device, epoch, reason },
                }
            }
        };
        match self.apply(&device, Input::Session(report)).await? {
            Reply::Unannounced => {
                let detail = "the session is not known here yet; announce it and say this again";
                Err(ProblemKind::Unavailable.status(detail))
            }
            _ => Ok(wire::ReportSessionReply {}),
        }
    }

    async fn reported_event(
        &self,
        request: wire::ReportEventRequest,
    ) -> Result<wire::ReportEventReply, Status> {
        let event = convert::event_from_wire(request.event)?;
        let device = event.device.clone();
        self.shared.seen.message(&device, self.shared.clock.now_ms());
        let id = event.id.clone();
        let Reply::Event(verdict) = self.apply(&device, Input::Event(event)).await? else {
            return Err(wrong_reply());
        };
        match verdict {
            EventVerdict::Counted | EventVerdict::Repeated => {}
            EventVerdict::UnknownDevice => return Err(super::portal_devices::no_device(&device)),
            EventVerdict::TooManyAlarms => {
                tracing::warn!(%device, event = %id, "a fault raised no alarm: the device has too many");
            }
        }
        Ok(wire::ReportEventReply { repeated: verdict == EventVerdict::Repeated })
    }

    async fn reported_command(
        &self,
        request: wire::ReportCommandRequest,
    ) -> Result<wire::ReportCommandReply, Status> {
        let report = command_report(request.report)?;
        if let CommandReport::Replied { device, .. } = &report {
            self.shared.seen.message(device, self.shared.clock.now_ms());
        }
        self.report(report).await?;
        Ok(wire::ReportCommandReply {})
    }

    async fn reported_attributes(
        &self,
        request: wire::ReportAttributesRequest,
    ) -> Result<wire::ReportAttributesReply, Status> {
        let device = convert::device_key(request.device.as_ref())?;
        self.shared.seen.message(&device, self.shared.clock.now_ms());
        let patch = PatchAttributes {
            device: device.clone(),
            client: super::portal_devices::scope(request.client, request.remove_client)?,
            shared: BTreeMap::new(),
            server: BTreeMap::new(),
        };
        let Reply::Attributes(result) = self.apply(&device, Input::PatchAttributes(patch)).await? else {
            return Err(wrong_reply());
        };
        result.map_err(super::portal_devices::device_refusal)?;
        Ok(wire::ReportAttributesReply {})
    }

    async fn asked_attributes(
        &self,
        request: wire::ReadAttributesRequest,
    ) -> Result<wire::ReadAttributesReply, Status> {
        let device = convert::device_key(request.device.as_ref())?;
        self.shared.seen.message(&device, self.shared.clock.now_ms());
        let look = device.clone();
        let attributes = self
            .slots
            .query(device.slot(), move |machine| machine.device(&look).map(|view| view.attributes.cloned()))
            .await
            .map_err(slot_status)?
            .ok_or_else(|| ProblemKind::NotFound.status(format!("there is no device {}", device.device)))?;
        let Some(attributes) = attributes else {
            return Ok(wire::ReadAttributesReply::default());
        };
        let all = request.client_keys.is_none() && request.shared_keys.is_none();
        let pick = |values, keys: Option<wire::Strings>| {
            let mut values = convert::values_to_wire(values);
            match keys {
                Some(keys) => values.retain(|key, _| keys.items.contains(key)),
                None if all => {}
                None => values.clear(),
            }
            values
        };
        Ok(wire::ReadAttributesReply {
            client: pick(&attributes.client, request.client_keys),
            shared: pick(&attributes.shared, request.shared_keys),
        })
    }

    async fn announced(
        &self,
        request: wire::AnnounceSessionsRequest,
    ) -> Result<wire::AnnounceSessionsReply, Status> {
        let slot = u8::try_from(request.slot).map(Slot).map_err(|_| WireError::Range("slot"))?;
        let gateway = convert::id("gateway", &request.gateway)?;
        let sessions =
            request.sessions.into_iter().map(|held| convert::held_session_from_wire(held, &gateway));
        let sessions = sessions.collect::<Result<Vec<_>, _>>()?;
        if sessions.iter().any(|held| held.device.slot() != slot) {
            return Err(ProblemKind::InvalidRequest.status("a session is of another slot"));
        }
        let epoch = self.slots.epoch(slot).ok_or_else(|| slot_status(SlotError::NoOwner))?;
        // One by one: what each is handed again may be as much as a commit should have.
        stream::iter(sessions)
            .map(|held| Input::Announce(Announce { gateway: gateway.clone(), sessions: vec![held] }))
            .map(|input| self.slots.apply(slot, input))
            .buffered(ANNOUNCED_AT_ONCE)
            .try_for_each(|_| future::ok(()))
            .await
            .map_err(slot_status)?;
        Ok(wire::AnnounceSessionsReply { slot_epoch: epoch.0 })
    }
}

#[tonic::async_trait]
impl GatewayService for Gateways {
    type ReadingsStream = readings::Answers;

    async fn readings(
        &self,
        request: Request<Streaming<wire::ReadingBatch>>,
    ) -> Result<Response<Self::ReadingsStream>, Status> {
        Ok(Response::new(readings::serve(self.shared.clone(), &self.tasks, request.into_inner())))
    }

    async fn open_session(
        &self,
        request: Request<wire::OpenSessionRequest>,
    ) -> Result<Response<wire::OpenSessionReply>, Status> {
        let shown = shown(request.get_ref().credential.clone())?;
        let copy = Request::from_parts(
            request.metadata().clone(),
            request.extensions().clone(),
            request.get_ref().clone(),
        );
        match self.opened_by_owner(&shown, request).await {
            // A token may have become another device's.
            Err(status) if self.is_of_another(&shown, &status) => self.opened_by_owner(&shown, copy).await,
            opened => opened,
        }
    }

    async fn report_session(
        &self,
        request: Request<wire::ReportSessionRequest>,
    ) -> Result<Response<wire::ReportSessionReply>, Status> {
        let there = |channel, request| async move { client(channel).report_session(request).await };
        self.routes.place(request, |request| self.reported_session(request), there).await
    }

    async fn report_event(
        &self,
        request: Request<wire::ReportEventRequest>,
    ) -> Result<Response<wire::ReportEventReply>, Status> {
        let there = |channel, request| async move { client(channel).report_event(request).await };
        self.routes.place(request, |request| self.reported_event(request), there).await
    }

    async fn report_command(
        &self,
        request: Request<wire::ReportCommandRequest>,
    ) -> Result<Response<wire::ReportCommandReply>, Status> {
        let there = |channel, request| async move { client(channel).report_command(request).await };
        self.routes.place(request, |request| self.reported_command(request), there).await
    }

    async fn report_attributes(
        &self,
        request: Request<wire::ReportAttributesRequest>,
    ) -> Result<Response<wire::ReportAttributesReply>, Status> {
        let there = |channel, request| async move { client(channel).report_attributes(request).await };
        self.routes.place(request, |request| self.reported_attributes(request), there).await
    }

    async fn read_attributes(
        &self,
        request: Request<wire::ReadAttributesRequest>,
    ) -> Result<Response<wire::ReadAttributesReply>, Status> {
        let there = |channel, request| async move { client(channel).read_attributes(request).await };
        self.routes.place(request, |request| self.asked_attributes(request), there).await
    }

    async fn announce_sessions(
        &self,
        request: Request<wire::AnnounceSessionsRequest>,
    ) -> Result<Response<wire::AnnounceSessionsReply>, Status> {
        let there = |channel, request| async move { client(channel).announce_sessions(request).await };
        self.routes.place(request, |request| self.announced(request), there).await
    }
}
