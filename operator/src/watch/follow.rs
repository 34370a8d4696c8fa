//! One watch: into its store, and tells the queue where something has happened.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt::Debug;

use futures_util::{Stream, StreamExt, pin_mut};
use kube::Resource;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::{ObjectRef, Store, store::Writer};
use kube::runtime::watcher::{self, Event};
use tokio::sync::watch;

use super::{Around, Progress};
use crate::failure::unwatched;

/// What a watch needs.
pub(super) struct Follow<K: Resource<DynamicType = ()> + Clone + 'static> {
    /// What is waited for until all there is was seen.
    pub(super) thing: String,
    /// Such as `gateways.stoker.dev`.
    pub(super) plural: String,
    pub(super) store: Store<K>,
    pub(super) writer: Writer<K>,
    pub(super) progress: watch::Sender<Progress>,
    /// Takes away what is not needed.
    pub(super) slim: fn(&mut K),
    /// Whether this change may help where something has failed.
    pub(super) mends: fn(Option<&K>, &K) -> bool,
    pub(super) around: Around,
}

/// Watches until it is told to end. What fails is tried again, later and later.
pub(super) async fn follow<K>(
    mut of: Follow<K>,
    events: impl Stream<Item = watcher::Result<Event<K>>>,
) -> Result<(), Infallible>
where
    K: Resource<DynamicType = ()> + Clone + Debug + 'static,
{
    let around = of.around.clone();
    let thing = of.thing.clone();
    let events = events.default_backoff();
    pin_mut!(events);
    let mut relisted = Relisted::default();
    let mut said = None;
    loop {
        let event = tokio::select! {
            () = around.shutdown.cancelled() => return Ok(()),
            event = events.next() => event,
        };
        match event {
            // A watch has no end; were it otherwise, the process would have to.
            None => return Ok(()),
            Some(Ok(event)) => {
                if of.take(event, &mut relisted) {
                    around.health.ready(&thing);
                    said = None;
                }
            }
            Some(Err(error)) => {
                around.stats.watch_failed();
                let why = unwatched(&of.plural, &error);
                if !of.progress.borrow().is_whole() {
                    around.health.waiting(&thing, &why);
                }
                // Once, not at each try.
                if said.as_ref() != Some(&why) {
                    tracing::warn!("{why}; it is tried again");
                    said = Some(why);
                }
            }
        }
    }
}

/// Where objects are, and were, that are listed anew: events may have been missed.
#[derive(Debug, Default)]
struct Relisted {
    before: BTreeSet<String>,
    /// And whether what has changed meanwhile may help.
    now: BTreeMap<String, bool>,
}

impl<K> Follow<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + 'static,
{
    /// Takes an event in; true when by it all there is was seen.
    fn take(&mut self, mut event: Event<K>, relisted: &mut Relisted) -> bool {
        if let Event::Apply(object) | Event::InitApply(object) | Event::Delete(object) = &mut event {
            (self.slim)(object);
        }
        let before = match &event {
            Event::Apply(object) | Event::InitApply(object) => self.store.get(&ObjectRef::from_obj(object)),
            Event::Init | Event::InitDone | Event::Delete(_) => None,
        };
        self.writer.apply_watcher_event(&event);
        self.progress.send_modify(|progress| match &event {
            Event::Init => progress.lists(),
            Event::InitDone => progress.listed(),
            Event::InitApply(object) => progress.lists_one(object.meta().resource_version.as_deref()),
            Event::Apply(object) | Event::Delete(object) => {
                progress.saw(object.meta().resource_version.as_deref());
            }
        });
        let namespace = |object: &K| object.meta().namespace.clone().unwrap_or_default();
        let mends = |object: &K| (self.mends)(before.as_deref(), object);
        match &event {
            Event::Init => {
                relisted.before = self.store.state().iter().map(|object| namespace(object)).collect();
                relisted.now.clear();
            }
            Event::InitApply(object) => {
                *relisted.now.entry(namespace(object)).or_default() |= mends(object);
            }
            Event::InitDone => {
                let Relisted { before, now } = std::mem::take(relisted);
                for namespace in before.iter().filter(|namespace| !now.contains_key(*namespace)) {
                    self.touch(namespace, true);
                }
                for (namespace, mends) in &now {
                    self.touch(namespace, *mends);
                }
                return true;
            }
            Event::Apply(object) => {
                // By the version and not by the generation, which does not change when an object is about to go.
                let version = |object: &K| object.meta().resource_version.clone();
                if before.as_deref().map(version) != Some(version(object)) {
                    self.touch(&namespace(object), mends(object));
                }
            }
            Event::Delete(object) => self.touch(&namespace(object), true),
        }
        false
    }

    /// What stands in no namespace concerns all of them.
    fn touch(&self, namespace: &str, mends: bool) {
        if namespace.is_empty() {
            self.around.queue.touch_all(mends);
        } else {
            self.around.queue.touch(namespace, mends);
        }
    }
}
