//! Pods: as Pod Security *restricted* asks for them, with a root file system that nobody can write to.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, EnvVar,
    EnvVarSource, HTTPGetAction, Lifecycle, LifecycleHandler, ObjectFieldSelector, PodSecurityContext,
    PodSpec, PodTemplateSpec, Probe, SeccompProfile, SecretKeySelector, SecretVolumeSource, SecurityContext,
    SleepAction, TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::config::DRAIN_WITHIN_S;
use super::{HTTPS, TLS, port, ports};
use crate::certificates::certificate_secret;
use crate::check::{Doors, needs};
use crate::facts::Facts;
use crate::names::{digest, matching, pod_labels, selector};
use crate::wanted::{Resource, Spec};
use crate::{ADMIN_SECRET, CREDENTIALS};

/// Nobody, in distroless images.
const NOBODY: i64 = 65532;
const CONFIG: &str = "/etc/stoker/config";
const ADMIN: &str = "/etc/stoker/admin";
/// Where a portal finds the administrator's token.
pub(super) const ADMIN_TOKEN: &str = "/etc/stoker/admin/token";
/// Where crash reports are left, for as long as the pod is there.
const STATE: &str = "/var/lib/stoker";
/// How long a pod in front serves on as if nothing were, when it is to end: by then nobody is sent to it any more. A
/// device that one pod of a revision lets go would else come to another that is about to end, and be moved twice.
const FORGOTTEN_AFTER_S: i64 = 5;
/// What a gateway may take beyond `drain.within` (20 s), and the kubelet until it tells it.
const GATEWAY_GRACE_S: i64 = FORGOTTEN_AFTER_S + DRAIN_WITHIN_S + 20 + 10;
const PORTAL_GRACE_S: i64 = FORGOTTEN_AFTER_S + 30;
/// What a core may take to hand its slots on (20 s) and to pass requests on that come to it yet (4 s), to end those that
/// were begun (5 s) and to say goodbye to its callers (5 s), and some more.
const CORE_GRACE_S: i64 = 20 + 4 + 5 + 5 + 6;
const NOTIFIER_GRACE_S: i64 = 30;

/// Where the certificate of an encrypted listener, of a portal, or among the services, is.
pub(super) fn door(name: &str) -> String {
    format!("/etc/stoker/{name}")
}

/// The pods of `of`, which read the ConfigMap `config`. The revision is a digest of this, and not in it.
pub(super) fn template(of: &Resource<'_>, config: &str, facts: &Facts) -> PodTemplateSpec {
    let (volumes, mounts) = files(of, config).into_iter().unzip();
    let pods = of.pods;
    let some = |list: &[_]| (!list.is_empty()).then(|| list.to_vec());
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(pod_labels(of)),
            annotations: Some(BTreeMap::from([(CREDENTIALS.to_owned(), credentials(of, facts))])),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            service_account_name: Some(of.base()),
            automount_service_account_token: Some(false),
            // Variables named after Services would be taken for configuration.
            enable_service_links: Some(false),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(NOBODY),
                run_as_group: Some(NOBODY),
                fs_group: Some(NOBODY),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    localhost_profile: None,
                }),
                ..PodSecurityContext::default()
            }),
            termination_grace_period_seconds: Some(match of.spec {
                Spec::Gateway(_) => GATEWAY_GRACE_S,
                Spec::CoreShard(_) => CORE_GRACE_S,
                Spec::Notifier(_) => NOTIFIER_GRACE_S,
                Spec::Portal(_) => PORTAL_GRACE_S,
            }),
            containers: vec![container(of, mounts, facts)],
            volumes: Some(volumes),
            node_selector: (!pods.node_selector.is_empty()).then(|| pods.node_selector.clone()),
            tolerations: (!pods.tolerations.is_empty()).then(|| pods.tolerations.clone()),
            image_pull_secrets: some(&pods.image_pull_secrets),
            topology_spread_constraints: pods.affinity.is_none().then(|| spread(of)),
            affinity: pods.affinity.clone(),
            ..PodSpec::default()
        }),
    }
}

/// Over nodes and zones, where there are several; where there is one it has all.
fn spread(of: &Resource<'_>) -> Vec<TopologySpreadConstraint> {
    let over = |key: &str| TopologySpreadConstraint {
        max_skew: 1,
        topology_key: key.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(matching(selector(of))),
        // Those of a former template leave: they don't count.
        match_label_keys: Some(vec!["pod-template-hash".to_owned()]),
        ..TopologySpreadConstraint::default()
    };
    vec![over("kubernetes.io/hostname"), over("topology.kubernetes.io/zone")]
}

