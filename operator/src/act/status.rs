//! What is said about resources: their status, where it has changed, and events.

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::events::{Event as Published, EventType};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stoker_crds::{CoreShard, GROUP, Gateway, GatewayStatus, Notifier, Portal, READY, Status, VERSION};
use stoker_plan::{Event, FIELD_MANAGER, Id, Is, Kind, Plan, Said, Standing};

use super::{Actor, Carried, Course, answered};
use crate::facts::{Snapshot, Unreadable};
use crate::failure::Failure;
use crate::stats::Verb;

/// The reason of a resource of which the API server refuses what it is to become …
const REFUSED: &str = "WriteRefused";
/// … and of one that it fails to take, or a webhook that it asks.
const FAILED: &str = "WriteFailed";
/// The reason of a resource that is ready.
const AS_WISHED: &str = "AsWished";
/// The reason of a resource that this version does not understand.
const UNREADABLE: &str = "NotUnderstood";
/// What is told of the API server's words.
const MESSAGE_MOST: usize = 900;

impl Actor {
    /// Writes each status that has changed, and tells people of it; also when something else was not done.
    pub(super) async fn say_all(
        &self,
        plan: &Plan,
        snapshot: &Snapshot,
        course: &mut Course,
    ) -> Result<(), Failure> {
        let namespace = snapshot.namespace.as_str();
        let now = Time(whole_second(Timestamp::now()));
        for planned in &plan.status {
            let failed = course.failed(&planned.of).cloned();
            // It is looked at again at once, and said of what is there then.
            if let Some(Failure::Conflict { .. }) = failed {
                continue;
            }
            let before = before(&planned.of, snapshot);
            let lacking = course.lacking(&planned.of).filter(|_| failed.is_none() && is_ready(planned));
            let (standing, why) = match (&failed, lacking) {
                (Some(why), _) => (refused(planned, why), Some(why)),
                (None, Some(why)) => (lacks(planned, why), Some(why)),
                (None, None) => (planned.clone(), None),
            };
            let is_new = why.is_some_and(|why| reason(before.as_ref()) != Some(word(why)));
            let after = written(&standing, before.as_ref(), &now);
            let mut is_said = true;
            if before.as_ref() != Some(&after) {
                let said = self.say(namespace, &standing.of, &after).await;
                is_said = said.is_ok();
                course.settle(said, [&standing.of])?;
            }
            // Else it is told when it can be said, and not each time that this is tried.
            if is_new
                && is_said
                && let Some(said) = standing.conditions.iter().find(|said| said.kind == READY)
            {
                let event = Event {
                    about: standing.of.clone(),
                    warning: true,
                    reason: said.reason,
                    message: said.message.clone(),
                };
                self.tell(namespace, &event).await;
            }
        }
        for event in &plan.events {
            // What would have been said is not so.
            let unsaid = course.failed(&event.about).is_some()
                || (event.reason == AS_WISHED && course.lacking(&event.about).is_some());
            if !unsaid {
                self.tell(namespace, event).await;
            }
        }
        Ok(())
    }

    /// Says of resources of another version that they are not understood, once for each change of theirs.
    ///
    /// # Errors
    /// Nobody answers, or another process leads.
    pub(crate) async fn say_unreadable(
        &self,
        namespace: &str,
        all: &[Unreadable],
    ) -> Result<Carried, Failure> {
        let mut course = Course::default();
        for Unreadable { of, generation, why } in all {
            if self.memory.lock().told.get(&of.uid) == Some(generation) {
                continue;
            }
            let message = cut(&format!(
                "this version of the operator does not understand it, and leaves the whole namespace as it is: {why}; \
                 change it, or install an operator and custom resource definitions of one version"
            ));
            let condition = json!({
                "type": READY,
                "status": "False",
                "reason": UNREADABLE,
                "message": message,
                "observedGeneration": generation,
                "lastTransitionTime": Time(whole_second(Timestamp::now())),
            });
            let said = self.say(namespace, of, &json!({"conditions": [condition]})).await;
            course.settle(said, [of])?;
            if course.failed(of).is_some() {
                continue;
            }
            let event = Event { about: of.clone(), warning: true, reason: UNREADABLE, message };
            self.tell(namespace, &event).await;
            let mut memory = self.memory.lock();
            // Resources come and go: what is remembered has a bound, and is not needed.
            if memory.told.len() > 10_000 {
                memory.told.clear();
            }
            memory.told.insert(of.uid.clone(), *generation);
        }
        Ok(course.carried())
    }

