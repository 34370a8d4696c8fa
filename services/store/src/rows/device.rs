//! Devices, their attributes and counters.

use std::collections::BTreeMap;

use stoker_domain::ports::store::Removal;
use stoker_domain::{Attributes, Device, DeviceCounters, SiteId, Value};

use super::ids::{id, token_hash};
use super::{Invalid, Stored, proto, required};

impl Stored for Device {
    type Row = proto::Device;
    const KIND: &'static str = "device";

    fn to_row(&self) -> Self::Row {
        proto::Device {
            key: Some(self.key.to_row()),
            model: self.model.clone(),
            site: self.site.as_ref().map(|site| site.as_str().to_owned()),
            tags: self.tags.clone(),
            expected_interval_s: self.expected_interval_s,
            token_hash: self.token_hash.map(|hash| hash.0.to_vec()),
            password_hash: self.password_hash.clone(),
            created_at: self.created_at,
            version: self.version,
        }
    }

    fn from_row(row: Self::Row) -> Result<Self, Invalid> {
        Ok(Self {
            key: required("key", row.key)?,
            model: row.model,
            site: row.site.map(|site| id("site", &site, SiteId::new)).transpose()?,
            tags: row.tags,
            expected_interval_s: row.expected_interval_s,
            token_hash: row.token_hash.map(|hash| token_hash("token_hash", &hash)).transpose()?,
            password_hash: row.password_hash,
            created_at: row.created_at,
            version: row.version,
        })
    }
}

impl Stored for DeviceCounters {
    type Row = proto::DeviceCounters;
    const KIND: &'static str = "device counters";

    fn to_row(&self) -> Self::Row {
        proto::DeviceCounters {
            key: Some(self.key.to_row()),
            last_command: self.last_command,
            recent_events: self.recent_events.clone(),
        }
    }

    fn from_row(row: Self::Row) -> Result<Self, Invalid> {
        Ok(Self {
            key: required("key", row.key)?,
            last_command: row.last_command,
            recent_events: row.recent_events,
        })
    }
}

impl Stored for Removal {
    type Row = proto::Removal;
    const KIND: &'static str = "removal";

    fn to_row(&self) -> Self::Row {
        proto::Removal { device: Some(self.device.to_row()), at: self.at }
    }

    fn from_row(row: Self::Row) -> Result<Self, Invalid> {
        Ok(Self { device: required("device", row.device)?, at: row.at })
    }
}

impl Stored for Value {
    type Row = proto::Value;
    const KIND: &'static str = "value";

    fn to_row(&self) -> Self::Row {
        use proto::value::Kind;
        proto::Value {
            kind: Some(match self {
                Self::Boolean(value) => Kind::Boolean(*value),
                Self::Integer(value) => Kind::Integer(*value),
                Self::Number(value) => Kind::Number(*value),
                Self::Text(value) => Kind::Text(value.clone()),
                Self::Json(value) => Kind::Json(value.clone()),
            }),
        }
    }

    fn from_row(row: Self::Row) -> Result<Self, Invalid> {
        use proto::value::Kind;
        match row.kind {
            Some(Kind::Boolean(value)) => Ok(Self::Boolean(value)),
            Some(Kind::Integer(value)) => Ok(Self::Integer(value)),
            Some(Kind::Number(value)) if value.is_finite() => Ok(Self::Number(value)),
            Some(Kind::Number(value)) => Err(Invalid::new("number", format_args!("{value} is not finite"))),
            Some(Kind::Text(value)) => Ok(Self::Text(value)),
            Some(Kind::Json(value)) => Ok(Self::Json(value)),
            None => Err(Invalid::new("kind", "no known kind of value is set")),
        }
    }
}

fn scope_to_row(scope: &BTreeMap<String, Value>) -> BTreeMap<String, proto::Value> {
    scope.iter().map(|(name, value)| (name.clone(), value.to_row())).collect()
}

fn scope_from_row(
    field: &str,
    scope: BTreeMap<String, proto::Value>,
) -> Result<BTreeMap<String, Value>, Invalid> {
    scope
        .into_iter()
        .map(|(name, value)| {
            let value = Value::from_row(value).map_err(|e| e.within(&name).within(field))?;
            Ok((name, value))
        })
        .collect()
}

impl Stored for Attributes {
    type Row = proto::Attributes;
    const KIND: &'static str = "attributes";

    fn to_row(&self) -> Self::Row {
        proto::Attributes {
            key: Some(self.key.to_row()),
            client: scope_to_row(&self.client),
            shared: scope_to_row(&self.shared),
            server: scope_to_row(&self.server),
        }
    }

    fn from_row(row: Self::Row) -> Result<Self, Invalid> {
        Ok(Self {
            key: required("key", row.key)?,
            client: scope_from_row("client", row.client)?,
            shared: scope_from_row("shared", row.shared)?,
            server: scope_from_row("server", row.server)?,
        })
    }
}
