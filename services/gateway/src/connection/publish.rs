//! What a device says.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use stoker_domain::model::Reading;
use stoker_domain::payload::{self, PayloadError};
use stoker_proto::convert;
use stoker_proto::core::v1::report_command_request::{Replied, Report};
use stoker_proto::core::v1::{ReadAttributesRequest, ReportAttributesRequest, Strings, Value};
use stoker_protocol::session::{InboundPublish, Output, PublishOutcome, PublishToken};
use stoker_protocol::topic::{DownTopic, UpTopic};
use stoker_telemetry::{Clock, trace};
use tracing::Instrument;

use super::{Connection, Identity, now, outcome_of};
use crate::core;
use crate::lane::{Done, How, Lane};
use crate::rejections;
use crate::shared::Shared;
use crate::stats;

impl Connection {
    pub(super) fn publish(&mut self, publish: InboundPublish, out: &mut Output) {
        let InboundPublish { token, topic, payload, .. } = publish;
        if topic != UpTopic::Telemetry {
            stats::up(&self.shared.stats.messages);
        }
        let result = match topic {
            UpTopic::Telemetry => self.telemetry(&payload, token, out),
            UpTopic::Events => self.device_event(&payload, token),
            UpTopic::Attributes => self.attributes(&payload, token),
            UpTopic::AttributesRequest(number) => self.attributes_request(&payload, number, token),
            UpTopic::RpcResponse(number) => self.reply(&payload, number, token),
            UpTopic::RpcRequest(number) => self.device_request(&payload, number, token, out),
        };
        if let Err(error) = result {
            stats::up(&self.shared.stats.payloads_rejected);
            self.answer_now(token, PublishOutcome::PayloadInvalid, out);
            self.reject(&format!("{}: {error}", topic_word(topic)));
        }
    }

    fn answer_now(&mut self, token: Option<PublishToken>, outcome: PublishOutcome, out: &mut Output) {
        if let Some(token) = token {
            self.answer(now(&self.shared), token, outcome, out);
        }
    }

    fn telemetry(
        &mut self,
        payload: &[u8],
        token: Option<PublishToken>,
        out: &mut Output,
    ) -> Result<(), PayloadError> {
        let Some(Identity { device, epoch, .. }) = self.identity.as_deref() else { return Ok(()) };
        let (handle, wall) = (&self.handle, Clock::wall_ms());
        let mut stamp = || handle.stamp(wall);
        let points = payload::telemetry(payload, wall, &mut stamp, &self.shared.payload_limits)?;
        if points.is_empty() {
            // An empty object says nothing, and nothing is stored of it.
            self.answer_now(token, PublishOutcome::Stored, out);
            return Ok(());
        }
        let reading = convert::reading_to_wire(Reading { device: device.clone(), points });
        let who = token.map(|token| (self.handle.clone(), token));
        // A span of each would cost more than all the rest.
        let span = trace::sampled().then(|| {
            Box::new(tracing::info_span!(
                parent: None, "PUBLISH telemetry", otel.kind = "server", device = %device,
                organization = %device.organization, session = %epoch
            ))
        });
        if !self.shared.uplink.put(reading, payload.len(), who, span) {
            match token {
                Some(_) => self.answer_now(token, PublishOutcome::StoreUnavailable, out),
                None => stats::up(&self.shared.stats.readings_dropped),
            }
        }
        Ok(())
    }

    fn device_event(&mut self, payload: &[u8], token: Option<PublishToken>) -> Result<(), PayloadError> {
        let Some(identity) = self.identity.as_deref() else { return Ok(()) };
        let device = &identity.device;
        let shared = self.shared.clone();
        let (handle, wall) = (&self.handle, Clock::wall_ms());
        let mut stamp = || handle.stamp(wall);
        let make_id = || shared.make_event_id();
        let event = payload::event(payload, device, wall, &mut stamp, make_id, &shared.payload_limits)?;
        let work = async move {
            let device = event.device.clone();
            let outcome = match core::event(&shared, event).await {
                Ok(()) => PublishOutcome::Stored,
                Err(status) => {
                    tracing::warn!(%device, error = status.message(), "an event was not stored");
                    outcome_of(&status)
                }
            };
            Done { answer: token.map(|token| (token, outcome)), delivery: None }
        };
        Lane::put(
            &mut self.device_lane,
            How { awaited: token.is_some(), beside: false },
            heard(&self.shared, "PUBLISH event", identity, work),
        );
        Ok(())
    }

    fn attributes(&mut self, payload: &[u8], token: Option<PublishToken>) -> Result<(), PayloadError> {
        let Some(identity) = self.identity.as_deref() else { return Ok(()) };
        let device = &identity.device;
        let attributes = payload::attributes(payload, &self.shared.payload_limits)?;
        let mut request =
            ReportAttributesRequest { device: Some(convert::device_ref(device)), ..Default::default() };
        for (key, value) in attributes {
            match value {
                Some(value) => drop(request.client.insert(key, convert::value_to_wire(value))),
                None => request.remove_client.push(key),
            }
        }
        let (shared, device) = (self.shared.clone(), device.clone());
        let work = async move {
            let outcome = match core::attributes(&shared, request).await {
                Ok(()) => PublishOutcome::Stored,
                Err(status) => {
                    let outcome = outcome_of(&status);
                    if matches!(outcome, PublishOutcome::PayloadInvalid | PublishOutcome::QuotaExceeded) {
                        // Neither a reason code nor the silence of 3.1.1 says which limit it was.
                        stats::up(&shared.stats.payloads_rejected);
                        let reason = format!("attributes: {}", status.message());
                        rejections::say(&shared, &device, &reason).await;
                    }
                    outcome
                }
            };
            Done { answer: token.map(|token| (token, outcome)), delivery: None }
        };
        Lane::put(
            &mut self.device_lane,
            How { awaited: token.is_some(), beside: false },
            heard(&self.shared, "PUBLISH attributes", identity, work),
        );
        Ok(())
    }

