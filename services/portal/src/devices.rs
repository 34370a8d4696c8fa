//! `/devices`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use stoker_domain::{DeviceId, SiteId};
use stoker_proto::convert;
use stoker_proto::core::v1 as wire;
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::core::{missing, unreadable};
use crate::extract::{Id, Json, Label, Parsed, Query, Whole, present};
use crate::list::{Limit, List, position};
use crate::problem::Problem;
use crate::time::Time;

/// A controller that may connect.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Device {
    /// The user's own id.
    #[schema(example = "boiler-7")]
    pub(crate) id: String,
    /// Whose it is.
    #[schema(example = "default")]
    pub(crate) organization: String,
    /// What it is, in the user's words.
    #[schema(required = true)]
    pub(crate) model: Option<String>,
    /// Where it stands.
    #[schema(required = true)]
    pub(crate) site: Option<String>,
    /// Free labels.
    pub(crate) tags: Vec<String>,
    /// It should send something at least this often, in seconds.
    #[schema(required = true)]
    pub(crate) expected_interval_s: Option<u32>,
    /// Its newest connection.
    pub(crate) connection: Connection,
    /// When it was made.
    pub(crate) created_at: Time,
}

/// The newest connection of a device.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Connection {
    /// How it stands.
    pub(crate) state: ConnectionState,
    /// Since when; the making of the device when it never came.
    pub(crate) since: Time,
    /// The gateway that holds or held it.
    #[schema(required = true)]
    pub(crate) gateway: Option<String>,
    /// The device's address, `ip:port`.
    #[schema(required = true)]
    pub(crate) address: Option<String>,
    /// `mqtt-3.1.1` or `mqtt-5`, with `+tls` or `+ws`.
    #[schema(required = true)]
    pub(crate) protocol: Option<String>,
    /// How it ended, such as `cut`, `keep_alive` or `disconnect`.
    #[schema(required = true)]
    pub(crate) reason: Option<String>,
}

/// Whether a device is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ConnectionState {
    /// It is.
    Online,
    /// It was.
    Offline,
    /// It never was.
    Never,
}

impl ConnectionState {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Never => "never",
        }
    }

    pub(crate) fn to_wire(self) -> wire::ConnectionState {
        match self {
            Self::Online => wire::ConnectionState::Online,
            Self::Offline => wire::ConnectionState::Offline,
            Self::Never => wire::ConnectionState::Never,
        }
    }

    fn from_wire(state: i32) -> Result<Self, Problem> {
        use stoker_domain::Connection as C;
        Ok(match convert::connection_from_wire(state).map_err(unreadable)? {
            C::Online => Self::Online,
            C::Offline => Self::Offline,
            C::Never => Self::Never,
        })
    }
}

impl Connection {
    pub(crate) fn from_wire(connection: wire::Connection) -> Result<Self, Problem> {
        Ok(Self {
            state: ConnectionState::from_wire(connection.state)?,
            since: Time(connection.since),
            gateway: connection.gateway,
            address: connection.address,
            protocol: connection.protocol,
            // A reason that only a newer core knows is left out rather than made up.
            reason: connection
                .reason
                .and_then(|reason| convert::end_reason_from_wire(reason).ok())
                .map(|reason| reason.as_str().to_owned()),
        })
    }
}

impl Device {
    pub(crate) fn from_wire(device: wire::Device) -> Result<Self, Problem> {
        let key = device.key.ok_or_else(|| missing("the device's key"))?;
        let connection = device.connection.ok_or_else(|| missing("the device's connection"))?;
        Ok(Self {
            id: key.device,
            organization: key.organization,
            model: device.model,
            site: device.site,
            tags: device.tags,
            expected_interval_s: device.expected_interval_s,
            connection: Connection::from_wire(connection)?,
            created_at: Time(device.created_at),
        })
    }
}

/// A device together with a token that was just made.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeviceWithToken {
    #[serde(flatten)]
    pub(crate) device: Device,
    /// The token, where the platform made one. It is shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "stk_3q2-7w…")]
    pub(crate) token: Option<String>,
}

impl DeviceWithToken {
    fn from_wire(reply: wire::DeviceReply) -> Result<Self, Problem> {
        let device = Device::from_wire(reply.device.ok_or_else(|| missing("the device"))?)?;
        Ok(Self { device, token: reply.token })
    }
}

/// The most tags of a device, and of a subscription's condition.
pub(crate) const MAX_TAGS: usize = 64;
/// A year; whatever says less is not watched but forgotten.
const MAX_INTERVAL_S: u32 = 31_536_000;

