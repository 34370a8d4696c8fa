//! Devices and their attributes.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use stoker_domain::machine::{DevicePatch, DeviceRefusal, Input, NewDevice, PatchAttributes, Reply};
use stoker_domain::model::{
    Attributes, Connection, Device, DeviceId, DeviceKey, OrganizationId, Presence, SiteId, TokenHash, Value,
};
use stoker_proto::convert::{self, WireError};
use stoker_proto::core::v1 as wire;
use stoker_proto::problem::ProblemKind;
use tonic::Status;

use super::lists::{self, Coverage, Least};
use super::portal::{Portals, client};
use super::{credential_status, slot_status, wrong_reply};
use crate::backoff::Backoff;
use crate::credentials::{Credentials, PASSWORD_MAX, TOKEN_MAX, TOKEN_MIN};

/// Tags of one device, and characters of one of them.
const TAGS_MOST: usize = 64;
const TEXT_MOST: usize = 256;

/// Whoever removes a device waits so long for its history to go; it goes all the same.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(10);

pub(super) fn no_device(key: &DeviceKey) -> Status {
    ProblemKind::NotFound.status(format!("there is no device {}", key.device))
}

pub(super) fn device_refusal(refusal: DeviceRefusal) -> Status {
    match refusal {
        DeviceRefusal::NotFound => ProblemKind::NotFound.status("there is no such device"),
        DeviceRefusal::BeingRemoved => ProblemKind::AlreadyExists
            .status("a device of that id was removed and its history still is being removed, try again soon"),
        DeviceRefusal::Exists => ProblemKind::AlreadyExists.status("there is a device of that id already"),
        DeviceRefusal::SlotFull { limit } => ProblemKind::LimitReached
            .status(format!("the device's slot holds as many devices as it may: {limit}")),
        DeviceRefusal::TooManyAttributes { limit } => {
            ProblemKind::LimitReached.status(format!("a device has at most {limit} attributes a scope"))
        }
        DeviceRefusal::AttributesTooLarge { limit } => ProblemKind::LimitReached.status(format!(
            "a device's attributes of one scope have at most {limit} bytes together, keys and values"
        )),
    }
}

fn invalid(detail: impl Into<String>) -> Status {
    ProblemKind::InvalidRequest.status(detail)
}

fn text(field: &'static str, text: Option<String>) -> Result<Option<String>, Status> {
    match text {
        Some(text) if text.chars().count() > TEXT_MOST => {
            Err(invalid(format!("{field} has at most {TEXT_MOST} characters")))
        }
        Some(text) if text.is_empty() => Ok(None),
        text => Ok(text),
    }
}

fn site(site: Option<String>) -> Result<Option<SiteId>, Status> {
    Ok(site.filter(|site| !site.is_empty()).map(|site| convert::id("site", &site)).transpose()?)
}

fn tags(tags: Vec<String>) -> Result<Vec<String>, Status> {
    if tags.len() > TAGS_MOST || tags.iter().any(|tag| tag.is_empty() || tag.chars().count() > TEXT_MOST) {
        return Err(invalid(format!("a device has at most {TAGS_MOST} tags of 1 to {TEXT_MOST} characters")));
    }
    Ok(tags)
}

fn interval(seconds: Option<u32>) -> Result<Option<u32>, Status> {
    match seconds {
        Some(seconds) if seconds > 31_536_000 => {
            Err(invalid("expected_interval_s is at most a year: 31536000"))
        }
        seconds => Ok(seconds.filter(|&seconds| seconds > 0)),
    }
}

fn token(token: &str) -> Result<(), Status> {
    if (TOKEN_MIN..=TOKEN_MAX).contains(&token.chars().count()) && !token.chars().any(char::is_control) {
        return Ok(());
    }
    Err(ProblemKind::InvalidToken
        .status(format!("a token has {TOKEN_MIN} to {TOKEN_MAX} characters and is unique on the platform")))
}

