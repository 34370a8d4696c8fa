//! What spans slots, and the heads of slots.

use stoker_domain::ports::store::{RegistryRow, SlotHead};
use stoker_domain::{Match, MemberId, OrganizationId, Severity, SlotEpoch, Subscription, SubscriptionId};

use super::ids::{id, token_hash};
use super::{Invalid, Stored, StoredEnum, proto, required};

/// The head of a slot, wrapped: the port's own type has no stored form of its own.
pub(crate) struct Head(pub(crate) SlotHead);

impl Stored for Head {
    type Row = proto::SlotHead;
    const KIND: &'static str = "slot head";

    fn to_row(&self) -> Self::Row {
        proto::SlotHead {
            epoch: self.0.epoch.0,
            owner: self.0.owner.as_ref().map(|owner| owner.as_str().to_owned()),
        }
    }

    fn from_row(row: Self::Row) -> Result<Self, Invalid> {
        Ok(Self(SlotHead {
            epoch: SlotEpoch(row.epoch),
            owner: row.owner.map(|owner| id("owner", &owner, MemberId::new)).transpose()?,
        }))
    }
}

fn patterns(list: Option<&Vec<String>>) -> Option<proto::Patterns> {
    list.map(|any| proto::Patterns { any: any.clone() })
}

impl Stored for Subscription {
    type Row = proto::Subscription;
    const KIND: &'static str = "subscription";

    fn to_row(&self) -> Self::Row {
        proto::Subscription {
            id: self.id.as_str().to_owned(),
            organization: self.organization.as_str().to_owned(),
            name: self.name.clone(),
            devices: patterns(self.matching.devices.as_ref()),
            sites: patterns(self.matching.sites.as_ref()),
            tags: patterns(self.matching.tags.as_ref()),
            min_severity: self.matching.min_severity.map(StoredEnum::number),
            deliver: self.deliver.iter().map(Stored::to_row).collect(),
            created_at: self.created_at,
        }
    }

    fn from_row(row: Self::Row) -> Result<Self, Invalid> {
        Ok(Self {
            id: id("id", &row.id, SubscriptionId::new)?,
            organization: id("organization", &row.organization, OrganizationId::new)?,
            name: row.name,
            matching: Match {
                devices: row.devices.map(|p| p.any),
                sites: row.sites.map(|p| p.any),
                tags: row.tags.map(|p| p.any),
                min_severity: row
                    .min_severity
                    .map(|n| Severity::from_number("min_severity", n))
                    .transpose()?,
            },
            deliver: row
                .deliver
                .into_iter()
                .map(|channel| Stored::from_row(channel).map_err(|e: Invalid| e.within("deliver")))
                .collect::<Result<_, _>>()?,
            created_at: row.created_at,
        })
    }
}

impl Stored for RegistryRow {
    type Row = proto::RegistryRow;
    const KIND: &'static str = "registry";

    fn to_row(&self) -> Self::Row {
        use proto::registry_row::Row;
        proto::RegistryRow {
            row: Some(match self {
                Self::Token { hash, device } => {
                    Row::Token(proto::Token { hash: hash.0.to_vec(), device: Some(device.to_row()) })
                }
                Self::Subscription(subscription) => Row::Subscription(subscription.to_row()),
                Self::Setting { name, value } => {
                    Row::Setting(proto::Setting { name: name.clone(), value: value.clone() })
                }
            }),
        }
    }

    fn from_row(row: Self::Row) -> Result<Self, Invalid> {
        use proto::registry_row::Row;
        match row.row {
            Some(Row::Token(row)) => Ok(Self::Token {
                hash: token_hash("token.hash", &row.hash)?,
                device: required("token.device", row.device)?,
            }),
            Some(Row::Subscription(row)) => {
                Subscription::from_row(row).map(Self::Subscription).map_err(|e| e.within("subscription"))
            }
            Some(Row::Setting(row)) => Ok(Self::Setting { name: row.name, value: row.value }),
            None => Err(Invalid::new("row", "no known kind of row is set")),
        }
    }
}
