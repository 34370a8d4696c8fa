//! Telemetry and events.

use std::sync::Arc;

use stoker_domain::model::{DeviceId, DeviceKey, OrganizationId};
use stoker_domain::ports::store::{EventsQuery, Order, PointsQuery};
use stoker_proto::convert;
use stoker_proto::core::v1 as wire;
use stoker_proto::problem::ProblemKind;
use tonic::Status;

use super::lists;
use super::portal::Portals;
use super::store_status;
use super::summary::{Span, Summary};

/// So many points are read at once for a summary.
const SUMMARY_PAGE: usize = 10_000;
/// So many points of a series one summary looks at: a month with one every half minute. What is older is left out, and
/// the answer says so.
const SUMMARY_MOST: usize = 100_000;

impl Portals {
    pub(super) async fn points(
        &self,
        request: wire::ListPointsRequest,
    ) -> Result<wire::ListPointsReply, Status> {
        let limit = lists::limit(request.limit)?;
        let device = convert::device_key(request.device.as_ref())?;
        self.look_up(&device).await?;
        let order = match wire::Order::try_from(request.order) {
            Ok(wire::Order::Ascending) => Order::Ascending,
            Ok(wire::Order::Descending | wire::Order::Unspecified) => Order::Descending,
            Err(_) => return Err(ProblemKind::InvalidRequest.status("order is asc or desc")),
        };
        let query = PointsQuery {
            device,
            keys: request.keys.map(|keys| keys.items),
            from: request.from,
            to: request.to,
            after: request.after_ts.zip(request.after_key.map(Arc::from)),
            limit: limit + 1,
            order,
        };
        let mut points = self.shared.store.points(query).await.map_err(|error| store_status(&error))?;
        let more = points.len() > limit;
        points.truncate(limit);
        Ok(wire::ListPointsReply { points: points.into_iter().map(convert::point_to_wire).collect(), more })
    }

    /// Reads the newest first, so that of too many the newest are told.
    pub(super) async fn summary(
        &self,
        request: wire::SummarizePointsRequest,
    ) -> Result<wire::SummarizePointsReply, Status> {
        let span = Span::new(request.from, request.to, request.parts)
            .map_err(|detail| ProblemKind::InvalidRequest.status(detail))?;
        let device = convert::device_key(request.device.as_ref())?;
        self.look_up(&device).await?;
        let mut summary = Summary::new(span);
        let (mut after, mut read) = (None, 0);
        let complete_from = loop {
            let query = PointsQuery {
                device: device.clone(),
                keys: Some(vec![request.key.clone()]),
                from: request.from,
                to: request.to,
                after: after.take(),
                limit: SUMMARY_PAGE,
                order: Order::Descending,
            };
            let points = self.shared.store.points(query).await.map_err(|error| store_status(&error))?;
            for point in &points {
                summary.take(point);
            }
            read += points.len();
            match points.last() {
                Some(last) if points.len() == SUMMARY_PAGE && read < SUMMARY_MOST => {
                    after = Some((last.ts, last.key.clone()));
                }
                Some(last) if points.len() == SUMMARY_PAGE => break last.ts,
                _ => break request.from,
            }
        };
        Ok(wire::SummarizePointsReply { parts: summary.parts(), complete_from, part_ms: span.part_ms() })
    }

    pub(super) async fn latest(
        &self,
        request: wire::GetLatestRequest,
    ) -> Result<wire::GetLatestReply, Status> {
        let device = convert::device_key(request.device.as_ref())?;
        self.look_up(&device).await?;
        let keys = request.keys.map(|keys| keys.items);
        let latest = self.shared.store.latest(&device, keys).await.map_err(|error| store_status(&error))?;
        let points = latest
            .into_iter()
            .map(|(key, latest)| wire::Point {
                key: key.as_ref().to_owned(),
                ts: latest.ts,
                value: Some(convert::value_to_wire(latest.value)),
            })
            .collect();
        Ok(wire::GetLatestReply { points })
    }

    pub(super) async fn events(
        &self,
        request: wire::ListEventsRequest,
    ) -> Result<wire::ListEventsReply, Status> {
        let limit = lists::limit(request.limit)?;
        let organization: OrganizationId = convert::id("organization", &request.organization)?;
        let key = |device: &str| -> Result<DeviceKey, Status> {
            let device: DeviceId = convert::id("device", device)?;
            Ok(DeviceKey::new(organization.clone(), device))
        };
        let after = match (request.after_ts, request.after_device, request.after_id) {
            (Some(ts), Some(device), Some(id)) => Some((ts, key(&device)?, convert::id("after", &id)?)),
            _ => None,
        };
        let device = request.device.as_deref().map(key).transpose()?;
        let query = EventsQuery {
            organization,
            device,
            kind: request.kind,
            from: request.from,
            to: request.to,
            after,
            limit: limit + 1,
        };
        let mut events = self.shared.store.events(query).await.map_err(|error| store_status(&error))?;
        let more = events.len() > limit;
        events.truncate(limit);
        Ok(wire::ListEventsReply { events: events.into_iter().map(convert::event_to_wire).collect(), more })
    }
}
