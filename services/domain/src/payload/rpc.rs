//! Commands' answers, and what devices ask.

use super::limits::{PayloadError, PayloadLimits};
use super::scan::{Kind, Scanner};
use super::{key, optional, value};

/// A device's answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcReply {
    /// The answer as compact JSON text.
    pub json: String,
    /// It is an object with the key `error`.
    pub failed: bool,
}

/// Reads any JSON; only the packet and the depth bound it.
///
/// # Errors
/// [`PayloadError`]: it is no JSON, or too deep.
pub fn rpc_reply(payload: &[u8], limits: &PayloadLimits) -> Result<RpcReply, PayloadError> {
    let mut scan = Scanner::new(payload, limits)?;
    let mut failed = false;
    if scan.peek()? == Kind::Object {
        scan.clone().object(|scan, name| {
            failed |= name == "error";
            scan.skip()
        })?;
    }
    let json = scan.compact()?;
    scan.end()?;
    Ok(RpcReply { json, failed })
}

/// What a device asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcRequest {
    /// For instance `getCurrentTime`.
    pub method: String,
    /// Compact JSON text; `{}` when left out.
    pub params: String,
}

/// Reads `{"method":"getCurrentTime","params":{}}`.
///
/// # Errors
/// [`PayloadError`] says what stands there instead, or which limit is exceeded.
pub fn rpc_request(payload: &[u8], limits: &PayloadLimits) -> Result<RpcRequest, PayloadError> {
    let mut scan = Scanner::new(payload, limits)?;
    let (mut method, mut params) = (None, None);
    scan.object(|scan, name| {
        match &*name {
            "method" => {
                method = optional(scan, |scan| {
                    let at = scan.at();
                    let method = value::text(scan, limits)?;
                    key(&method, at, limits)?;
                    Ok(method)
                })
                .map_err(|e| e.within(&name))?;
            }
            "params" => {
                params = optional(scan, |scan| value::json(scan, limits)).map_err(|e| e.within(&name))?;
            }
            _ => scan.skip()?,
        }
        Ok(())
    })?;
    scan.end()?;
    let method = method.ok_or_else(|| PayloadError::form("a method", 0).within("method"))?;
    Ok(RpcRequest { method, params: params.unwrap_or_else(|| "{}".to_owned()) })
}
