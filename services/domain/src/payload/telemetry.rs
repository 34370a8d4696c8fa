//! Telemetry: the hot path.

use std::borrow::Cow;
use std::sync::Arc;

use super::limits::{Limit, PayloadError, PayloadLimits};
use super::scan::{Kind, Scanner};
use super::{key, time, value};
use crate::model::{Millis, Point, Value};

/// Up to so many keys are compared each with each; that takes less time than sorting them.
const FEW: usize = 16;

/// Reads `{"k":v}`, `{"ts":…,"values":{…}}`, or an array of either.
///
/// * An object is of the second form when it has both `ts` and `values`, in any order; its other keys are then ignored,
///   and `values` that is no object is refused. With only one of the two it is an object of the first form, and `ts`
///   or `values` a key like any other. (ThingsBoard decides the same way.)
/// * A null says nothing: its key is left out. So the answer may be empty, and there is nothing to store.
/// * Texts stay texts, also where they look like numbers.
/// * Of a key that stands twice in one object the last counts.
/// * `stamp` gives the time of each object of the first form that has points, in their order.
///
/// # Errors
/// [`PayloadError`] says what stands there instead, or which limit is exceeded. Nothing of such a payload counts.
pub fn telemetry(
    payload: &[u8],
    now: Millis,
    stamp: &mut impl FnMut() -> Millis,
    limits: &PayloadLimits,
) -> Result<Vec<Point>, PayloadError> {
    let mut scan = Scanner::new(payload, limits)?;
    let mut messages = Messages { points: Vec::new(), now, stamp, limits };
    match scan.peek()? {
        Kind::Object => messages.read(&mut scan)?,
        Kind::Array => {
            let mut count = 0;
            scan.array(|scan| {
                count += 1;
                if count > limits.messages {
                    return Err(PayloadError::over(Limit::Messages, limits.messages, scan.at()));
                }
                messages.read(scan)
            })?;
        }
        _ => return Err(PayloadError::form("an object or an array of objects", scan.at())),
    }
    scan.end()?;
    Ok(messages.points)
}

struct Messages<'l, S> {
    points: Vec<Point>,
    now: Millis,
    stamp: &'l mut S,
    limits: &'l PayloadLimits,
}

impl<S: FnMut() -> Millis> Messages<'_, S> {
    fn read(&mut self, scan: &mut Scanner<'_>) -> Result<(), PayloadError> {
        let start = self.points.len();
        let mut keys = 0;
        // Where the two words stand: what they are is known only once both were, or the object has ended.
        let mut ts: Option<Scanner<'_>> = None;
        let mut values: Option<Scanner<'_>> = None;
        let mut values_read = false;
        scan.object(|scan, name| {
            self.count(&mut keys, scan.at())?;
            match &*name {
                "ts" => {
                    scan.peek()?;
                    ts = Some(scan.clone());
                    scan.skip().map_err(|e| e.within(&name))
                }
                // Nearly every device says `ts` first: then the values are read where they stand.
                "values" if ts.is_some() => {
                    self.points.truncate(start);
                    values_read = true;
                    self.values(scan)
                }
                "values" => {
                    scan.peek()?;
                    values = Some(scan.clone());
                    scan.skip().map_err(|e| e.within(&name))
                }
                _ if values_read => scan.skip().map_err(|e| e.within(&name)),
                _ => self.point(scan, name),
            }
        })?;
        let at = match (ts, values) {
            (Some(mut ts), _) if values_read => Some(self.time(&mut ts)?),
            (Some(mut ts), Some(mut values)) => {
                self.points.truncate(start);
                self.values(&mut values)?;
                Some(self.time(&mut ts)?)
            }
            (ts, values) => {
                for (word, place) in [("ts", ts), ("values", values)] {
                    if let Some(mut place) = place {
                        self.point(&mut place, Cow::Borrowed(word))?;
                    }
                }
                None
            }
        };
        keep_last(&mut self.points, start);
        if self.points.len() > start {
            let at = at.unwrap_or_else(|| (self.stamp)());
            self.points.iter_mut().skip(start).for_each(|point| point.ts = at);
        }
        Ok(())
    }

    fn values(&mut self, scan: &mut Scanner<'_>) -> Result<(), PayloadError> {
        let mut keys = 0;
        if scan.peek()? != Kind::Object {
            return Err(PayloadError::form("an object", scan.at()).within("values"));
        }
        scan.object(|scan, name| {
            self.count(&mut keys, scan.at())?;
            self.point(scan, name)
        })
    }

    fn time(&self, scan: &mut Scanner<'_>) -> Result<Millis, PayloadError> {
        time(scan, self.now, self.limits).map_err(|e| e.within("ts"))
    }

    fn count(&self, keys: &mut usize, at: usize) -> Result<(), PayloadError> {
        *keys += 1;
        if *keys > self.limits.keys {
            return Err(PayloadError::over(Limit::Keys, self.limits.keys, at));
        }
        Ok(())
    }

    fn point(&mut self, scan: &mut Scanner<'_>, name: Cow<'_, str>) -> Result<(), PayloadError> {
        key(&name, scan.at(), self.limits)?;
        let read = value::read(scan, self.limits).map_err(|e| e.within(&name))?;
        if let Some(read) = read {
            self.push(&name, read, scan.at())?;
        }
        Ok(())
    }

    fn push(&mut self, name: &str, value: Value, at: usize) -> Result<(), PayloadError> {
        if self.points.len() == self.limits.points {
            return Err(PayloadError::over(Limit::Points, self.limits.points, at));
        }
        // The time is known at the end of the object.
        self.points.push(Point { key: Arc::from(name), ts: 0, value });
        Ok(())
    }
}

/// Two points of one series and time can't both be; a null that follows a value takes nothing back.
fn keep_last(points: &mut Vec<Point>, start: usize) {
    let mut keys = points.iter().skip(start).map(|point| &*point.key);
    let repeated = if points.len() - start <= FEW {
        let mut repeated = false;
        while let Some(one) = keys.next() {
            repeated |= keys.clone().any(|other| one == other);
        }
        repeated
    } else {
        let mut keys: Vec<&str> = keys.collect();
        keys.sort_unstable();
        keys.windows(2).any(|pair| matches!(pair, [one, other] if one == other))
    };
    if repeated {
        let mut seen = std::collections::BTreeSet::new();
        let kept: Vec<Point> = points.drain(start..).rev().filter(|p| seen.insert(p.key.clone())).collect();
        points.extend(kept.into_iter().rev());
    }
}
