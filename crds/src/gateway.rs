//! Where devices connect.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Pods, SecretRef, Status};

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Protocol {
    /// MQTT over TCP.
    Mqtt,
    /// MQTT over TLS.
    Mqtts,
    /// MQTT over WebSocket.
    Ws,
    /// MQTT over WebSocket over TLS.
    Wss,
}

impl Protocol {
    /// True when it needs a certificate.
    #[must_use]
    pub fn is_encrypted(self) -> bool {
        matches!(self, Self::Mqtts | Self::Wss)
    }
}

/// A load balancer in front speaks the PROXY protocol, so that the addresses of devices are known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct ProxyProtocol {
    /// Whose word about addresses is taken.
    #[serde(rename = "trustedCIDRs")]
    #[schemars(length(min = 1, max = 64), inner(length(max = 64)))]
    #[x_kube(
        validation = Rule::new("self.all(c, isCIDR(c))")
            .message("each of trustedCIDRs must be a range such as 10.0.0.0/8")
    )]
    pub trusted_cidrs: Vec<String>,
}

/// A port that devices connect to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(self.protocol in ['Mqtts', 'Wss']) || has(self.tlsSecretName)")
        .message("a listener of protocol Mqtts or Wss needs tlsSecretName, the Secret with its tls.crt and tls.key"),
    validation = Rule::new("self.protocol in ['Mqtts', 'Wss'] || !has(self.tlsSecretName)")
        .message("tlsSecretName is for listeners of protocol Mqtts or Wss; leave it out or change the protocol")
)]
pub struct Listener {
    /// Its name, unique within the Gateway, and that of the Service's port.
    #[schemars(length(min = 1, max = 15), regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,

    /// What it speaks.
    pub protocol: Protocol,

    /// The port on the hostname's address.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,

    /// The Secret with the certificate, `tls.crt` and `tls.key`; with `ca.crt` in it, devices may show certificates that
    /// it has signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub tls_secret_name: Option<String>,

    /// A load balancer in front speaks the PROXY protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// How the one address is to be had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// From the cloud, or whatever gives addresses to Services.
    #[default]
    LoadBalancer,
    /// A port of every node.
    NodePort,
    /// Within the cluster only.
    ClusterIP,
}

/// Which nodes take connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TrafficPolicy {
    /// All. Connections stay where they are while pods come and go.
    #[default]
    Cluster,
    /// Those with pods on them: devices' addresses are kept, and a node without pods takes nobody.
    Local,
}

/// The Service in front of all gateways.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Service {
    /// How the address is to be had.
    #[serde(rename = "type")]
    pub kind: ServiceType,

    /// What the cloud is told by annotations.
    pub annotations: BTreeMap<String, String>,

    /// Which nodes take connections.
    pub external_traffic_policy: TrafficPolicy,
}

/// How gateways that end let go of their devices.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Drain {
    /// How long devices that were told to go have to come back before anybody is told, such as `60s` or `2m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = r"^([0-9]+(h|m|s))+$"))]
    pub handover_grace: Option<String>,

    /// At most so many devices a second are told to go; less when the cores are slow to take them in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_rate: Option<i32>,
}

/// Where devices connect: one hostname, however many pods stand behind it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "stoker.dev",
    version = "v1alpha1",
    kind = "Gateway",
    namespaced,
    status = "GatewayStatus",
    derive = "PartialEq",
    shortname = "sgw",
    category = "stoker",
    validation = Rule::new(crate::NAME_RULE).message(crate::NAME_MESSAGE),
    doc = "Where devices connect: one hostname, however many pods stand behind it.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Address", type_ = "string", json_path = ".status.address"),
    printcolumn(name = "Connections", type_ = "integer", json_path = ".status.connections"),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct GatewaySpec {
    /// The name that devices dial. It is burnt into their firmware, so it stays what it is.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$")
    )]
    #[x_kube(
        validation = Rule::new("self == oldSelf")
            .message("hostname can't be changed: devices dial it; make another Gateway for another name")
    )]
    pub hostname: String,

    /// How many pods.
    #[serde(default = "two")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: i32,

    /// The ports that devices connect to.
    #[schemars(
        length(min = 1, max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    #[x_kube(
        validation = Rule::new("self.all(a, self.exists_one(b, b.port == a.port))")
            .message("two listeners have the same port; each needs one of its own")
    )]
    pub listeners: Vec<Listener>,

    /// The Service in front.
    #[serde(default)]
    pub service: Service,

    /// How pods that end let go of their devices.
    #[serde(default)]
    pub drain: Drain,

    /// RabbitMQ: a Secret with the key `url`.
    pub bus: SecretRef,

    /// The pods.
    #[serde(flatten)]
    pub pods: Pods,
}

pub(crate) fn two() -> i32 {
    2
}

/// How a Gateway stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayStatus {
    /// As of all kinds.
    #[serde(flatten)]
    pub common: Status,

    /// Where the hostname is to lead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,

    /// Connections that its pods hold, looked at now and then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<i64>,
}
