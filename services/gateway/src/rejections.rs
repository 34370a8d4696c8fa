//! Payloads and topics that could not be taken: said by an event, at most once a minute per device, with a count.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use stoker_domain::model::{DeviceKey, Event, EventKind, Millis, Severity};
use tokio_util::sync::CancellationToken;

use crate::core;
use crate::shared::Shared;

const MINUTE_MS: Millis = 60_000;
/// Devices that are remembered. Beyond it nothing is said about further ones until the minute of others has passed.
const REMEMBERED: usize = 100_000;

#[derive(Debug)]
struct Entry {
    said_at: Millis,
    since: u64,
    reason: String,
}

/// Something to be said about a device.
#[derive(Debug, PartialEq, Eq)]
struct Report {
    count: u64,
    reason: String,
}

/// What was rejected lately.
#[derive(Debug, Default)]
pub(crate) struct Rejections(Mutex<HashMap<DeviceKey, Entry>>);

impl Rejections {
    /// Counts a rejection; what to say now, if anything.
    fn count(&self, device: &DeviceKey, reason: &str, now: Millis) -> Option<Report> {
        let mut entries = self.0.lock();
        if let Some(entry) = entries.get_mut(device) {
            entry.since += 1;
            if entry.since == 1 {
                reason.clone_into(&mut entry.reason);
            }
            return None;
        }
        if entries.len() >= REMEMBERED {
            return None;
        }
        entries.insert(device.clone(), Entry { said_at: now, since: 0, reason: String::new() });
        Some(Report { count: 1, reason: reason.to_owned() })
    }

    /// Those whose minute has passed and that have something new to be said; forgets the others.
    fn due(&self, now: Millis) -> Vec<(DeviceKey, Report)> {
        let mut due = Vec::new();
        self.0.lock().retain(|device, entry| {
            if now - entry.said_at < MINUTE_MS {
                return true;
            }
            if entry.since == 0 {
                return false;
            }
            due.push((
                device.clone(),
                Report { count: entry.since, reason: std::mem::take(&mut entry.reason) },
            ));
            *entry = Entry { said_at: now, since: 0, reason: String::new() };
            true
        });
        due
    }
}

/// Counts a rejection; the event that says so, if it is time for one.
pub(crate) fn count(shared: &Shared, device: &DeviceKey, reason: &str) -> Option<Event> {
    tracing::debug!(%device, reason, "rejected");
    let report = shared.rejections.count(device, reason, shared.now())?;
    Some(event(shared, device, report))
}

/// Stores the event.
pub(crate) async fn report(shared: &Arc<Shared>, event: Event) {
    let device = event.device.clone();
    if let Err(status) = core::event(shared, event).await {
        tracing::warn!(%device, error = status.message(), "rejected payloads could not be reported");
    }
}

/// Counts a rejection, and says so if it is time.
pub(crate) async fn say(shared: &Arc<Shared>, device: &DeviceKey, reason: &str) {
    if let Some(event) = count(shared, device, reason) {
        report(shared, event).await;
    }
}

/// The event that says so.
fn event(shared: &Shared, device: &DeviceKey, report: Report) -> Event {
    Event {
        id: shared.make_event_id(),
        device: device.clone(),
        ts: shared.now(),
        kind: EventKind(EventKind::PAYLOAD_REJECTED.to_owned()),
        code: String::new(),
        severity: Severity::Warning,
        text: report.reason,
        cleared: false,
        data: Some(format!("{{\"count\":{}}}", report.count)),
    }
}

/// Says what has gathered, until shutdown.
pub(crate) async fn run(
    shared: Arc<Shared>,
    shutdown: CancellationToken,
) -> Result<(), std::convert::Infallible> {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(Duration::from_secs(5)) => {}
        }
        for (device, report) in shared.rejections.due(shared.now()) {
            self::report(&shared, event(&shared, &device, report)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stoker_domain::model::{DeviceId, OrganizationId};

    #[test]
    fn a_device_is_named_at_once_and_then_once_a_minute_with_a_count() {
        let rejections = Rejections::default();
        let device =
            DeviceKey::new(OrganizationId::default_organization(), DeviceId::new("boiler-7").unwrap());
        let report = |count, reason: &str| Report { count, reason: reason.to_owned() };
        assert_eq!(rejections.count(&device, "first", 0), Some(report(1, "first")));
        assert_eq!(rejections.count(&device, "second", 1), None);
        assert_eq!(rejections.count(&device, "third", 2), None);
        assert_eq!(rejections.due(59_999), []);
        assert_eq!(rejections.due(60_000), [(device.clone(), report(2, "second"))]);
        assert_eq!(rejections.due(119_999), []);
        assert_eq!(rejections.due(120_000), []);
        assert_eq!(rejections.count(&device, "later", 120_001), Some(report(1, "later")));
    }
}