fn container(of: &Resource<'_>, mounts: Vec<VolumeMount>, facts: &Facts) -> Container {
    let mut ports = ports(of);
    ports.push(("private", port::PRIVATE));
    let ports = ports.into_iter().map(|(name, port)| ContainerPort {
        name: Some(name.to_owned()),
        container_port: port,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    });
    let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
    Container {
        name: of.id.kind.component().to_owned(),
        image: Some(of.pods.image.clone().unwrap_or_else(|| facts.operator.image.clone())),
        command: words(&["stoker"]),
        args: words(&[of.id.kind.component(), "--config", &format!("{CONFIG}/stoker.yaml")]),
        env: Some(environment(of)),
        ports: Some(ports.collect()),
        volume_mounts: Some(mounts),
        resources: of.pods.resources.clone(),
        lifecycle: matches!(of.spec, Spec::Gateway(_) | Spec::Portal(_)).then(serve_on),
        // A start may wait for Cassandra and RabbitMQ as long as they are away, and is healthy meanwhile.
        startup_probe: Some(probe("/healthz", 2, 30)),
        liveness_probe: Some(probe("/healthz", 10, 3)),
        readiness_probe: Some(probe("/readyz", 2, 3)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

fn serve_on() -> Lifecycle {
    let sleep = Some(SleepAction { seconds: FORGOTTEN_AFTER_S });
    Lifecycle {
        pre_stop: Some(LifecycleHandler { sleep, ..LifecycleHandler::default() }),
        ..Lifecycle::default()
    }
}

fn probe(path: &str, every_s: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("private".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(every_s),
        failure_threshold: Some(failures),
        timeout_seconds: Some(2),
        ..Probe::default()
    }
}

fn environment(of: &Resource<'_>) -> Vec<EnvVar> {
    let plain = |name: &str, value: &str| EnvVar {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        value_from: None,
    };
    let from = |name: &str, source| EnvVar { name: name.to_owned(), value: None, value_from: Some(source) };
    let secret = |name: &str, secret: &str, key: &str| {
        let key = SecretKeySelector { name: secret.to_owned(), key: key.to_owned(), optional: None };
        from(name, EnvVarSource { secret_key_ref: Some(key), ..EnvVarSource::default() })
    };
    let mut all = vec![plain("STATE_DIRECTORY", STATE), secret("STOKER__BUS__URL", of.bus, "url")];
    match of.spec {
        Spec::CoreShard(spec) => {
            let field = ObjectFieldSelector {
                field_path: "status.podIP".to_owned(),
                ..ObjectFieldSelector::default()
            };
            all.push(from("POD_IP", EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() }));
            all.push(plain("STOKER__CORE__ADVERTISE", &format!("$(POD_IP):{}", port::CORE)));
            if let Some(name) = &spec.cassandra.secret_name {
                all.push(secret("STOKER__CASSANDRA__USERNAME", name, "username"));
                all.push(secret("STOKER__CASSANDRA__PASSWORD", name, "password"));
            }
        }
        Spec::Notifier(spec) => {
            if let Some(email) = &spec.email {
                all.push(secret("STOKER__NOTIFIER__EMAIL__SMTP_URL", &email.secret_name, "smtp_url"));
                all.push(secret("STOKER__NOTIFIER__EMAIL__FROM", &email.secret_name, "from"));
            }
        }
        Spec::Gateway(_) | Spec::Portal(_) => {}
    }
    all
}

/// Volumes, and where they are.
fn files(of: &Resource<'_>, config: &str) -> Vec<(Volume, VolumeMount)> {
    let at = |volume: Volume, path: String, read_only: bool| {
        let mount = VolumeMount {
            name: volume.name.clone(),
            mount_path: path,
            read_only: read_only.then_some(true),
            ..VolumeMount::default()
        };
        (volume, mount)
    };
    // Whole folders: files that are mounted one by one are not renewed.
    let secret = |name: &str, secret: &str, path: String| {
        let source = SecretVolumeSource {
            secret_name: Some(secret.to_owned()),
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        };
        at(Volume { name: name.to_owned(), secret: Some(source), ..Volume::default() }, path, true)
    };
    let source = ConfigMapVolumeSource { name: config.to_owned(), ..ConfigMapVolumeSource::default() };
    let config = Volume { name: "config".to_owned(), config_map: Some(source), ..Volume::default() };
    let source = EmptyDirVolumeSource { medium: None, size_limit: Some(Quantity("64Mi".to_owned())) };
    let state = Volume { name: "state".to_owned(), empty_dir: Some(source), ..Volume::default() };
    let certificate = secret(TLS, certificate_secret(of.id.kind), door(TLS));
    let mut all = vec![at(config, CONFIG.to_owned(), true), at(state, STATE.to_owned(), false), certificate];
    match of.spec {
        Spec::Gateway(spec) => {
            for (name, of) in Doors::of(&spec.listeners).encrypted() {
                all.push(secret(name, of, door(name)));
            }
        }
        Spec::Portal(spec) => {
            all.push(secret("admin", ADMIN_SECRET, ADMIN.to_owned()));
            let certificate = spec.tls_secret_name.as_deref();
            all.extend(certificate.map(|of| secret(HTTPS, of, door(HTTPS))));
        }
        Spec::CoreShard(_) | Spec::Notifier(_) => {}
    }
    all
}

/// A digest of all that pods have from Secrets and read once only: when it changes, they roll.
fn credentials(of: &Resource<'_>, facts: &Facts) -> String {
    let mut all: Vec<[&str; 3]> = Vec::new();
    for need in needs(of).iter().filter(|need| !need.in_place) {
        for key in need.keys {
            let value = facts.secrets.get(need.secret).and_then(|secret| secret.digests.get(*key));
            all.push([need.secret, key, value.map_or("", String::as_str)]);
        }
    }
    digest(&all)
}