/// A device to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"id": "boiler-7", "model": "K200", "site": "north", "tags": ["heating"]}))]
pub(crate) struct NewDevice {
    /// 1 to 128 of `A-Za-z0-9._:-`, the first a letter or digit.
    #[schema(value_type = String, pattern = "^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
    pub(crate) id: Parsed<DeviceId>,
    /// What it is, in the user's words.
    #[schema(value_type = Option<Label>)]
    model: Option<Parsed<Label>>,
    /// Where it stands; an id like the device's.
    #[schema(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
    site: Option<Parsed<SiteId>>,
    /// Free labels.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Label>>, max_items = 64)]
    tags: Option<Vec<Parsed<Label>>>,
    /// It should send something at least this often; silence is raised after 1.5 times that.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 31_536_000)]
    expected_interval_s: Option<Whole>,
    /// Its access token, 16 to 256 characters, unique on the platform. One is made when neither token nor password
    /// is given.
    #[schema(pattern = r"^[^\x00-\x1f\x7f-\x9f]{16,256}$")]
    token: Option<String>,
    /// Its password.
    #[schema(min_length = 1, max_length = 256)]
    password: Option<String>,
}

fn tags(tags: Vec<Parsed<Label>>) -> Result<Vec<String>, Problem> {
    if tags.len() > MAX_TAGS {
        let detail = format!("a device has at most {MAX_TAGS} tags, not {}", tags.len());
        return Err(Problem::invalid(detail).pointing_at("/tags"));
    }
    Ok(tags.into_iter().map(|Parsed(Label(tag))| tag).collect())
}

fn interval(Whole(seconds): Whole) -> Result<u32, Problem> {
    if (1..=MAX_INTERVAL_S).contains(&seconds) {
        return Ok(seconds);
    }
    let detail = format!("expected_interval_s is 1 to {MAX_INTERVAL_S}, not {seconds}");
    Err(Problem::invalid(detail).pointing_at("/expected_interval_s"))
}

fn password(password: String) -> Result<String, Problem> {
    // Argon2 works through all of it at every first connection.
    if (1..=256).contains(&password.chars().count()) {
        return Ok(password);
    }
    Err(Problem::invalid("a password has 1 to 256 characters").pointing_at("/password"))
}

impl NewDevice {
    pub(crate) fn into_wire(self, app: &App) -> Result<wire::CreateDeviceRequest, Problem> {
        Ok(wire::CreateDeviceRequest {
            key: app.device(&self.id.0),
            model: self.model.map(|Parsed(Label(model))| model),
            site: self.site.map(|site| site.0.to_string()),
            tags: tags(self.tags.unwrap_or_default())?,
            expected_interval_s: self.expected_interval_s.map(interval).transpose()?,
            // Core judges tokens: a collision must look like any other token that cannot be used.
            token: self.token,
            password: self.password.map(password).transpose()?,
        })
    }
}

/// What is to change: an absent field stays as it is, null empties it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"site": "south", "expected_interval_s": null}))]
pub(crate) struct DeviceChange {
    /// What it is, in the user's words.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Label>)]
    model: Option<Option<Parsed<Label>>>,
    /// Where it stands.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
    site: Option<Option<Parsed<SiteId>>>,
    /// Free labels, all of them.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<Label>>, max_items = 64)]
    tags: Option<Option<Vec<Parsed<Label>>>>,
    /// How often it should send something, in seconds.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 31_536_000)]
    expected_interval_s: Option<Option<Whole>>,
    /// A new access token; null takes it away. A connection made by the old one is closed.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, pattern = r"^[^\x00-\x1f\x7f-\x9f]{16,256}$")]
    token: Option<Option<String>>,
    /// A new password; null takes it away.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 256)]
    password: Option<Option<String>>,
    /// Make a new access token and give it back, once. Not together with `token`.
    #[serde(default)]
    renew_token: bool,
}

impl DeviceChange {
    fn into_wire(self, key: Option<wire::DeviceRef>) -> Result<wire::PatchDeviceRequest, Problem> {
        if self.renew_token && self.token.is_some() {
            let detail = "either a token is given or one is made, not both";
            return Err(Problem::invalid(detail).pointing_at("/renew_token"));
        }
        if self.token.as_ref().is_some_and(|token| token.as_deref() == Some("")) {
            // On the way to core an empty token would mean null.
            let detail = "an empty token lets nobody in; null takes the token away";
            return Err(Problem::invalid(detail).pointing_at("/token"));
        }
        let text = |field: Option<Option<String>>| field.map(Option::unwrap_or_default);
        Ok(wire::PatchDeviceRequest {
            key,
            model: text(self.model.map(|model| model.map(|Parsed(Label(model))| model))),
            site: text(self.site.map(|site| site.map(|site| site.0.to_string()))),
            tags: self
                .tags
                .map(|all| tags(all.unwrap_or_default()).map(|items| wire::Strings { items }))
                .transpose()?,
            expected_interval_s: self
                .expected_interval_s
                .map(|seconds| seconds.map_or(Ok(0), interval))
                .transpose()?,
            token: text(self.token),
            password: self.password.map(|given| given.map_or(Ok(String::new()), password)).transpose()?,
            renew_token: self.renew_token,
        })
    }
}

/// Which device, in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[allow(dead_code, reason = "only describes the parameter; `Id` takes it")]
pub(crate) struct DevicePath {
    /// The device's id.
    #[param(pattern = "^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$", example = "boiler-7")]
    id: String,
}

