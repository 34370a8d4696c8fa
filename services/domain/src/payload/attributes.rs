//! Attributes: what a device says of itself, and what it asks for.

use std::collections::BTreeMap;

use super::limits::{Limit, PayloadError, PayloadLimits};
use super::scan::{Kind, Scanner};
use super::{key, value};
use crate::model::Value;

/// Reads `{"firmware":"1.4"}`: values to set, none (written null) to remove.
///
/// # Errors
/// [`PayloadError`] says what stands there instead, or which limit is exceeded.
pub fn attributes(
    payload: &[u8],
    limits: &PayloadLimits,
) -> Result<BTreeMap<String, Option<Value>>, PayloadError> {
    let mut scan = Scanner::new(payload, limits)?;
    let mut attributes = BTreeMap::new();
    let mut keys = 0;
    scan.object(|scan, name| {
        keys += 1;
        if keys > limits.keys {
            return Err(PayloadError::over(Limit::Keys, limits.keys, scan.at()));
        }
        key(&name, scan.at(), limits)?;
        let value = value::read(scan, limits).map_err(|e| e.within(&name))?;
        attributes.insert(name.into_owned(), value);
        Ok(())
    })?;
    scan.end()?;
    Ok(attributes)
}

/// What a device asks for: of both scopes everything when both are none; otherwise only what is named.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AttributesRequest {
    /// Of its own attributes.
    pub client_keys: Option<Vec<String>>,
    /// Of the shared ones.
    pub shared_keys: Option<Vec<String>>,
}

/// Reads `{"clientKeys":"a,b","sharedKeys":"c"}`; either may be left out, white space and empty names are dropped.
///
/// # Errors
/// [`PayloadError`] says what stands there instead, or which limit is exceeded.
pub fn attributes_request(payload: &[u8], limits: &PayloadLimits) -> Result<AttributesRequest, PayloadError> {
    let mut scan = Scanner::new(payload, limits)?;
    let mut request = AttributesRequest::default();
    scan.object(|scan, name| {
        let keys = match &*name {
            "clientKeys" => &mut request.client_keys,
            "sharedKeys" => &mut request.shared_keys,
            _ => return scan.skip(),
        };
        *keys = names(scan, limits).map_err(|e| e.within(&name))?;
        Ok(())
    })?;
    scan.end()?;
    Ok(request)
}

fn names(scan: &mut Scanner<'_>, limits: &PayloadLimits) -> Result<Option<Vec<String>>, PayloadError> {
    match scan.peek()? {
        Kind::Null => return scan.word("null").map(|()| None),
        Kind::Text => {}
        _ => return Err(PayloadError::form("a text of names between commas", scan.at())),
    }
    let at = scan.at();
    let text = scan.text()?;
    let mut names = Vec::new();
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        if names.len() == limits.keys {
            return Err(PayloadError::over(Limit::Keys, limits.keys, at));
        }
        key(name, at, limits)?;
        names.push(name.to_owned());
    }
    Ok(Some(names))
}
