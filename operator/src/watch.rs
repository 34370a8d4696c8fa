//! What is seen of the cluster: one watch for each kind of object, and a store of what each has seen. Whoever wants to
//! know something asks the stores; nothing is asked of the API server twice.

mod follow;
mod noticing;
mod progress;
mod slim;

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PartialObjectMeta};
use kube::core::DeserializeGuard;
use kube::runtime::reflector::Store;
use kube::runtime::watcher;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use stoker_crds::{CoreShard, Gateway, Notifier, Portal};
use stoker_plan::{FIELD_MANAGER, MANAGED_BY};
use stoker_telemetry::{Health, Supervisor};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use progress::{Expected, Progress};

use crate::queue::Queue;
use crate::stats::Stats;
use follow::{Follow, follow};
use noticing::noticing;

/// Objects are listed by so many at once: all of a page are in memory, whole.
const PAGE: u32 = 50;
/// Helm keeps whole charts in Secrets, of a type that no pod of ours ever reads.
const SECRETS: &str = "type!=helm.sh/release.v1";
/// The kind by which Prometheus is told what to scrape.
const MONITORS: &str = "servicemonitors.monitoring.coreos.com";

/// A resource; one that this version does not understand has its metadata and the reason.
pub(crate) type Guarded<K> = DeserializeGuard<K>;

/// A store, and how far it has come.
#[derive(Debug, Clone)]
pub(crate) struct Seen<K: Resource<DynamicType = ()> + Clone + 'static> {
    store: Store<K>,
    progress: watch::Receiver<Progress>,
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Seen<K> {
    /// All of a namespace.
    pub(crate) fn of(&self, namespace: &str) -> Vec<Arc<K>> {
        self.store.state_filter(|object| object.meta().namespace.as_deref() == Some(namespace))
    }

    /// All.
    pub(crate) fn all(&self) -> Vec<Arc<K>> {
        self.store.state()
    }

    fn meta(&self, namespace: &str, name: &str) -> Option<ObjectMeta> {
        let key = kube::runtime::reflector::ObjectRef::new(name).within(namespace);
        self.store.get(&key).map(|object| object.meta().clone())
    }
}

/// All that is seen.
#[derive(Debug, Clone)]
pub(crate) struct Stores {
    pub(crate) gateways: Seen<Guarded<Gateway>>,
    pub(crate) core_shards: Seen<Guarded<CoreShard>>,
    pub(crate) notifiers: Seen<Guarded<Notifier>>,
    pub(crate) portals: Seen<Guarded<Portal>>,
    pub(crate) deployments: Seen<Deployment>,
    pub(crate) pods: Seen<Pod>,
    pub(crate) services: Seen<Service>,
    pub(crate) secrets: Seen<Secret>,
    pub(crate) config_maps: Seen<PartialObjectMeta<ConfigMap>>,
    accounts: Seen<PartialObjectMeta<ServiceAccount>>,
    policies: Seen<PartialObjectMeta<NetworkPolicy>>,
    budgets: Seen<PartialObjectMeta<PodDisruptionBudget>>,
    /// That of `ServiceMonitor` alone; none when nobody wants to know.
    definitions: Option<Seen<PartialObjectMeta<CustomResourceDefinition>>>,
}

/// What is watched.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    /// One namespace; all when none.
    pub(crate) namespace: Option<String>,
    /// Whether it is looked for `ServiceMonitor`.
    pub(crate) monitors: bool,
}

/// What all watches share.
#[derive(Clone)]
pub(crate) struct Around {
    pub(crate) client: Client,
    pub(crate) queue: Arc<Queue>,
    pub(crate) health: Health,
    pub(crate) stats: Arc<Stats>,
    pub(crate) shutdown: CancellationToken,
}

impl Stores {
    /// Begins to watch, each kind by a task of `tasks`.
    pub(crate) fn begin(scope: &Scope, around: &Around, tasks: &mut Supervisor) -> Self {
        let ours = || config().labels(&format!("{MANAGED_BY}={FIELD_MANAGER}"));
        let mut watches = Watches { scope, around, tasks };
        Self {
            gateways: watches.of(config(), slim::metadata, resource_mends),
            core_shards: watches.of(config(), slim::metadata, resource_mends),
            notifiers: watches.of(config(), slim::metadata, resource_mends),
            portals: watches.of(config(), slim::metadata, resource_mends),
            deployments: watches.of(ours(), slim::deployment, never),
            pods: watches.of(ours(), slim::pod, never),
            services: watches.of(ours(), slim::service, never),
            secrets: watches.of(config().fields(SECRETS), slim::secret, secret_mends),
            config_maps: watches.of(ours(), slim::metadata, never),
            accounts: watches.of(ours(), slim::metadata, never),
            policies: watches.of(ours(), slim::metadata, never),
            budgets: watches.of(ours(), slim::metadata, never),
            definitions: scope.monitors.then(|| {
                let (client, answered) = noticing(around.client.clone());
                watches.run(
                    (Api::all(client), answered),
                    config().fields(&format!("metadata.name={MONITORS}")),
                    slim::metadata,
                    always,
                )
            }),
        }
    }

    /// Whether the cluster knows `ServiceMonitor`.
    pub(crate) fn service_monitors(&self) -> bool {
        self.definitions.as_ref().is_some_and(|seen| !seen.store.is_empty())
    }