fn password(password: &str) -> Result<(), Status> {
    if (1..=PASSWORD_MAX).contains(&password.chars().count()) {
        return Ok(());
    }
    Err(invalid(format!("a password has 1 to {PASSWORD_MAX} characters")))
}

fn device_id(device: &wire::Device) -> &str {
    device.key.as_ref().map_or("", |key| &key.device)
}

type Found = (Device, Option<Presence>, Option<Attributes>);

impl Portals {
    pub(super) async fn look_up(&self, key: &DeviceKey) -> Result<Found, Status> {
        let look = key.clone();
        self.slots
            .query(key.slot(), move |machine| {
                machine
                    .device(&look)
                    .map(|view| (view.record.clone(), view.presence.cloned(), view.attributes.cloned()))
            })
            .await
            .map_err(slot_status)?
            .ok_or_else(|| no_device(key))
    }

    async fn change(&self, key: &DeviceKey, input: Input) -> Result<Device, Status> {
        match self.slots.apply(key.slot(), input).await.map_err(slot_status)? {
            Reply::Device(result) => result.map(|device| *device).map_err(device_refusal),
            _ => Err(wrong_reply()),
        }
    }

    async fn reserve(&self, token: &str, key: &DeviceKey) -> Result<TokenHash, Status> {
        let hash = self.credentials.hash_token(token);
        let reserved = self.credentials.reserve_token(hash, key).await;
        if reserved.map_err(|error| credential_status(&error))? {
            return Ok(hash);
        }
        Err(ProblemKind::InvalidToken.status(format!(
            "a token has {TOKEN_MIN} to {TOKEN_MAX} characters and is unique on the platform"
        )))
    }

    async fn release(&self, hash: Option<TokenHash>, key: &DeviceKey) {
        if let Some(hash) = hash
            && let Err(error) = self.credentials.release_token(hash, key).await
        {
            // The row is void without its device; it lets nobody in.
            tracing::warn!(device = %key, %error, "a void token row stays");
        }
    }

    pub(super) async fn make_device(
        &self,
        request: wire::CreateDeviceRequest,
    ) -> Result<wire::DeviceReply, Status> {
        let key = convert::device_key(request.key.as_ref())?;
        let made = match (&request.token, &request.password) {
            (None, None) => Some(Credentials::make_token().map_err(|error| credential_status(&error))?),
            _ => None,
        };
        if let Some(given) = &request.token {
            token(given)?;
        }
        let new = NewDevice {
            key: key.clone(),
            model: text("model", request.model)?,
            site: site(request.site)?,
            tags: tags(request.tags)?,
            expected_interval_s: interval(request.expected_interval_s)?,
            token_hash: None,
            password_hash: None,
        };
        if let Some(given) = &request.password {
            password(given)?;
        }
        if self.look_up(&key).await.is_ok() {
            return Err(device_refusal(DeviceRefusal::Exists));
        }
        let token_hash = match request.token.as_ref().or(made.as_ref()) {
            Some(token) => Some(self.reserve(token, &key).await?),
            None => None,
        };
        let password_hash = match request.password {
            Some(given) => {
                let hash = self.credentials.hash_password(given).await;
                Some(hash.map_err(|error| credential_status(&error))?)
            }
            None => None,
        };
        let new = NewDevice { token_hash, password_hash, ..new };
        match self.change(&key, Input::CreateDevice(Box::new(new))).await {
            Ok(device) => {
                Ok(wire::DeviceReply { device: Some(convert::device_to_wire(&device, None)), token: made })
            }
            Err(refusal) => {
                // Somebody may have made the same device with the same token meanwhile.
                let theirs = self.look_up(&key).await.ok().and_then(|(device, ..)| device.token_hash);
                self.release(token_hash.filter(|hash| theirs != Some(*hash)), &key).await;
                Err(refusal)
            }
        }
    }

