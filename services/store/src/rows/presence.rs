//! Presence.

use stoker_domain::{EndReason, MemberId, Presence, SessionInfo, Will};

use super::ids::id;
use super::{Invalid, Stored, StoredEnum, optional, proto, required, stored_enum};

stored_enum!(
    EndReason,
    proto::EndReason,
    Disconnect,
    DisconnectWithWill,
    Cut,
    KeepAlive,
    ProtocolError,
    SlowReader,
    TakenOver,
    ByPlatform,
    PlatformCrash,
    Revoked,
);

impl Stored for Will {
    type Row = proto::Will;
    const KIND: &'static str = "will";

    fn to_row(&self) -> Self::Row {
        proto::Will { event: Some(self.event.to_row()), delay_ms: self.delay_ms }
    }

    fn from_row(row: Self::Row) -> Result<Self, Invalid> {
        Ok(Self { event: required("event", row.event)?, delay_ms: row.delay_ms })
    }
}

impl Stored for SessionInfo {
    type Row = proto::SessionInfo;
    const KIND: &'static str = "session";

    fn to_row(&self) -> Self::Row {
        proto::SessionInfo {
            gateway: self.gateway.as_str().to_owned(),
            address: self.address.clone(),
            protocol: self.protocol.clone(),
            will: self.will.as_ref().map(Stored::to_row),
        }
    }

    fn from_row(row: Self::Row) -> Result<Self, Invalid> {
        Ok(Self {
            gateway: id("gateway", &row.gateway, MemberId::new)?,
            address: row.address,
            protocol: row.protocol,
            will: optional("will", row.will)?,
        })
    }
}

impl Stored for Presence {
    type Row = proto::Presence;
    const KIND: &'static str = "presence";

    fn to_row(&self) -> Self::Row {
        proto::Presence {
            key: Some(self.key.to_row()),
            epoch: Some(self.epoch.to_row()),
            session: Some(self.session.to_row()),
            opened_at: self.opened_at,
            ended: self.ended.map(|(at, reason)| proto::SessionEnd { at, reason: reason.number() }),
            silence_due: self.silence_due,
            will_due: self.will_due,
        }
    }

    fn from_row(row: Self::Row) -> Result<Self, Invalid> {
        Ok(Self {
            key: required("key", row.key)?,
            epoch: required("epoch", row.epoch)?,
            session: required("session", row.session)?,
            opened_at: row.opened_at,
            ended: row
                .ended
                .map(|end| Ok((end.at, EndReason::from_number("ended.reason", end.reason)?)))
                .transpose()?,
            silence_due: row.silence_due,
            will_due: row.will_due,
        })
    }
}