    async fn say(&self, namespace: &str, of: &Id, status: &Value) -> Result<(), Failure> {
        match of.kind {
            Kind::CoreShard => self.say_of::<CoreShard>(namespace, of, status).await,
            Kind::Gateway => self.say_of::<Gateway>(namespace, of, status).await,
            Kind::Notifier => self.say_of::<Notifier>(namespace, of, status).await,
            Kind::Portal => self.say_of::<Portal>(namespace, of, status).await,
        }
    }

    async fn say_of<K>(&self, namespace: &str, of: &Id, status: &Value) -> Result<(), Failure>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let api: Api<kube::core::PartialObjectMeta<K>> = Api::namespaced(self.client.clone(), namespace);
        let patch = Patch::Apply(json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": of.kind.name(),
            // Another one of the same name is another resource.
            "metadata": {"name": of.name, "uid": of.uid},
            "status": status,
        }));
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let what = format!("write the status of {of}");
        self.tried(namespace, &what, "", async {
            let call = api.patch_status(&of.name, &parameters, &patch);
            let now = self.write(Verb::Status, &what, call).await.map_err(Failure::gone_is_changed)?;
            self.expect(namespace, of.kind.name(), now.metadata.resource_version.as_deref());
            Ok(())
        })
        .await
    }

    /// Tells people. That it fails changes nothing of what is told.
    async fn tell(&self, namespace: &str, event: &Event) {
        let Event { about, warning, reason, message } = event;
        if !self.leading.holds() {
            return;
        }
        let reference = ObjectReference {
            api_version: Some(format!("{GROUP}/{VERSION}")),
            kind: Some(about.kind.name().to_owned()),
            name: Some(about.name.clone()),
            namespace: Some(namespace.to_owned()),
            uid: Some(about.uid.clone()),
            ..ObjectReference::default()
        };
        let published = Published {
            type_: if *warning { EventType::Warning } else { EventType::Normal },
            reason: (*reason).to_owned(),
            note: Some(message.clone()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        let what = format!("tell of {about} that {reason}");
        let result = answered(&what, self.recorder.publish(&published, &reference)).await;
        self.stats.wrote(Verb::Event, &result);
        if let Err(failure) = result {
            tracing::warn!(namespace, "{failure}");
        }
    }
}

/// The API server keeps no parts of seconds.
fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn cut(text: &str) -> String {
    if text.len() <= MESSAGE_MOST {
        return text.to_owned();
    }
    format!("{} …", text[..text.floor_char_boundary(MESSAGE_MOST)].trim_end())
}

/// The status that a resource has, as JSON.
fn before(of: &Id, snapshot: &Snapshot) -> Option<Value> {
    macro_rules! find {
        ($list:ident) => {
            snapshot
                .$list
                .iter()
                .filter_map(|guarded| guarded.0.as_ref().ok())
                .find(|found| found.metadata.uid.as_deref() == Some(&of.uid))
                .and_then(|found| found.status.as_ref())
                .and_then(|status| serde_json::to_value(status).ok())
        };
    }
    match of.kind {
        Kind::CoreShard => find!(core_shards),
        Kind::Gateway => find!(gateways),
        Kind::Notifier => find!(notifiers),
        Kind::Portal => find!(portals),
    }
}

/// The status that it is to have.
fn written(standing: &Standing, before: Option<&Value>, now: &Time) -> Value {
    let before: Option<Status> = before.and_then(|before| serde_json::from_value(before.clone()).ok());
    let common = standing.status(before.as_ref(), now);
    let value = if standing.of.kind == Kind::Gateway {
        let (address, connections) = (standing.address.clone(), standing.connections);
        serde_json::to_value(GatewayStatus { common, address, connections })
    } else {
        serde_json::to_value(common)
    };
    // These are texts and numbers: JSON has all of them.
    value.unwrap_or_default()
}

/// Why it is ready, or not, in the status before.
fn reason(before: Option<&Value>) -> Option<&str> {
    let all = before?.get("conditions")?.as_array()?;
    all.iter().find(|said| said["type"] == READY)?["reason"].as_str()
}

/// In one word.
fn word(why: &Failure) -> &'static str {
    if matches!(why, Failure::Refused { .. }) { REFUSED } else { FAILED }
}

