//! Events that devices report.

use super::limits::{Limit, PayloadError, PayloadLimits};
use super::scan::{Kind, Scanner};
use super::{key, optional, time, value};
use crate::model::{DeviceKey, Event, EventId, EventKind, Millis, Severity};

/// Bytes of an event's kind: a word, not a text.
const KIND_BYTES: usize = 64;

/// Reads `{"id"?,"ts"?,"kind":"fault","code":"E42","severity"?,"text"?,"data"?,"cleared"?}`.
///
/// * `kind` has 1–64 of `A-Za-z0-9_.-`. `code` must be there for a fault, since it tells one alarm from another;
///   otherwise it is empty when left out.
/// * `severity` is `major`, `text` is the code (or the kind, where there is none) and `cleared` is false when left out;
///   a null is as good as left out. Unknown fields are ignored, so that newer devices can say more.
/// * `stamp` and `make_id` give time and id where the device did not.
///
/// # Errors
/// [`PayloadError`] says what stands there instead, or which limit is exceeded.
pub fn event(
    payload: &[u8],
    device: &DeviceKey,
    now: Millis,
    stamp: &mut impl FnMut() -> Millis,
    make_id: impl FnOnce() -> EventId,
    limits: &PayloadLimits,
) -> Result<Event, PayloadError> {
    let mut scan = Scanner::new(payload, limits)?;
    let mut draft = Draft::default();
    scan.object(|scan, name| draft.member(scan, &name, now, limits).map_err(|e| e.within(&name)))?;
    scan.end()?;
    let missing = |expected, field| PayloadError::form(expected, 0).within(field);
    let kind = EventKind(draft.kind.ok_or_else(|| missing("the kind of the event", "kind"))?);
    if kind.is_fault() && draft.code.as_deref().unwrap_or_default().is_empty() {
        return Err(missing("the code of the fault", "code"));
    }
    let code = draft.code.unwrap_or_default();
    let text = draft.text.unwrap_or_else(|| if code.is_empty() { kind.0.clone() } else { code.clone() });
    Ok(Event {
        id: draft.id.unwrap_or_else(make_id),
        device: device.clone(),
        ts: draft.ts.unwrap_or_else(stamp),
        kind,
        code,
        severity: draft.severity.unwrap_or(Severity::Major),
        text,
        cleared: draft.cleared,
        data: draft.data,
    })
}

#[derive(Default)]
struct Draft {
    id: Option<EventId>,
    ts: Option<Millis>,
    kind: Option<String>,
    code: Option<String>,
    severity: Option<Severity>,
    text: Option<String>,
    cleared: bool,
    data: Option<String>,
}

impl Draft {
    fn member(
        &mut self,
        scan: &mut Scanner<'_>,
        name: &str,
        now: Millis,
        limits: &PayloadLimits,
    ) -> Result<(), PayloadError> {
        match name {
            "id" => self.id = optional(scan, |scan| Ok(EventId::new(&value::text(scan, limits)?)?))?,
            "ts" => self.ts = optional(scan, |scan| time(scan, now, limits))?,
            "kind" => self.kind = optional(scan, |scan| kind(scan, limits))?,
            "code" => self.code = optional(scan, |scan| code(scan, limits))?,
            "severity" => self.severity = optional(scan, |scan| severity(scan, limits))?,
            "text" => self.text = optional(scan, |scan| value::text(scan, limits))?,
            "cleared" => self.cleared = optional(scan, boolean)?.unwrap_or(false),
            "data" => self.data = optional(scan, |scan| value::json(scan, limits))?,
            _ => scan.skip()?,
        }
        Ok(())
    }
}

fn kind(scan: &mut Scanner<'_>, limits: &PayloadLimits) -> Result<String, PayloadError> {
    let at = scan.at();
    let kind = value::text(scan, limits)?;
    if kind.len() > KIND_BYTES {
        return Err(PayloadError::over(Limit::KeyBytes, KIND_BYTES, at));
    }
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if kind.is_empty() || !kind.bytes().all(fits) {
        return Err(PayloadError::form("a kind of a-z A-Z 0-9 _ . -", at));
    }
    Ok(kind)
}

fn code(scan: &mut Scanner<'_>, limits: &PayloadLimits) -> Result<String, PayloadError> {
    let at = scan.at();
    let code = value::text(scan, limits)?;
    if !code.is_empty() {
        key(&code, at, limits)?;
    }
    Ok(code)
}

fn severity(scan: &mut Scanner<'_>, limits: &PayloadLimits) -> Result<Severity, PayloadError> {
    let at = scan.at();
    Severity::parse(&value::text(scan, limits)?)
        .ok_or_else(|| PayloadError::form("critical, major, minor or warning", at))
}

fn boolean(scan: &mut Scanner<'_>) -> Result<bool, PayloadError> {
    match scan.peek()? {
        Kind::True => scan.word("true").map(|()| true),
        Kind::False => scan.word("false").map(|()| false),
        _ => Err(PayloadError::form("true or false", scan.at())),
    }
}
