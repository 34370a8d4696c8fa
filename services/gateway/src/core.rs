//! Calls to core. Each has a deadline, and goes to the owner of its device's slot where that is known.

use std::sync::Arc;
use std::time::Duration;

use stoker_domain::gate::GateBounds;
use stoker_domain::model::{DeviceKey, EndReason, Event, Millis, SessionEpoch};
use stoker_link::to_owner;
use stoker_proto::convert;
use stoker_proto::core::v1::report_command_request::{self as command, Report};
use stoker_proto::core::v1::report_session_request::{Ended, Report as Session};
use stoker_proto::core::v1::{self as wire, ReportCommandRequest, ReportEventRequest, ReportSessionRequest};
use stoker_proto::problem::ProblemKind;
use tonic::{Response, Status};

use crate::shared::Shared;
use crate::uplink::jittered;

/// How long a call may take. A device waits for its PUBACK meanwhile.
const WITHIN: Duration = Duration::from_secs(10);
/// How long reports that nobody waits for are tried.
const REPORT_WITHIN: Duration = Duration::from_secs(60);

/// Calls about sessions under way at once, of each kind: when a whole fleet comes or goes, it waits its turn here, where
/// a device costs little, and not in the transport.
pub(crate) const SESSION_CALLS: usize = 64;
/// Fewer sessions are opened at once when that takes long: what core and its store can do belongs first to the devices that
/// are there, or these would be kept waiting until they dial anew as well.
pub(crate) const OPENINGS: GateBounds =
    GateBounds { target: Duration::from_millis(200), least: 4, most: SESSION_CALLS };

async fn within<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
    match tokio::time::timeout(WITHIN, call).await {
        Ok(answer) => answer.map(Response::into_inner),
        Err(_) => Err(ProblemKind::Unavailable.status("core did not answer in time")),
    }
}

/// Asks for a session. None: when its turn came, nobody wanted it any more, and core was not asked. A device that has waited
/// for too long dials again, and what it does not want must not keep it waiting once more.
pub(crate) async fn open_session(
    shared: &Shared,
    request: wire::OpenSessionRequest,
    is_wanted: impl Fn() -> bool,
) -> Option<Result<wire::OpenSessionReply, Status>> {
    let turn = shared.opening_sessions.wait().await;
    if !is_wanted() {
        return None;
    }
    // A call is kilobytes large: on the heap, and only when its turn has come.
    let reply = Box::pin(within(shared.core.clone().open_session(to_owner(request)))).await;
    if reply.is_ok() {
        turn.done();
    }
    Some(reply)
}

/// Reports an event; it and all it causes are stored on `Ok`.
pub(crate) async fn event(shared: &Shared, event: Event) -> Result<(), Status> {
    let event = Some(convert::event_to_wire(event));
    within(shared.core.clone().report_event(to_owner(ReportEventRequest { event }))).await.map(drop)
}

/// Reports client attributes.
pub(crate) async fn attributes(
    shared: &Shared,
    request: wire::ReportAttributesRequest,
) -> Result<(), Status> {
    within(shared.core.clone().report_attributes(to_owner(request))).await.map(drop)
}

/// Asks for attributes.
pub(crate) async fn read_attributes(
    shared: &Shared,
    request: wire::ReadAttributesRequest,
) -> Result<wire::ReadAttributesReply, Status> {
    within(shared.core.clone().read_attributes(to_owner(request))).await
}

/// Tries again, with growing pauses, while core cannot answer.
async fn persist<F: Future<Output = Result<(), Status>>>(
    what: &str,
    device: &DeviceKey,
    call: impl Fn() -> F,
) {
    let mut pause = Duration::from_millis(50);
    let tries = async {
        loop {
            match call().await {
                Ok(()) => return,
                Err(status)
                    if matches!(
                        ProblemKind::said_by_core(&status),
                        None | Some(ProblemKind::Unavailable | ProblemKind::Internal)
                    ) => {}
                Err(status) => {
                    tracing::warn!(%device, what, error = status.message(), "core refused a report");
                    return;
                }
            }
            tokio::time::sleep(jittered(pause)).await;
            pause = pause.saturating_mul(2).min(Duration::from_secs(5));
        }
    };
    if tokio::time::timeout(REPORT_WITHIN, tries).await.is_err() {
        tracing::error!(%device, what, "core could not be told");
    }
}

/// Reports about a command until core has heard it.
pub(crate) async fn command(shared: Arc<Shared>, device: DeviceKey, report: Report) {
    persist("command", &device, || {
        let request = ReportCommandRequest { report: Some(report.clone()) };
        let mut core = shared.core.clone();
        async move { within(core.report_command(to_owner(request))).await.map(drop) }
    })
    .await;
}

/// Reports a reply; it is stored on `Ok`.
pub(crate) async fn reply(shared: &Shared, report: Report) -> Result<(), Status> {
    let request = ReportCommandRequest { report: Some(report) };
    within(shared.core.clone().report_command(to_owner(request))).await.map(drop)
}

/// Reports about a session until core has heard it.
async fn session(shared: &Shared, device: &DeviceKey, epoch: SessionEpoch, report: Session) {
    persist("session", device, || {
        let request = ReportSessionRequest {
            device: Some(convert::device_ref(device)),
            epoch: Some(convert::epoch_to_wire(epoch)),
            report: Some(report),
        };
        let mut core = shared.core.clone();
        async move { shared.pulse.of(within(core.report_session(to_owner(request)))).await.map(drop) }
    })
    .await;
}

/// The device takes commands now, or not any more.
pub(crate) async fn commands_wanted(
    shared: Arc<Shared>,
    device: DeviceKey,
    epoch: SessionEpoch,
    wanted: bool,
) {
    // Never closed: the error cannot be.
    let _turn = shared.telling_sessions.acquire().await;
    Box::pin(session(&shared, &device, epoch, Session::CommandsWanted(wanted))).await;
}

/// The session is over.
pub(crate) async fn session_ended(
    shared: &Shared,
    device: &DeviceKey,
    epoch: SessionEpoch,
    reason: EndReason,
    stamp_floor: Millis,
) {
    let _turn = shared.ending_sessions.acquire().await;
    let handed_over = reason == EndReason::ByPlatform && shared.registry.is_closed();
    let grace_ms = shared.handover_grace_ms.filter(|_| handed_over);
    let reason = convert::end_reason_to_wire(reason);
    let ended = Ended { reason, stamp_floor, grace_ms };
    Box::pin(session(shared, device, epoch, Session::Ended(ended))).await;
}

/// A report that a command was surely not written.
pub(crate) fn not_sent(id: String, session: SessionEpoch, never: bool, detail: &str) -> Report {
    Report::NotSent(command::NotSent {
        id,
        session: Some(convert::epoch_to_wire(session)),
        never,
        detail: detail.to_owned(),
    })
}
