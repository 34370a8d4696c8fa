//! Commands.

use stoker_domain::{Command, CommandOutcome, CommandState};

use super::{Invalid, Stored, StoredEnum, optional, proto, required, stored_enum};

stored_enum!(
    CommandState,
    proto::CommandState,
    Queued,
    Sent,
    Delivered,
    Succeeded,
    Failed,
    Expired,
    Cancelled,
);
stored_enum!(CommandOutcome, proto::CommandOutcome, NeverSent, Unknown, NoReply);

impl Stored for Command {
    type Row = proto::Command;
    const KIND: &'static str = "command";

    fn to_row(&self) -> Self::Row {
        proto::Command {
            id: Some(self.id.to_row()),
            device: Some(self.device.to_row()),
            number: self.number,
            method: self.method.clone(),
            params: self.params.clone(),
            state: self.state.number(),
            outcome: self.outcome.map(StoredEnum::number),
            reply: self.reply.clone(),
            detail: self.detail.clone(),
            online: self.online,
            handed: self.handed.map(|epoch| epoch.to_row()),
            created_at: self.created_at,
            sent_at: self.sent_at,
            delivered_at: self.delivered_at,
            ended_at: self.ended_at,
            expires_at: self.expires_at,
        }
    }

    fn from_row(row: Self::Row) -> Result<Self, Invalid> {
        Ok(Self {
            id: required("id", row.id)?,
            device: required("device", row.device)?,
            number: row.number,
            method: row.method,
            params: row.params,
            state: CommandState::from_number("state", row.state)?,
            outcome: row.outcome.map(|n| CommandOutcome::from_number("outcome", n)).transpose()?,
            reply: row.reply,
            detail: row.detail,
            online: row.online,
            handed: optional("handed", row.handed)?,
            created_at: row.created_at,
            sent_at: row.sent_at,
            delivered_at: row.delivered_at,
            ended_at: row.ended_at,
            expires_at: row.expires_at,
        })
    }
}
