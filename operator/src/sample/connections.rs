//! How many connections Gateways hold.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use parking_lot::Mutex;

use super::{AT_ONCE, Asker, Sampler};
use crate::facts::gateways;

/// How often.
pub(super) const EVERY: Duration = Duration::from_secs(30);
/// The metrics of a gateway are a tenth of that.
const BODY_MOST: usize = 1 << 20;
/// By transport: those of all together are what it holds.
const METRIC: &str = "stoker_gateway_connections{";

/// A Gateway: its namespace and its name.
type Key = (String, String);

/// What was counted last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connections(Arc<Mutex<BTreeMap<Key, i64>>>);

impl Connections {
    /// Of the Gateways of a namespace, by name.
    pub(crate) fn of(&self, namespace: &str) -> BTreeMap<String, i64> {
        let all = self.0.lock();
        let ours = all.iter().filter(|((of, _), _)| of == namespace);
        ours.map(|((_, name), connections)| (name.clone(), *connections)).collect()
    }

    /// Takes over what was counted now: none of a Gateway one of whose pods did not say. Returns where something has
    /// changed.
    pub(super) fn replace(&self, counted: BTreeMap<Key, Option<i64>>) -> Vec<String> {
        let mut all = self.0.lock();
        let mut changed = Vec::new();
        let now: BTreeMap<Key, i64> = counted
            .into_iter()
            .filter_map(|(key, count)| {
                let before = all.get(&key).copied();
                let now = count.or(before)?;
                if before != Some(now) {
                    changed.push(key.0.clone());
                }
                Some((key, now))
            })
            .collect();
        *all = now;
        changed.dedup();
        changed
    }
}

/// Asks the ready pods of all Gateways, some at a time: none of a Gateway one of whose pods does not say.
pub(super) async fn counted(sampler: &Sampler) -> BTreeMap<Key, Option<i64>> {
    let Sampler { asker, stores, stats, .. } = sampler;
    let resources = stores.gateways.all();
    let mut counted: BTreeMap<Key, Option<i64>> = resources
        .iter()
        .map(|of| {
            let meta = kube::Resource::meta(&**of);
            ((meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default()), Some(0))
        })
        .collect();
    let pods: Vec<(Key, String)> = stores
        .pods
        .all()
        .iter()
        .filter_map(|pod| {
            let place = gateways(pod)?;
            Some(((pod.metadata.namespace.clone()?, place.name.to_owned()), place.address.to_owned()))
        })
        .filter(|(key, _)| counted.contains_key(key))
        .collect();
    let answers = stream::iter(pods)
        .map(|(key, address)| async move { (key, ask(asker, &address).await) })
        .buffer_unordered(AT_ONCE);
    let answers: Vec<(Key, Result<i64, String>)> = answers.collect().await;
    for (key, answer) in answers {
        let Some(sum) = counted.get_mut(&key) else { continue };
        match answer {
            Ok(connections) => *sum = sum.map(|sum| sum.saturating_add(connections)),
            Err(why) => {
                stats.sample_failed();
                tracing::debug!(
                    namespace = key.0,
                    gateway = key.1,
                    why,
                    "a pod does not say its connections"
                );
                *sum = None;
            }
        }
    }
    counted
}

async fn ask(asker: &Asker, address: &str) -> Result<i64, String> {
    match asker.ask(address, "/metrics", BODY_MOST).await? {
        (200, body) => connections(&body).ok_or_else(|| "no connections among its metrics".to_owned()),
        (code, _) => Err(format!("it answers {code}")),
    }
}

/// The sum of all transports.
fn connections(metrics: &str) -> Option<i64> {
    let lines = metrics.lines().filter(|line| line.starts_with(METRIC));
    let mut numbers = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<i64>().ok()).peekable();
    numbers.peek()?;
    Some(numbers.sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_all_transports_are_added() {
        let metrics = "# TYPE stoker_gateway_connections gauge\n\
            stoker_gateway_connections{transport=\"mqtt\"} 40\n\
            stoker_gateway_connections{transport=\"mqtts\"} 2\n\
            stoker_gateway_connections_taken_total 99\n";
        assert_eq!(connections(metrics), Some(42));
        assert_eq!(connections("stoker_gateway_connections_taken_total 99\n"), None);
    }

    #[test]
    fn a_gateway_that_was_not_heard_of_keeps_its_number() {
        let samples = Connections::default();
        let key = |name: &str| ("a".to_owned(), name.to_owned());
        assert_eq!(samples.replace([(key("x"), Some(7)), (key("y"), None)].into()), ["a"]);
        assert_eq!(samples.of("a"), [("x".to_owned(), 7)].into());
        assert!(samples.replace([(key("x"), None), (key("y"), None)].into()).is_empty());
        assert_eq!(samples.of("a"), [("x".to_owned(), 7)].into());
        assert_eq!(samples.replace([(key("x"), Some(8))].into()), ["a"]);
        assert!(samples.of("b").is_empty());
        assert!(samples.replace(BTreeMap::new()).is_empty());
        assert!(samples.of("a").is_empty(), "it is gone");
    }
}
