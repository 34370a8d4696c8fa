//! What ready pods do without. Whether that counts is decided by the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use kube::Resource;
use parking_lot::Mutex;
use stoker_plan::Kind;
use stoker_plan::degraded::{Heard, Verdict, Words, words};

use super::{AT_ONCE, Asker, Sampler};
use crate::facts::ready;
use crate::watch::{Seen, Stores};

/// A few lines are some hundred bytes.
const BODY_MOST: usize = 16 * 1024;

/// A resource: its namespace, its kind and its name.
type Key = (String, Kind, String);
/// What the ready pods of one have answered, by their uid.
type Round = BTreeMap<String, Option<Words>>;

/// What is known of all pods.
#[derive(Debug, Clone, Default)]
pub(crate) struct Degradations(Arc<Mutex<BTreeMap<Key, Heard>>>);

impl Degradations {
    /// Of the resources of a namespace; of those whose pods are known.
    pub(crate) fn of(&self, namespace: &str) -> BTreeMap<(Kind, String), Verdict> {
        let all = self.0.lock();
        let ours = all.iter().filter(|((of, ..), _)| of == namespace);
        ours.filter_map(|((_, kind, name), heard)| Some(((*kind, name.clone()), heard.verdict()?.clone())))
            .collect()
    }

    /// Takes a round of answers in, `now` in seconds. Returns the namespaces where something has changed.
    pub(super) fn take(&self, rounds: &BTreeMap<Key, Round>, now: u64) -> BTreeSet<String> {
        let mut all = self.0.lock();
        // Of a resource that has no ready pod nothing is known that lasts.
        all.retain(|key, _| rounds.contains_key(key));
        let mut changed = BTreeSet::new();
        for (key, round) in rounds {
            if all.entry(key.clone()).or_default().take(round, now) {
                changed.insert(key.0.clone());
            }
        }
        changed
    }
}

/// All resources that there are.
fn resources(stores: &Stores) -> BTreeSet<Key> {
    fn of<K: Resource<DynamicType = ()> + Clone>(kind: Kind, seen: &Seen<K>) -> Vec<Key> {
        let key = |of: &Arc<K>| {
            let meta = of.meta();
            (meta.namespace.clone().unwrap_or_default(), kind, meta.name.clone().unwrap_or_default())
        };
        seen.all().iter().map(key).collect()
    }
    let mut all: BTreeSet<Key> = of(Kind::Gateway, &stores.gateways).into_iter().collect();
    all.extend(of(Kind::CoreShard, &stores.core_shards));
    all.extend(of(Kind::Notifier, &stores.notifiers));
    all.extend(of(Kind::Portal, &stores.portals));
    all
}

/// Asks all ready pods of resources, some at a time.
pub(super) async fn asked(sampler: &Sampler) -> BTreeMap<Key, Round> {
    let Sampler { asker, stores, stats, .. } = sampler;
    let resources = resources(stores);
    let pods: Vec<(Key, String, String)> = stores
        .pods
        .all()
        .iter()
        .filter_map(|pod| {
            let place = ready(pod)?;
            let key = (pod.metadata.namespace.clone()?, place.kind, place.name.to_owned());
            Some((key, pod.metadata.uid.clone()?, place.address.to_owned()))
        })
        .filter(|(key, ..)| resources.contains(key))
        .collect();
    let mut answers = stream::iter(pods)
        .map(|(key, uid, address)| async move { (key, uid, ask(asker, &address).await) })
        .buffer_unordered(AT_ONCE);
    let mut rounds: BTreeMap<Key, Round> = BTreeMap::new();
    while let Some((key, uid, answer)) = answers.next().await {
        if let Err(why) = &answer {
            stats.sample_failed();
            tracing::debug!(namespace = key.0, kind = %key.1, name = key.2, why, "a pod does not say how it is");
        }
        rounds.entry(key).or_default().insert(uid, answer.ok());
    }
    rounds
}

async fn ask(asker: &Asker, address: &str) -> Result<Words, String> {
    match asker.ask(address, "/readyz", BODY_MOST).await? {
        // What it waits for is another matter: it will not be ready for long.
        (200 | 503, body) => Ok(words(&body)),
        (code, _) => Err(format!("it answers {code}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_of_a_resource_and_go_with_its_pods() {
        let degraded = Degradations::default();
        let key = |namespace: &str, kind: Kind| (namespace.to_owned(), kind, "x".to_owned());
        let round = |answer: &str| Round::from([("1".to_owned(), Some(words(answer)))]);
        let away = "ok\ndegraded: bus: away\n";
        let rounds = BTreeMap::from([
            (key("a", Kind::Gateway), round(away)),
            (key("a", Kind::Portal), round("ok\n")),
            (key("b", Kind::Gateway), round("ok\n")),
        ]);
        assert!(degraded.take(&rounds, 0).is_empty());
        assert!(degraded.of("a").is_empty(), "once is an accident");
        assert_eq!(degraded.take(&rounds, 10), BTreeSet::from(["a".to_owned(), "b".to_owned()]));
        let of_a = degraded.of("a");
        assert_eq!(of_a[&(Kind::Gateway, "x".to_owned())].without["bus"].pods, 1);
        assert!(of_a[&(Kind::Portal, "x".to_owned())].without.is_empty());
        assert!(degraded.take(&rounds, 20).is_empty(), "a quiet time leads to nothing");
        assert!(degraded.take(&BTreeMap::new(), 30).is_empty());
        assert!(degraded.of("a").is_empty());
    }
}
