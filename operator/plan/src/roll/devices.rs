//! Where devices connect, for portals to tell people.

use super::{owned, reach};
use crate::check::Refusal;
use crate::facts::{Deployment, Facts};
use crate::wanted::{Resource, Spec};

/// What a person's device is told to speak first: encrypted, where that is offered.
const SCHEMES: [&str; 2] = ["mqtts", "mqtt"];

/// Such as `mqtts://devices.example.com:8883`; none where no Gateway speaks MQTT over TCP.
///
/// Where several Gateways do, it is the oldest: one that is made later changes nothing, so that no portal rolls for it, as it
/// would if names, ports or numbers of pods decided. What has no effect on where devices connect is not in it, either.
pub(super) fn mqtt_url(
    resources: &[Resource<'_>],
    refusals: &[Option<Refusal>],
    facts: &Facts,
) -> Option<String> {
    // Each kind comes with the oldest first.
    resources.iter().zip(refusals).find_map(|(of, refusal)| {
        let Spec::Gateway(spec) = of.spec else { return None };
        let ports = if refusal.is_some() || of.paused {
            // It is left as it is, and so is what people are told of it.
            let there: Vec<&Deployment> = owned(&of.id, facts).collect();
            reach::kept(&there)
        } else {
            reach::wished(spec)
        };
        SCHEMES.into_iter().find_map(|scheme| {
            let port = ports.iter().find(|port| port.door == scheme)?;
            Some(format!("{scheme}://{}:{}", spec.hostname, port.number))
        })
    })
}
