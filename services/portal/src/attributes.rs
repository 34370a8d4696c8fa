//! `/devices/{id}/attributes`.

use std::collections::{BTreeMap, HashMap};

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use stoker_domain::DeviceId;
use stoker_proto::core::v1 as wire;
use utoipa::openapi::schema::AdditionalProperties;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::App;
use crate::core::missing;
use crate::devices::DevicePath;
use crate::extract::{Id, Json};
use crate::json::{Value, to_wire};
use crate::problem::Problem;

/// The attributes of a device, by scope.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "client": {"firmware": "1.4"}, "shared": {"setpoint": 55}, "server": {"contract": "gold"}
}))]
pub(crate) struct Attributes {
    /// Written by the device, read by people.
    pub(crate) client: BTreeMap<String, Value>,
    /// Written by people, read by the device.
    pub(crate) shared: BTreeMap<String, Value>,
    /// Written and read by people only.
    pub(crate) server: BTreeMap<String, Value>,
}

impl Attributes {
    fn from_wire(reply: wire::AttributesReply) -> Result<Self, Problem> {
        let attributes = reply.attributes.ok_or_else(|| missing("the attributes"))?;
        let scope = |values: HashMap<String, wire::Value>| {
            values.into_iter().map(|(key, value)| Ok((key, Value::from_wire(Some(value))?))).collect()
        };
        let (client, shared, server) =
            (scope(attributes.client), scope(attributes.shared), scope(attributes.server));
        let (client, shared, server): (Result<_, Problem>, Result<_, Problem>, Result<_, Problem>) =
            (client, shared, server);
        Ok(Self { client: client?, shared: shared?, server: server? })
    }
}

/// Attributes to be set, merged into those that are there; null removes one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"shared": {"setpoint": 55}, "server": {"contract": null}}))]
pub(crate) struct AttributesChange {
    /// What the device is to know. It is told at once when it listens.
    #[serde(default)]
    #[schema(value_type = Option<AttributeValues>)]
    pub(crate) shared: Option<BTreeMap<String, Box<RawValue>>>,
    /// What only people are to know.
    #[serde(default)]
    #[schema(value_type = Option<AttributeValues>)]
    pub(crate) server: Option<BTreeMap<String, Box<RawValue>>>,
}

/// How [`AttributesChange`] describes one scope.
struct AttributeValues;

impl PartialSchema for AttributeValues {
    fn schema() -> RefOr<Schema> {
        let key =
            ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(LONGEST_KEY));
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .property_names(Some(key.build()))
            .additional_properties(Some(AdditionalProperties::FreeForm(true)))
            .description(Some(
                "Keys with numbers, booleans, texts or JSON of at most 8 KiB; null removes one.",
            ))
            .into()
    }
}

impl ToSchema for AttributeValues {}

/// A key has at most as many bytes as one that a device may report.
const LONGEST_KEY: usize = 128;
/// A text has at most as many bytes as one that a device may report.
const LONGEST_VALUE: usize = 8 * 1024;

type Set = HashMap<String, wire::Value>;

/// What to set and what to remove in one scope.
fn split(
    scope: &str,
    values: Option<BTreeMap<String, Box<RawValue>>>,
) -> Result<(Set, Vec<String>), Problem> {
    let (mut set, mut removed) = (Set::new(), Vec::new());
    for (key, json) in values.unwrap_or_default() {
        let at = || format!("/{scope}/{}", key.replace('~', "~0").replace('/', "~1"));
        if key.is_empty() || key.len() > LONGEST_KEY {
            return Err(Problem::invalid(format!("a key has 1 to {LONGEST_KEY} bytes")).pointing_at(at()));
        }
        if json.get().len() > LONGEST_VALUE {
            let detail = format!("a value has at most {LONGEST_VALUE} bytes");
            return Err(Problem::invalid(detail).pointing_at(at()));
        }
        match to_wire(&json).map_err(|detail| Problem::invalid(detail).pointing_at(at()))? {
            Some(value) => drop(set.insert(key, value)),
            None => removed.push(key),
        }
    }
    Ok((set, removed))
}

/// The attributes of a device.
#[utoipa::path(get, path = "/devices/{id}/attributes", operation_id = "getAttributes", tag = "attributes",
    params(DevicePath),
    responses((status = 200, description = "All attributes", body = Attributes)))]
pub(crate) async fn show(
    State(app): State<App>,
    Id(id): Id<DeviceId>,
) -> Result<axum::Json<Attributes>, Problem> {
    let reply = app.core.get_attributes(wire::GetAttributesRequest { device: app.device(&id) }).await?;
    Attributes::from_wire(reply).map(axum::Json)
}

/// Set and remove shared and server attributes. The device's own are not for people to write.
#[utoipa::path(patch, path = "/devices/{id}/attributes", operation_id = "changeAttributes", tag = "attributes",
    params(DevicePath), request_body = AttributesChange,
    responses(
        (status = 200, description = "All attributes as they are now", body = Attributes),
        (status = 409, description = "As many attributes as fit, or changed by somebody else", body = Problem,
            content_type = "application/problem+json"),
    ))]
pub(crate) async fn change(
    State(app): State<App>,
    Id(id): Id<DeviceId>,
    Json(change): Json<AttributesChange>,
) -> Result<axum::Json<Attributes>, Problem> {
    let (shared, remove_shared) = split("shared", change.shared)?;
    let (server, remove_server) = split("server", change.server)?;
    let device = app.device(&id);
    let request = wire::PatchAttributesRequest { device, shared, server, remove_shared, remove_server };
    Attributes::from_wire(app.core.patch_attributes(request).await?).map(axum::Json)
}
