//! Carries plans out. Each write says what it was based on, is counted, has a deadline, and is made only by who leads.

mod admin;
mod apply;
mod certificates;
mod course;
mod setback;
mod status;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::runtime::events::{Recorder, Reporter};
use parking_lot::Mutex;
use serde_json::json;
use stoker_plan::{Deletable, Delete, FIELD_MANAGER, Facts, Plan, Scale};
use tokio::time::timeout;

use crate::backoff::chance;
use crate::facts::Snapshot;
use crate::failure::Failure;
use crate::leader::Leading;
use crate::stats::{Stats, Verb};
use crate::watch::{Expected, Stores};

use apply::Applied;
use course::Course;
use setback::Setbacks;

/// An answer that takes longer does not come.
const WITHIN: Duration = Duration::from_secs(15);
/// How long a store may take to show what was written.
const SEEN_WITHIN: Duration = Duration::from_secs(10);

/// Writes to the API server.
pub(crate) struct Actor {
    client: Client,
    stores: Stores,
    leading: Leading,
    stats: Arc<Stats>,
    recorder: Recorder,
    memory: Mutex<Memory>,
}

/// What is remembered of what was written. It saves writes and is never needed: a new process has none of it.
#[derive(Debug, Default)]
struct Memory {
    applied: Applied,
    setbacks: Setbacks,
    /// By namespace: what its stores are to have seen before anything is planned again.
    expected: BTreeMap<String, BTreeMap<&'static str, Expected>>,
    /// Resources that are not understood and were told so, up to which change of theirs.
    told: BTreeMap<String, Option<i64>>,
}

/// What has come of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carried {
    /// All is as it is to be.
    Out,
    /// But for what had changed meanwhile.
    ButForChanges,
    /// But for what was refused, or failed.
    ButForFailures,
}

impl Actor {
    pub(crate) fn new(
        client: Client,
        stores: Stores,
        leading: Leading,
        stats: Arc<Stats>,
        instance: &str,
    ) -> Self {
        let reporter = Reporter { controller: FIELD_MANAGER.to_owned(), instance: Some(instance.to_owned()) };
        let recorder = Recorder::new(client.clone(), reporter);
        Self { client, stores, leading, stats, recorder, memory: Mutex::default() }
    }

    /// Waits until what was written to `namespace` before is seen. What is planned without that may undo it.
    ///
    /// # Errors
    /// It is not seen in time.
    pub(crate) async fn seen(&self, namespace: &str) -> Result<(), Failure> {
        let expected = self.memory.lock().expected.get(namespace).cloned().unwrap_or_default();
        let all = async {
            for (kind, expected) in expected {
                let Some(mut progress) = self.stores.progress(kind) else { continue };
                // An error is the end of that watch, and of the process.
                let _ = progress.wait_for(|progress| progress.has(&expected)).await;
            }
        };
        if timeout(SEEN_WITHIN, all).await.is_err() {
            let what = format!("see what was written to the namespace {namespace}");
            let why = "its watches are behind".to_owned();
            return Err(Failure::Unavailable { what, why });
        }
        self.memory.lock().expected.remove(namespace);
        Ok(())
    }

    /// Forgets a namespace that has nothing of ours.
    pub(crate) fn forget(&self, namespace: &str) {
        let mut memory = self.memory.lock();
        memory.applied.forget(namespace);
        memory.setbacks.forget(namespace);
        memory.expected.remove(namespace);
    }

    /// A look at `namespace` begins. `helps`: something has happened that may help where a write was not taken.
    pub(crate) fn begin(&self, namespace: &str, helps: bool) {
        self.memory.lock().setbacks.begin(namespace, helps, Instant::now());
    }

    /// The look has come to its end. Returns when the next write is to be tried again, if any is.
    pub(crate) fn end(&self, namespace: &str) -> Option<Duration> {
        self.memory.lock().setbacks.end(namespace, Instant::now())
    }

    /// Carries `plan` out, for a namespace that is as `snapshot` and `facts` say. A write that is not taken concerns its
    /// resource: what depends on it is left, the rest is done, and how all resources stand is said.
    ///
    /// # Errors
    /// Nobody answers, or another process leads: then nothing further was tried.
    pub(crate) async fn carry_out(
        &self,
        plan: &Plan,
        snapshot: &Snapshot,
        facts: &Facts,
    ) -> Result<Carried, Failure> {
        let mut course = Course::default();
        let done = self.make(plan, snapshot, facts, &mut course).await;
        if let Err(failure) = &done
            && !failure.is_of_one()
        {
            return done.map(|()| Carried::Out);
        }
        self.say_all(plan, snapshot, &mut course).await?;
        done?;
        Ok(course.carried())
    }