    fn attributes_request(
        &mut self,
        payload: &[u8],
        number: u64,
        token: Option<PublishToken>,
    ) -> Result<(), PayloadError> {
        let Some(identity) = self.identity.as_deref() else { return Ok(()) };
        let device = &identity.device;
        let asked = payload::attributes_request(payload, &self.shared.payload_limits)?;
        let strings = |keys: Option<Vec<String>>| keys.map(|items| Strings { items });
        let request = ReadAttributesRequest {
            device: Some(convert::device_ref(device)),
            client_keys: strings(asked.client_keys),
            shared_keys: strings(asked.shared_keys),
        };
        let shared = self.shared.clone();
        let work = async move {
            let (outcome, delivery) = match core::read_attributes(&shared, request).await {
                Ok(reply) => {
                    let mut json = String::from("{\"client\":");
                    write_scope(reply.client, &mut json);
                    json.push_str(",\"shared\":");
                    write_scope(reply.shared, &mut json);
                    json.push('}');
                    let delivery = (DownTopic::AttributesResponse(number), Bytes::from(json));
                    (PublishOutcome::Stored, Some(delivery))
                }
                Err(status) => (outcome_of(&status), None),
            };
            Done { answer: token.map(|token| (token, outcome)), delivery }
        };
        Lane::put(
            &mut self.device_lane,
            How { awaited: token.is_some(), beside: false },
            heard(&self.shared, "PUBLISH attributes request", identity, work),
        );
        Ok(())
    }

    fn reply(
        &mut self,
        payload: &[u8],
        number: u64,
        token: Option<PublishToken>,
    ) -> Result<(), PayloadError> {
        let Some(identity) = self.identity.as_deref() else { return Ok(()) };
        let device = &identity.device;
        let reply = payload::rpc_reply(payload, &self.shared.payload_limits)?;
        let report = Report::Replied(Replied {
            device: Some(convert::device_ref(device)),
            number,
            reply: reply.json,
            failed: reply.failed,
            at: self.shared.now(),
        });
        let (shared, device) = (self.shared.clone(), device.clone());
        let work = async move {
            // Stored once core has it: a reply that is lost with us is sent again by the device.
            let outcome = match core::reply(&shared, report).await {
                Ok(()) => PublishOutcome::Stored,
                Err(status) => {
                    tracing::warn!(%device, number, error = status.message(), "a reply was not stored");
                    outcome_of(&status)
                }
            };
            Done { answer: token.map(|token| (token, outcome)), delivery: None }
        };
        Lane::put(
            &mut self.command_lane,
            How { awaited: token.is_some(), beside: true },
            heard(&self.shared, "PUBLISH reply", identity, work),
        );
        Ok(())
    }

    /// What the platform can be asked by a device.
    fn device_request(
        &mut self,
        payload: &[u8],
        number: u64,
        token: Option<PublishToken>,
        out: &mut Output,
    ) -> Result<(), PayloadError> {
        let request = payload::rpc_request(payload, &self.shared.payload_limits)?;
        let mut json = String::new();
        if request.method == "getCurrentTime" {
            json.push_str(&Clock::wall_ms().to_string());
        } else {
            json.push_str("{\"error\":");
            payload::write_text(&format!("the platform has no method {:?}", request.method), &mut json);
            json.push('}');
        }
        self.answer_now(token, PublishOutcome::Stored, out);
        self.send(DownTopic::RpcResponse(number), Bytes::from(json), out);
        Ok(())
    }
}

/// Carries out what a publish asks for: measured, and in a span of its own that knows whose it is.
fn heard(
    shared: &Arc<Shared>,
    what: &'static str,
    identity: &Identity,
    work: impl Future<Output = Done> + Send + 'static,
) -> impl Future<Output = Done> + Send + 'static {
    let Identity { device, epoch, .. } = identity;
    let span = tracing::info_span!(
        parent: None, "PUBLISH", otel.name = what, otel.kind = "server", device = %device,
        organization = %device.organization, session = %epoch
    );
    let (shared, began) = (shared.clone(), Instant::now());
    async move {
        let done = work.await;
        shared.stats.acknowledged.messages.time(began.elapsed());
        done
    }
    .instrument(span)
}

fn write_scope(values: std::collections::HashMap<String, Value>, json: &mut String) {
    json.push('{');
    let mut first = true;
    for (key, value) in values {
        let Ok(value) = convert::value_from_wire(Some(value)) else { continue };
        if !std::mem::take(&mut first) {
            json.push(',');
        }
        payload::write_text(&key, json);
        json.push(':');
        payload::write_json(&value, json);
    }
    json.push('}');
}

fn topic_word(topic: UpTopic) -> &'static str {
    match topic {
        UpTopic::Telemetry => "telemetry",
        UpTopic::Attributes => "attributes",
        UpTopic::AttributesRequest(_) => "attributes request",
        UpTopic::RpcRequest(_) => "request",
        UpTopic::RpcResponse(_) => "reply to a command",
        UpTopic::Events => "event",
    }
}