fn is_ready(standing: &Standing) -> bool {
    standing.conditions.iter().any(|said| said.kind == READY && said.is.holds())
}

/// As it stands when only that was not taken which nothing depends on: all goes on, and it is not as it is wished.
fn lacks(standing: &Standing, why: &Failure) -> Standing {
    let mut standing = standing.clone();
    let message = cut(&format!(
        "{why}; all else is there and goes on. Mend what the message names in the cluster; it is tried again"
    ));
    for said in standing.conditions.iter_mut().filter(|said| said.kind == READY) {
        *said = Said { kind: said.kind, is: Is::No, reason: word(why), message: message.clone() };
    }
    standing
}

/// As it stands when something of it was not taken: what was there before goes on.
fn refused(standing: &Standing, why: &Failure) -> Standing {
    let message = cut(&format!(
        "{why}; what runs stays as it is. Mend what the message names, by the spec or in the cluster; it is tried again"
    ));
    let mut standing = standing.clone();
    for said in &mut standing.conditions {
        if said.kind == READY || said.kind == "Progressing" {
            *said = Said { kind: said.kind, is: Is::No, reason: word(why), message: message.clone() };
        }
    }
    standing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(is: bool) -> Standing {
        let said = |kind, reason| Said { kind, is: is.into(), reason, message: "m".to_owned() };
        Standing {
            of: Id { kind: Kind::Gateway, name: "edge".to_owned(), uid: "1".to_owned() },
            observed_generation: Some(2),
            conditions: vec![
                said("Ready", "AsWished"),
                said("Accepted", "Planned"),
                said("Progressing", "Settled"),
            ],
            replicas: 2,
            ready_replicas: 2,
            selector: "a=b".to_owned(),
            address: Some("192.0.2.10".to_owned()),
            connections: Some(7),
        }
    }

    #[test]
    fn a_status_that_has_not_changed_is_the_same_at_any_time() {
        let at = |second| Time(Timestamp::from_second(second).unwrap());
        let first = written(&standing(true), None, &at(1));
        assert_eq!(written(&standing(true), Some(&first), &at(2)), first);
        assert_eq!(first["address"], "192.0.2.10");
        let other = written(&standing(false), Some(&first), &at(2));
        assert_ne!(other, first);
        assert_eq!(reason(Some(&other)), Some("AsWished"));
        // As the API server gives it back.
        let kept: GatewayStatus = serde_json::from_value(first.clone()).unwrap();
        assert_eq!(serde_json::to_value(kept).unwrap(), first);
    }

    #[test]
    fn what_is_refused_is_said_with_the_reason_and_nothing_else_is_changed() {
        let why = Failure::Refused {
            what: "apply Deployment edge-1".to_owned(),
            why: "exceeded quota".to_owned(),
            missing: false,
        };
        let told = refused(&standing(true), &why);
        let reasons: Vec<_> = told.conditions.iter().map(|said| (said.kind, said.is, said.reason)).collect();
        assert_eq!(
            reasons,
            [("Ready", Is::No, REFUSED), ("Accepted", Is::Yes, "Planned"), ("Progressing", Is::No, REFUSED)]
        );
        assert!(
            told.conditions[0].message.starts_with("failed to apply Deployment edge-1: exceeded quota; ")
        );
        assert_eq!(told.replicas, 2);
        let why =
            Failure::Failing { what: "apply Deployment edge-1".to_owned(), why: "no webhook".to_owned() };
        assert_eq!(refused(&standing(true), &why).conditions[0].reason, FAILED);
        let told = lacks(&standing(true), &why);
        let reasons: Vec<_> = told.conditions.iter().map(|said| said.reason).collect();
        assert_eq!(reasons, [FAILED, "Planned", "Settled"]);
    }

    #[test]
    fn long_words_of_others_are_cut() {
        assert!(cut(&"ö".repeat(2_000)).len() <= 1_000);
        assert_eq!(cut("short"), "short");
    }
}
