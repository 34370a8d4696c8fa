//! Ids and keys within rows.

use stoker_domain::{
    AlarmId, CommandId, DeviceId, DeviceKey, IdError, MintedId, NotificationId, OrganizationId, SessionEpoch,
    Slot, SlotEpoch, TokenHash,
};

use super::{Invalid, Stored, proto};

/// An id out of a text field.
pub(super) fn id<T>(
    field: &str,
    text: &str,
    make: impl FnOnce(&str) -> Result<T, IdError>,
) -> Result<T, Invalid> {
    make(text).map_err(|e| Invalid::new(field, format_args!("{text:?} is no id: {e}")))
}

/// A token's hash out of a bytes field.
pub(super) fn token_hash(field: &str, bytes: &[u8]) -> Result<TokenHash, Invalid> {
    bytes
        .try_into()
        .map(TokenHash)
        .map_err(|_| Invalid::new(field, format_args!("{} bytes instead of 32", bytes.len())))
}

impl Stored for DeviceKey {
    type Row = proto::DeviceKey;
    const KIND: &'static str = "device key";

    fn to_row(&self) -> Self::Row {
        proto::DeviceKey {
            organization: self.organization.as_str().to_owned(),
            device: self.device.as_str().to_owned(),
        }
    }

    fn from_row(row: Self::Row) -> Result<Self, Invalid> {
        Ok(Self::new(
            id("organization", &row.organization, OrganizationId::new)?,
            id("device", &row.device, DeviceId::new)?,
        ))
    }
}

impl Stored for MintedId {
    type Row = proto::MintedId;
    const KIND: &'static str = "minted id";

    fn to_row(&self) -> Self::Row {
        proto::MintedId { slot: u32::from(self.slot.0), epoch: self.epoch.0, counter: self.counter }
    }

    fn from_row(row: Self::Row) -> Result<Self, Invalid> {
        let slot = u8::try_from(row.slot)
            .map_err(|_| Invalid::new("slot", format_args!("{} is none of 256", row.slot)))?;
        Ok(Self { slot: Slot(slot), epoch: SlotEpoch(row.epoch), counter: row.counter })
    }
}

macro_rules! minted {
    ($($name:ident),+) => {$(
        impl Stored for $name {
            type Row = proto::MintedId;
            const KIND: &'static str = stringify!($name);

            fn to_row(&self) -> Self::Row {
                self.0.to_row()
            }

            fn from_row(row: Self::Row) -> Result<Self, Invalid> {
                MintedId::from_row(row).map(Self)
            }
        }
    )+};
}
minted!(CommandId, AlarmId, NotificationId);

impl Stored for SessionEpoch {
    type Row = proto::SessionEpoch;
    const KIND: &'static str = "session epoch";

    fn to_row(&self) -> Self::Row {
        proto::SessionEpoch { slot: self.slot.0, counter: self.counter }
    }

    fn from_row(row: Self::Row) -> Result<Self, Invalid> {
        Ok(Self { slot: SlotEpoch(row.slot), counter: row.counter })
    }
}