    async fn make(
        &self,
        plan: &Plan,
        snapshot: &Snapshot,
        facts: &Facts,
        course: &mut Course,
    ) -> Result<(), Failure> {
        self.certificates(plan, snapshot, facts, course).await?;
        self.admin_secret(plan, snapshot, course).await?;
        self.apply_all(plan, snapshot, course).await?;
        let namespace = snapshot.namespace.as_str();
        let owner = |name: &str| {
            let of = facts.deployments.iter().find(|of| of.name == name);
            of.and_then(|of| of.owner.clone())
        };
        for scale in &plan.scale {
            let owner = owner(&scale.deployment);
            if owner.as_ref().is_none_or(|owner| course.failed(owner).is_none()) {
                let done = self.scale(namespace, scale).await;
                course.settle(done, &owner)?;
            }
        }
        for delete in &plan.delete {
            let owner = match delete.what {
                Deletable::Deployment => owner(&delete.name),
                Deletable::ConfigMap => {
                    facts.config_maps.iter().find(|of| of.name == delete.name).and_then(|of| of.owner.clone())
                }
            };
            if owner.as_ref().is_none_or(|owner| course.failed(owner).is_none()) {
                let done = self.delete(namespace, delete).await;
                course.settle(done, &owner)?;
            }
        }
        Ok(())
    }

    async fn scale(&self, namespace: &str, scale: &Scale) -> Result<(), Failure> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
        let name = &scale.deployment;
        let patch = Patch::Merge(json!({
            "metadata": {"resourceVersion": scale.resource_version},
            "spec": {"replicas": scale.replicas},
        }));
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..Default::default() };
        let what = format!("scale Deployment {name} to {}", scale.replicas);
        self.tried(namespace, &what, "", async {
            let call = api.patch_metadata(name, &parameters, &patch);
            let now = self.write(Verb::Scale, &what, call).await.map_err(Failure::gone_is_changed)?;
            self.expect(namespace, "Deployment", now.metadata.resource_version.as_deref());
            tracing::info!(namespace, deployment = name, replicas = scale.replicas, "scaled");
            Ok(())
        })
        .await
    }

    async fn delete(&self, namespace: &str, delete: &Delete) -> Result<(), Failure> {
        let name = &delete.name;
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                resource_version: Some(delete.resource_version.clone()),
                uid: None,
            }),
            ..DeleteParams::background()
        };
        let what = format!("delete {:?} {name}", delete.what);
        self.tried(namespace, &what, "", async {
            let deleted = match delete.what {
                Deletable::Deployment => {
                    let api: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
                    self.write(Verb::Delete, &what, api.delete(name, &parameters)).await.map(drop)
                }
                Deletable::ConfigMap => {
                    let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
                    self.write(Verb::Delete, &what, api.delete(name, &parameters)).await.map(drop)
                }
            };
            deleted.map_err(Failure::gone_is_changed)?;
            tracing::info!(namespace, kind = ?delete.what, name, "deleted");
            Ok(())
        })
        .await
    }

    /// Makes a write, unless it was not taken before and it is too early to try it again.
    async fn tried(
        &self,
        namespace: &str,
        what: &str,
        digest: &str,
        write: impl Future<Output = Result<(), Failure>>,
    ) -> Result<(), Failure> {
        if let Some(failure) = self.memory.lock().setbacks.held(namespace, what, digest, Instant::now()) {
            return Err(failure);
        }
        let done = write.await;
        let failure = done.as_ref().err();
        let told =
            self.memory.lock().setbacks.note(namespace, what, digest, failure, chance(), Instant::now());
        let Some((told, after)) = told else { return done };
        if matches!(told, Failure::Conflict { .. }) {
            tracing::debug!("{told}");
        } else {
            tracing::warn!(again_s = after.as_secs_f64(), "{told}; it is tried again");
        }
        // That it was not answered counts, and that it was not made out is told.
        Err(match done {
            Err(silent @ Failure::Silent { .. }) => silent,
            _ => told,
        })
    }

    /// One write.
    async fn write<T>(
        &self,
        verb: Verb,
        what: &str,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Failure> {
        if !self.leading.holds() {
            return Err(Failure::NotLeading);
        }
        let result = answered(what, call).await;
        self.stats.wrote(verb, &result);
        result
    }

    /// Before anything is planned for `namespace` again, the store of `kind` is to have seen `version`.
    fn expect(&self, namespace: &str, kind: &'static str, version: Option<&str>) {
        let Some(progress) = self.stores.progress(kind) else { return };
        let expected = progress.borrow().expect(version);
        let Some(expected) = expected else { return };
        self.memory.lock().expected.entry(namespace.to_owned()).or_default().insert(kind, expected);
    }
}

/// What the API server answers in time, or why it does not.
async fn answered<T>(what: &str, call: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    match timeout(WITHIN, call).await {
        Ok(result) => result.map_err(|error| Failure::of(what, &error)),
        Err(_) => {
            let why = format!("no answer within {} s", WITHIN.as_secs());
            Err(Failure::Silent { what: what.to_owned(), why })
        }
    }
}
