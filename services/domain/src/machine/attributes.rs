//! Attributes: merged by scope, and told to the device where they are shared.

use std::collections::BTreeMap;

use super::draft::Draft;
use super::sessions::is_presumed;
use super::{DeviceRefusal, PatchAttributes, Reply, SlotMachine};
use crate::model::{Attributes, Value};
use crate::ports::bus::{Activity, GatewayOrder};
use crate::ports::store::StateKey;

type Scope = BTreeMap<String, Value>;
type ScopePatch = BTreeMap<String, Option<Value>>;

impl SlotMachine {
    pub(super) fn patch_attributes(&mut self, patch: PatchAttributes, draft: &mut Draft<'_>) -> Reply {
        let PatchAttributes { device: key, client, shared, server } = patch;
        let (limit, byte_limit) = (draft.settings().max_attributes, draft.settings().max_attribute_bytes);
        let Some(entry) = self.entry(&key) else {
            return Reply::Attributes(Err(DeviceRefusal::NotFound));
        };
        let before = entry.attributes.clone().unwrap_or_else(|| Attributes::empty(key.clone()));
        let mut attributes = before.clone();
        let shared = merge(&mut attributes.shared, shared);
        let changed = [merge(&mut attributes.client, client), merge(&mut attributes.server, server)]
            .iter()
            .any(|changes| !changes.is_empty())
            || !shared.is_empty();
        if !changed {
            return Reply::Attributes(Ok(Box::new(attributes)));
        }
        let scopes = [&attributes.client, &attributes.shared, &attributes.server];
        if scopes.iter().any(|scope| scope.len() > limit) {
            return Reply::Attributes(Err(DeviceRefusal::TooManyAttributes { limit }));
        }
        // Where a lower limit was set since, what is there stays and may get smaller.
        let grows_too_large = |(before, after): (&Scope, &Scope)| {
            let after = bytes(after);
            after > byte_limit && after > bytes(before)
        };
        let befores = [&before.client, &before.shared, &before.server];
        if befores.into_iter().zip(scopes).any(grows_too_large) {
            return Reply::Attributes(Err(DeviceRefusal::AttributesTooLarge { limit: byte_limit }));
        }
        if let Some(session) = entry.session().filter(|_| !shared.is_empty()) {
            draft.after(self.for_gateway(session, GatewayOrder::Attributes { json: json_object(&shared) }));
        }
        if let Some(entry) = self.entry_mut(&key) {
            entry.attributes = Some(attributes.clone());
            entry.owes_attributes |= !shared.is_empty() && entry.presence.as_ref().is_some_and(is_presumed);
        }
        draft.touch(StateKey::Attributes(key));
        draft.tell(Activity::Attributes(attributes.clone()));
        Reply::Attributes(Ok(Box::new(attributes)))
    }
}

/// What a scope holds: its keys, and its values as they are stored.
fn bytes(scope: &Scope) -> usize {
    let value = |value: &Value| match value {
        Value::Boolean(_) => 1,
        Value::Integer(_) | Value::Number(_) => 8,
        Value::Text(text) | Value::Json(text) => text.len(),
    };
    scope.iter().map(|(key, of_key)| key.len() + value(of_key)).sum()
}

/// Sets and removes. Gives what really changed.
fn merge(scope: &mut Scope, patch: ScopePatch) -> ScopePatch {
    let mut changed = ScopePatch::new();
    for (key, value) in patch {
        let before = match &value {
            Some(value) => scope.insert(key.clone(), value.clone()),
            None => scope.remove(&key),
        };
        if before != value {
            changed.insert(key, value);
        }
    }
    changed
}

/// All shared attributes, as a device is told of them.
pub(super) fn shared_json(attributes: &Attributes) -> String {
    let all = attributes.shared.iter().map(|(key, value)| (key.clone(), Some(value.clone())));
    json_object(&all.collect())
}

/// A JSON object of these values; removed ones are null. Written by hand because [`Value::Json`] is JSON text already,
/// and must reach the device as it was given.
fn json_object(values: &ScopePatch) -> String {
    let mut json = String::from("{");
    for (key, value) in values {
        if json.len() > 1 {
            json.push(',');
        }
        json.push_str(&serde_json::Value::from(key.as_str()).to_string());
        json.push(':');
        match value {
            None => json.push_str("null"),
            Some(Value::Boolean(value)) => json.push_str(if *value { "true" } else { "false" }),
            Some(Value::Integer(value)) => json.push_str(&value.to_string()),
            Some(Value::Number(value)) => json.push_str(&serde_json::Value::from(*value).to_string()),
            Some(Value::Text(value)) => json.push_str(&serde_json::Value::from(value.as_str()).to_string()),
            Some(Value::Json(text)) => json.push_str(text),
        }
    }
    json.push('}');
    json
}
