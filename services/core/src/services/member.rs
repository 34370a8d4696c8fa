//! What every gateway, notifier and portal says once a second: that it lives.

use std::sync::Arc;

use stoker_domain::model::{MemberRole, MemberRow};
use stoker_proto::convert;
use stoker_proto::core::v1 as wire;
use stoker_proto::core::v1::member_service_server::MemberService;
use tonic::{Request, Response, Status};

use super::store_status;
use crate::cluster::Close;
use crate::shared::Shared;
use crate::slots::Slots;

/// Characters of a text that is kept for people.
const TEXT_MOST: usize = 256;

/// Serves all other processes.
pub struct Members {
    pub(crate) shared: Arc<Shared>,
    pub(crate) slots: Slots,
}

fn close(close: Close) -> wire::CloseSession {
    wire::CloseSession {
        number: close.number,
        device: Some(convert::device_ref(&close.device)),
        epoch: Some(convert::epoch_to_wire(close.session)),
        reason: convert::end_reason_to_wire(close.reason),
    }
}

fn text(text: String) -> String {
    text.chars().take(TEXT_MOST).collect()
}

fn core(row: &MemberRow) -> Option<wire::CoreMember> {
    let slots = row.slots.filter(|_| row.role == MemberRole::Core)?;
    Some(wire::CoreMember {
        member: row.id.as_str().to_owned(),
        address: row.address.clone(),
        first_slot: slots.first().0.into(),
        last_slot: slots.last().0.into(),
        leaving: row.leaving,
    })
}

#[tonic::async_trait]
impl MemberService for Members {
    async fn beat(&self, request: Request<wire::BeatRequest>) -> Result<Response<wire::BeatReply>, Status> {
        let request = request.into_inner();
        let id = convert::id("member", &request.member)?;
        let presumed_dead = self.shared.gateways.deaths(&id);
        // What it has heard from another one that was at this address is of no account.
        let heard = if request.closes_of == self.shared.member.as_str() { request.closes_heard } else { 0 };
        let closes = self.shared.closes.waiting(&id, heard);
        if request.register && !self.shared.roster.is_cut_off(self.shared.clock.now_ms()) {
            let row = MemberRow {
                id,
                role: convert::member_role_from_wire(request.role)?,
                address: text(request.address),
                host: text(request.host),
                version: text(request.version),
                slots: None,
                sessions: request.sessions,
                leaving: request.leaving,
                started_at: request.started_at,
                beat: request.beat,
            };
            self.shared.store.member_put(row).await.map_err(|error| store_status(&error))?;
        }
        let rows = self.shared.roster.rows();
        let slots = self.slots.owned().into_iter();
        Ok(Response::new(wire::BeatReply {
            member: self.shared.member.as_str().to_owned(),
            slots: slots
                .map(|(slot, epoch)| wire::OwnedSlot { slot: slot.0.into(), epoch: epoch.0 })
                .collect(),
            cores: rows.iter().filter_map(core).collect(),
            presumed_dead,
            closes: closes.into_iter().map(close).collect(),
            cut_off: self.shared.roster.is_cut_off(self.shared.clock.now_ms()),
        }))
    }
}