    pub(super) async fn find_device(
        &self,
        request: wire::GetDeviceRequest,
    ) -> Result<wire::DeviceReply, Status> {
        let key = convert::device_key(request.key.as_ref())?;
        let (device, presence, _) = self.look_up(&key).await?;
        Ok(wire::DeviceReply {
            device: Some(convert::device_to_wire(&device, presence.as_ref())),
            token: None,
        })
    }

    async fn devices_here(
        &self,
        request: wire::ListDevicesRequest,
    ) -> Result<wire::ListDevicesReply, Status> {
        let limit = lists::limit(request.limit)?;
        let organization: OrganizationId = convert::id("organization", &request.organization)?;
        let after: Option<DeviceId> = request.after.map(|after| convert::id("after", &after)).transpose()?;
        let state = request.state.map(convert::connection_from_wire).transpose()?;
        let (site, tag, search) =
            (request.site, request.tag, request.search.map(|search| search.to_lowercase()));
        let fits = move |device: &Device, presence: Option<&Presence>| {
            state.is_none_or(|state| Connection::of(presence) == state)
                && site
                    .as_deref()
                    .is_none_or(|site| device.site.as_ref().is_some_and(|of| of.as_str() == site))
                && tag.as_ref().is_none_or(|tag| device.tags.contains(tag))
                && search.as_deref().is_none_or(|search| {
                    let model = device.model.as_deref().unwrap_or_default();
                    device.key.device.as_str().to_lowercase().contains(search)
                        || model.to_lowercase().contains(search)
                })
        };
        let fits = std::sync::Arc::new(fits);
        let least = Least::new(limit + 1);
        let pages = self
            .slots
            .query_owned(move |machine| {
                machine
                    .devices_after(&organization, after.as_ref())
                    .filter(|view| fits(view.record, view.presence))
                    .take_while(|view| least.takes(&view.record.key.device))
                    .map(|view| (view.record.clone(), view.presence.cloned()))
                    .collect::<Vec<_>>()
            })
            .await
            .map_err(slot_status)?;
        let slots = Coverage::of(pages.iter().map(|(slot, _)| *slot)).to_wire();
        let devices = pages.into_iter().flat_map(|(_, devices)| devices).collect();
        let (devices, more) = lists::page(devices, limit, |(device, _)| device.key.clone());
        let devices = devices
            .iter()
            .map(|(device, presence)| convert::device_to_wire(device, presence.as_ref()))
            .collect();
        Ok(wire::ListDevicesReply { devices, more, slots })
    }

    pub(super) async fn devices(
        &self,
        request: wire::ListDevicesRequest,
    ) -> Result<wire::ListDevicesReply, Status> {
        if request.here_only {
            return self.devices_here(request).await;
        }
        let limit = lists::limit(request.limit)?;
        let ask = wire::ListDevicesRequest { here_only: true, ..request };
        let here = |request| self.devices_here(request);
        let there = |channel, request| async move { client(channel).list_devices(request).await };
        let parts = lists::everywhere(&self.routes, &ask, here, there, |part| &part.slots).await?;
        let had_more = parts.iter().any(|part| part.more);
        let devices = parts.into_iter().flat_map(|part| part.devices).collect();
        let (devices, more) =
            lists::page(devices, limit, |device: &wire::Device| device_id(device).to_owned());
        Ok(wire::ListDevicesReply { devices, more: more || had_more, slots: Vec::new() })
    }

