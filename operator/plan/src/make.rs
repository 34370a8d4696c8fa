//! The objects of a resource that can be planned.

mod around;
mod config;
mod deployment;
mod network;
mod pod;
mod scrape;
mod service;

use k8s_openapi::api::apps::v1::Deployment;
use stoker_crds::SlotRange;

pub(crate) use deployment::Extra;
pub(crate) use service::cores;

use crate::facts::Facts;
use crate::names::digest;
use crate::object::Object;
use crate::roll::Reach;
use crate::wanted::{Kind, Resource};

/// What is made of one resource, its Deployment apart: when that changes is decided elsewhere.
pub(crate) struct Made {
    /// `stoker.yaml`
    text: String,
    /// For metrics. Another project's kinds are among it: nothing waits for them.
    pub(crate) scrape: Vec<Object>,
    deployment: Deployment,
    /// Of its pods.
    pub(crate) config: String,
    /// Stands for all of a pod: another one is another revision.
    pub(crate) revision: String,
}

impl Made {
    /// `range` is what a CoreShard is to serve, `mqtt_url` where devices connect, as a Portal is to say.
    pub(crate) fn of(
        of: &Resource<'_>,
        range: Option<SlotRange>,
        mqtt_url: Option<&str>,
        facts: &Facts,
    ) -> Self {
        let text = config::text(of, range, mqtt_url, facts);
        let config = format!("{}-{}", of.base(), digest(&text));
        let template = pod::template(of, &config, facts);
        let revision = digest(&template);
        let scrape = if facts.service_monitors { scrape::objects(of, facts).into() } else { Vec::new() };
        let deployment = deployment::of(of, &revision, template, facts);
        Self { text, scrape, deployment, config, revision }
    }

    /// What its pods need beside themselves. `reach` is how a Gateway is reached now.
    pub(crate) fn around(&self, of: &Resource<'_>, reach: Option<&Reach>, facts: &Facts) -> Vec<Object> {
        let mut around = vec![
            around::service_account(of, facts),
            around::config_map(of, &self.config, self.text.clone(), facts),
            network::policy(of, reach, facts),
            around::budget(of, facts),
        ];
        around.extend(service::front(of, reach, facts));
        around
    }

    /// What its Deployment is called.
    pub(crate) fn deployment_name(&self) -> &str {
        self.deployment.metadata.name.as_deref().unwrap_or_default()
    }

    /// Its Deployment, with what is known about it now.
    pub(crate) fn deployment(&self, extra: &Extra) -> Object {
        Object::Deployment(Box::new(extra.put_on(self.deployment.clone(), &self.config)))
    }
}

/// Ports in pods. They need no privilege; the Service has those that are asked for.
pub(crate) mod port {
    pub(crate) const MQTT: i32 = 1883;
    pub(crate) const MQTTS: i32 = 8883;
    pub(crate) const WS: i32 = 8083;
    pub(crate) const WSS: i32 = 8084;
    pub(crate) const HTTP: i32 = 8080;
    /// Another one: while pods of both are there, each Service port leads to those that speak what is said at it.
    pub(crate) const HTTPS: i32 = 8443;
    pub(crate) const CORE: i32 = 7400;
    pub(crate) const PRIVATE: i32 = 9090;
}

/// Where gateways may listen: how pods name these ports, and their numbers.
const DOORS: [(&str, i32); 4] =
    [("mqtt", port::MQTT), ("mqtts", port::MQTTS), ("ws", port::WS), ("wss", port::WSS)];
/// The folder of the certificate among the services.
const TLS: &str = "tls";
/// The port of a portal with a certificate, and the folder that this is in.
const HTTPS: &str = "https";

/// The public ports of a pod: their names and numbers.
fn ports(of: &Resource<'_>) -> Vec<(&'static str, i32)> {
    use crate::check::Doors;
    use crate::wanted::Spec;
    match of.spec {
        Spec::Gateway(spec) => {
            let doors = Doors::of(&spec.listeners);
            [
                (doors.mqtt.is_some(), "mqtt", port::MQTT),
                (doors.mqtts.is_some(), "mqtts", port::MQTTS),
                (doors.ws.is_some(), "ws", port::WS),
                (doors.wss.is_some(), "wss", port::WSS),
            ]
            .into_iter()
            .filter(|(open, ..)| *open)
            .map(|(_, name, port)| (name, port))
            .collect()
        }
        Spec::CoreShard(_) => vec![("grpc", port::CORE)],
        Spec::Portal(spec) if spec.tls_secret_name.is_some() => vec![(HTTPS, port::HTTPS)],
        Spec::Portal(_) => vec![("http", port::HTTP)],
        Spec::Notifier(_) => Vec::new(),
    }
}

/// What calls cores.
const CALLERS: [Kind; 4] = [Kind::CoreShard, Kind::Gateway, Kind::Notifier, Kind::Portal];