/// Which devices.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DevicesQuery {
    /// Only devices whose connection stands so.
    pub(crate) state: Option<ConnectionState>,
    /// Only devices of this site.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
    pub(crate) site: Option<Parsed<SiteId>>,
    /// Only devices that have this tag.
    #[param(value_type = Option<String>, pattern = r"^[^\x00-\x1f\x7f-\x9f]{1,128}$")]
    pub(crate) tag: Option<Parsed<Label>>,
    /// Only devices with this text in their id or model.
    #[param(value_type = Option<String>, pattern = r"^[^\x00-\x1f\x7f-\x9f]{1,128}$")]
    pub(crate) q: Option<Parsed<Label>>,
    /// How many at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    pub(crate) limit: Option<Parsed<Limit>>,
    /// The `next_cursor` of the page before.
    #[param(pattern = "^[A-Za-z0-9_-]{1,1024}$")]
    pub(crate) cursor: Option<String>,
}

const KIND: &str = "devices";

/// Devices, ordered by id.
#[utoipa::path(get, path = "/devices", operation_id = "listDevices", tag = "devices", params(DevicesQuery),
    responses((status = 200, description = "One page of devices", body = List<Device>)))]
pub(crate) async fn list(
    State(app): State<App>,
    Query(query): Query<DevicesQuery>,
) -> Result<axum::Json<List<Device>>, Problem> {
    let request = wire::ListDevicesRequest {
        here_only: false,
        organization: app.organization.to_string(),
        after: position(query.cursor.as_deref(), KIND)?,
        limit: query.limit.unwrap_or_default().0.0,
        state: query.state.map(|state| state.to_wire().into()),
        site: query.site.map(|site| site.0.to_string()),
        tag: query.tag.map(|Parsed(Label(tag))| tag),
        search: query.q.map(|Parsed(Label(text))| text),
    };
    let reply = app.core.list_devices(request).await?;
    let devices: Vec<_> = reply.devices.into_iter().map(Device::from_wire).collect::<Result<_, _>>()?;
    let last = devices.last().map(|device| device.id.clone());
    Ok(axum::Json(List::new(devices, reply.more, KIND, last)))
}

/// Make a device.
#[utoipa::path(post, path = "/devices", operation_id = "createDevice", tag = "devices", request_body = NewDevice,
    responses(
        (status = 201, description = "Made. `token` is there when the platform made one, and only now",
            body = DeviceWithToken, headers(("location" = String, description = "Where the device is"))),
        (status = 409, description = "There is one of that id, or as many devices as fit", body = Problem,
            content_type = "application/problem+json"),
    ))]
pub(crate) async fn create(
    State(app): State<App>,
    Json(device): Json<NewDevice>,
) -> Result<Response, Problem> {
    let device = create_as(&app, device).await?;
    let location = format!("/api/v1/devices/{}", device.device.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(device)).into_response())
}

/// What the API and the page do alike.
pub(crate) async fn create_as(app: &App, device: NewDevice) -> Result<DeviceWithToken, Problem> {
    DeviceWithToken::from_wire(app.core.create_device(device.into_wire(app)?).await?)
}

/// One device.
#[utoipa::path(get, path = "/devices/{id}", operation_id = "getDevice", tag = "devices", params(DevicePath),
    responses((status = 200, description = "The device", body = Device)))]
pub(crate) async fn show(
    State(app): State<App>,
    Id(id): Id<DeviceId>,
) -> Result<axum::Json<Device>, Problem> {
    let reply = app.core.get_device(wire::GetDeviceRequest { key: app.device(&id) }).await?;
    Device::from_wire(reply.device.ok_or_else(|| missing("the device"))?).map(axum::Json)
}

/// Change a device. An absent field stays as it is; null empties it.
#[utoipa::path(patch, path = "/devices/{id}", operation_id = "changeDevice", tag = "devices", params(DevicePath),
    request_body = DeviceChange,
    responses(
        (status = 200, description = "The device as it is now; `token` is there when a new one was made",
            body = DeviceWithToken),
        (status = 409, description = "Somebody else changed it at the same time", body = Problem,
            content_type = "application/problem+json"),
    ))]
pub(crate) async fn change(
    State(app): State<App>,
    Id(id): Id<DeviceId>,
    Json(change): Json<DeviceChange>,
) -> Result<axum::Json<DeviceWithToken>, Problem> {
    let reply = app.core.patch_device(change.into_wire(app.device(&id))?).await?;
    DeviceWithToken::from_wire(reply).map(axum::Json)
}

/// Remove a device. Its connection is closed and its open commands end; what it reported stays until its time is up.
#[utoipa::path(delete, path = "/devices/{id}", operation_id = "removeDevice", tag = "devices", params(DevicePath),
    responses((status = 204, description = "Removed")))]
pub(crate) async fn remove(State(app): State<App>, Id(id): Id<DeviceId>) -> Result<StatusCode, Problem> {
    app.core.remove_device(wire::RemoveDeviceRequest { key: app.device(&id) }).await?;
    Ok(StatusCode::NO_CONTENT)
}