    pub(super) async fn change_device(
        &self,
        request: wire::PatchDeviceRequest,
    ) -> Result<wire::DeviceReply, Status> {
        let key = convert::device_key(request.key.as_ref())?;
        let (before, ..) = self.look_up(&key).await?;
        let renewed = match request.renew_token {
            true => Some(Credentials::make_token().map_err(|error| credential_status(&error))?),
            false => None,
        };
        let token_hash = match renewed.as_ref().or(request.token.as_ref()) {
            None => None,
            Some(none) if none.is_empty() => Some(None),
            Some(given) => {
                token(given)?;
                Some(Some(self.reserve(given, &key).await?))
            }
        };
        let password_hash = match request.password {
            None => None,
            Some(none) if none.is_empty() => Some(None),
            Some(given) => {
                password(&given)?;
                let hash = self.credentials.hash_password(given).await;
                Some(Some(hash.map_err(|error| credential_status(&error))?))
            }
        };
        let patch = DevicePatch {
            key: key.clone(),
            model: request.model.map(|model| text("model", Some(model))).transpose()?,
            site: request.site.map(|name| site(Some(name))).transpose()?,
            tags: request.tags.map(|list| tags(list.items)).transpose()?,
            expected_interval_s: request
                .expected_interval_s
                .map(|seconds| interval(Some(seconds)))
                .transpose()?,
            token_hash,
            password_hash,
        };
        let device = self.change(&key, Input::PatchDevice(Box::new(patch))).await?;
        if device.token_hash != before.token_hash {
            self.release(before.token_hash, &key).await;
        }
        let (device, presence, _) = self.look_up(&key).await?;
        Ok(wire::DeviceReply {
            device: Some(convert::device_to_wire(&device, presence.as_ref())),
            token: renewed,
        })
    }

    pub(super) async fn drop_device(
        &self,
        request: wire::RemoveDeviceRequest,
    ) -> Result<wire::RemoveDeviceReply, Status> {
        let key = convert::device_key(request.key.as_ref())?;
        let device = self.change(&key, Input::RemoveDevice(key.clone())).await?;
        self.shared.seen.forget(&key);
        self.release(device.token_hash, &key).await;
        if tokio::time::timeout(FORGOTTEN_WITHIN, self.gone(&key)).await.is_err() {
            tracing::warn!(device = %key, "the history of a removed device is not removed yet");
        }
        Ok(wire::RemoveDeviceReply {})
    }

    /// Waits until nothing is left of a removed device. Its slot's owner sees to that, and so does the next one, which
    /// need not be this process.
    async fn gone(&self, key: &DeviceKey) {
        let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(250));
        loop {
            let look = key.clone();
            let is_being_removed =
                self.slots.query(key.slot(), move |slot| slot.is_being_removed(&look)).await;
            if !is_being_removed.unwrap_or(false) {
                return;
            }
            backoff.pause().await;
        }
    }

    pub(super) async fn attributes(
        &self,
        request: wire::GetAttributesRequest,
    ) -> Result<wire::AttributesReply, Status> {
        let key = convert::device_key(request.device.as_ref())?;
        let (_, _, attributes) = self.look_up(&key).await?;
        let attributes = attributes.unwrap_or_else(|| Attributes::empty(key));
        Ok(wire::AttributesReply { attributes: Some(convert::attributes_to_wire(&attributes)) })
    }

    pub(super) async fn change_attributes(
        &self,
        request: wire::PatchAttributesRequest,
    ) -> Result<wire::AttributesReply, Status> {
        let key = convert::device_key(request.device.as_ref())?;
        let patch = PatchAttributes {
            device: key.clone(),
            client: BTreeMap::new(),
            shared: scope(request.shared, request.remove_shared)?,
            server: scope(request.server, request.remove_server)?,
        };
        match self.slots.apply(key.slot(), Input::PatchAttributes(patch)).await.map_err(slot_status)? {
            Reply::Attributes(result) => {
                let attributes = result.map_err(device_refusal)?;
                Ok(wire::AttributesReply { attributes: Some(convert::attributes_to_wire(&attributes)) })
            }
            _ => Err(wrong_reply()),
        }
    }
}

pub(super) fn scope(
    set: HashMap<String, wire::Value>,
    remove: Vec<String>,
) -> Result<BTreeMap<String, Option<Value>>, WireError> {
    let mut scope: BTreeMap<_, _> = remove.into_iter().map(|key| (key, None)).collect();
    scope.extend(convert::values_from_wire(set)?.into_iter().map(|(key, value)| (key, Some(value))));
    Ok(scope)
}