    /// The metadata of an object of ours, if it is seen; none of a kind that is not watched.
    pub(crate) fn meta(&self, kind: &str, namespace: &str, name: &str) -> Option<ObjectMeta> {
        match kind {
            "ServiceAccount" => self.accounts.meta(namespace, name),
            "ConfigMap" => self.config_maps.meta(namespace, name),
            "NetworkPolicy" => self.policies.meta(namespace, name),
            "PodDisruptionBudget" => self.budgets.meta(namespace, name),
            "Service" => self.services.meta(namespace, name),
            "Deployment" => self.deployments.meta(namespace, name),
            "Secret" => self.secrets.meta(namespace, name),
            _ => None,
        }
    }

    /// How far the store of a kind has come; none of a kind that is not watched.
    pub(crate) fn progress(&self, kind: &str) -> Option<watch::Receiver<Progress>> {
        Some(match kind {
            "Gateway" => self.gateways.progress.clone(),
            "CoreShard" => self.core_shards.progress.clone(),
            "Notifier" => self.notifiers.progress.clone(),
            "Portal" => self.portals.progress.clone(),
            "ServiceAccount" => self.accounts.progress.clone(),
            "ConfigMap" => self.config_maps.progress.clone(),
            "NetworkPolicy" => self.policies.progress.clone(),
            "PodDisruptionBudget" => self.budgets.progress.clone(),
            "Service" => self.services.progress.clone(),
            "Deployment" => self.deployments.progress.clone(),
            "Secret" => self.secrets.progress.clone(),
            _ => return None,
        })
    }

    /// Whether it is known of any store that it is behind: something may have happened that is not seen.
    pub(crate) fn are_behind(&self) -> bool {
        self.all().iter().any(|progress| progress.borrow().is_behind())
    }

    /// How far the stores have come from which plans are made.
    fn all(&self) -> Vec<watch::Receiver<Progress>> {
        let kinds = [
            "Gateway",
            "CoreShard",
            "Notifier",
            "Portal",
            "ServiceAccount",
            "ConfigMap",
            "NetworkPolicy",
            "PodDisruptionBudget",
            "Service",
            "Deployment",
            "Secret",
        ];
        let mut all: Vec<_> = kinds.into_iter().filter_map(|kind| self.progress(kind)).collect();
        all.push(self.pods.progress.clone());
        all
    }

    /// Returns when all stores have seen all there is, for the first time.
    pub(crate) async fn whole(&self) {
        let mut all = self.all();
        all.extend(self.definitions.as_ref().map(|seen| seen.progress.clone()));
        for mut progress in all {
            if progress.wait_for(Progress::is_whole).await.is_err() {
                // The watch has ended, and with it the process.
                std::future::pending::<()>().await;
            }
        }
    }
}

fn config() -> watcher::Config {
    watcher::Config::default().page_size(PAGE)
}

struct Watches<'a> {
    scope: &'a Scope,
    around: &'a Around,
    tasks: &'a mut Supervisor,
}

impl Watches<'_> {
    fn of<K>(
        &mut self,
        config: watcher::Config,
        slim: fn(&mut K),
        mends: fn(Option<&K>, &K) -> bool,
    ) -> Seen<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let (client, answered) = noticing(self.around.client.clone());
        let api = match &self.scope.namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        self.run((api, answered), config, slim, mends)
    }

    fn run<K>(
        &mut self,
        (api, answered): (Api<K>, watch::Receiver<u64>),
        config: watcher::Config,
        slim: fn(&mut K),
        mends: fn(Option<&K>, &K) -> bool,
    ) -> Seen<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let group = K::group(&());
        let plural = if group.is_empty() {
            K::plural(&()).into_owned()
        } else {
            format!("{}.{group}", K::plural(&()))
        };
        let (store, writer) = kube::runtime::reflector::store();
        let (sender, progress) = watch::channel(Progress::default());
        let thing = format!("watch of {plural}");
        // Here and not in its task, or the process would be ready until that begins.
        self.around.health.waiting(&thing, "not all is seen yet");
        let of = Follow {
            thing: thing.clone(),
            plural,
            store: store.clone(),
            writer,
            progress: sender,
            answered,
            slim,
            mends,
            around: self.around.clone(),
        };
        self.tasks.run(&thing, follow(of, watcher(api, config)));
        Seen { store, progress }
    }
}

/// A spec was changed, or something that is done by annotation.
fn resource_mends<K: Resource>(before: Option<&K>, now: &K) -> bool {
    let now = now.meta();
    before.map(Resource::meta).is_none_or(|before| {
        before.generation != now.generation
            || before.uid != now.uid
            || before.annotations != now.annotations
            || before.deletion_timestamp != now.deletion_timestamp
    })
}

fn secret_mends(before: Option<&Secret>, now: &Secret) -> bool {
    before.is_none_or(|before| before.data != now.data)
}

fn never<K>(_: Option<&K>, _: &K) -> bool {
    false
}

fn always<K>(_: Option<&K>, _: &K) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_resource_mends_by_its_spec_and_annotations_and_not_by_its_status() {
        let before = Gateway::new("edge", serde_json::from_value(spec()).unwrap());
        let mut now = before.clone();
        now.metadata.resource_version = Some("2".to_owned());
        now.status = Some(stoker_crds::GatewayStatus { connections: Some(7), ..Default::default() });
        assert!(!resource_mends(Some(&before), &now));
        assert!(resource_mends(None, &now));
        let mut other = now.clone();
        other.metadata.generation = Some(2);
        assert!(resource_mends(Some(&before), &other));
        now.metadata.annotations =
            Some(BTreeMap::from([(stoker_plan::PAUSED.to_owned(), "true".to_owned())]));
        assert!(resource_mends(Some(&before), &now));
    }

    fn spec() -> serde_json::Value {
        serde_json::json!({
            "hostname": "devices.example.com",
            "listeners": [{"name": "mqtt", "protocol": "Mqtt", "port": 1883}],
            "bus": {"secretName": "bus"},
        })
    }
}
