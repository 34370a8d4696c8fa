//! One watch: into its store, and tells the queue where something has happened.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt::{self, Debug};
use std::time::Duration;

use futures_util::{Stream, StreamExt, pin_mut};
use kube::Resource;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::{ObjectRef, Store, store::Writer};
use kube::runtime::watcher::{self, Event};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Around, Progress};
use crate::due::due;
use crate::failure::unwatched;

/// A connection that is lost comes back within this time; a right that was taken away does not. From then on the process
/// is not ready.
const BEHIND_MOST: Duration = Duration::from_secs(60);

/// What a watch needs.
pub(super) struct Follow<K: Resource<DynamicType = ()> + Clone + 'static> {
    /// What is waited for until all there is was seen.
    pub(super) thing: String,
    /// Such as `gateways.stoker.dev`.
    pub(super) plural: String,
    pub(super) store: Store<K>,
    pub(super) writer: Writer<K>,
    pub(super) progress: watch::Sender<Progress>,
    /// How often a watch was answered: from then on nothing is missed.
    pub(super) answered: watch::Receiver<u64>,
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
    let mut answered = of.answered.clone();
    let events = events.default_backoff();
    pin_mut!(events);
    let mut relisted = Relisted::default();
    let mut said = None;
    let mut lapse: Option<Lapse> = None;
    loop {
        let told_at = lapse.as_ref().filter(|lapse| !lapse.told).map(|lapse| lapse.since + BEHIND_MOST);
        tokio::select! {
            // An answer comes before what is wrong with it.
            biased;
            () = around.shutdown.cancelled() => return Ok(()),
            Ok(()) = answered.changed() => {
                if of.progress.borrow().is_whole() && lapse.take().is_some() {
                    said = None;
                    of.goes_on();
                }
            }
            event = events.next() => match event {
                // A watch has no end; were it otherwise, the process would have to.
                None => return Ok(()),
                Some(Ok(event)) => {
                    if of.take(event, &mut relisted) {
                        said = None;
                        if lapse.take().is_some() {
                            of.goes_on();
                        }
                        around.health.ready(&thing);
                    }
                }
                Some(Err(error)) => {
                    around.stats.watch_failed();
                    let why = unwatched(&of.plural, &error);
                    if of.progress.borrow().is_whole() {
                        of.progress.send_modify(Progress::lapses);
                        let lapse = lapse.get_or_insert_with(Lapse::begin);
                        lapse.why.clone_from(&why);
                        if lapse.told {
                            around.health.waiting(&thing, lapse.to_string());
                        }
                    } else {
                        around.health.waiting(&thing, &why);
                    }
                    // Once, not at each try.
                    if said.as_ref() != Some(&why) {
                        tracing::warn!("{why}; it is tried again");
                        said = Some(why);
                    }
                }
            },
            () = due(told_at) => {
                if let Some(lapse) = &mut lapse {
                    lapse.told = true;
                    around.health.waiting(&thing, lapse.to_string());
                }
            }
        }
    }
}

/// A watch that had seen all there is fails, and does not go on.
#[derive(Debug)]
struct Lapse {
    since: Instant,
    why: String,
    /// The process is not ready because of it.
    told: bool,
}

impl Lapse {
    fn begin() -> Self {
        Self { since: Instant::now(), why: String::new(), told: false }
    }
}

impl fmt::Display for Lapse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = BEHIND_MOST.as_secs();
        write!(
            f,
            "for more than {most} s what happens is not seen, and nothing is scaled down or deleted: {}",
            self.why
        )
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
    /// It has failed, and goes on: what was left alone meanwhile is looked at.
    fn goes_on(&self) {
        self.progress.send_modify(Progress::goes_on);
        self.around.health.ready(&self.thing);
        self.around.queue.touch_all(false);
    }

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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::{Request, Response};
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Client;
    use kube::client::Body;
    use stoker_telemetry::Health;
    use tokio::sync::mpsc;
    use tokio::time::advance;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::queue::Queue;
    use crate::stats::Stats;

    /// A watch whose events are given.
    struct Played {
        events: mpsc::Sender<watcher::Result<Event<ConfigMap>>>,
        answered: watch::Sender<u64>,
        progress: watch::Receiver<Progress>,
        health: Health,
    }

    fn played() -> Played {
        let nobody = tower::service_fn(|_: Request<Body>| async {
            Ok::<_, std::io::Error>(Response::new(Body::empty()))
        });
        let (events, mut given) = mpsc::channel(16);
        let (answered, answers) = watch::channel(0);
        let (sender, progress) = watch::channel(Progress::default());
        let (store, writer) = kube::runtime::reflector::store();
        let health = Health::new();
        let of = Follow {
            thing: "watch of configmaps".to_owned(),
            plural: "configmaps".to_owned(),
            store,
            writer,
            progress: sender,
            answered: answers,
            slim: |_| {},
            mends: |_, _| false,
            around: Around {
                client: Client::new(nobody, "a"),
                queue: Arc::new(Queue::default()),
                health: health.clone(),
                stats: Arc::new(Stats::default()),
                shutdown: CancellationToken::new(),
            },
        };
        let given = futures_util::stream::poll_fn(move |context| given.poll_recv(context));
        tokio::spawn(follow(of, given));
        Played { events, answered, progress, health }
    }

    fn forbidden() -> watcher::Error {
        let status = kube::core::Status::failure("cannot watch configmaps", "Forbidden").with_code(403);
        watcher::Error::WatchStartFailed(kube::Error::Api(status.boxed()))
    }

    impl Played {
        async fn fails(&mut self) {
            self.events.try_send(Err(forbidden())).unwrap();
            self.progress.wait_for(Progress::is_behind).await.unwrap();
        }

        async fn is_whole(&mut self) {
            self.events.try_send(Ok(Event::Init)).unwrap();
            self.events.try_send(Ok(Event::InitDone)).unwrap();
            self.progress.wait_for(Progress::is_whole).await.unwrap();
        }

        /// Time passes, and whoever waited for it has been there.
        async fn pass(&self, time: Duration) {
            advance(time).await;
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_fails_for_good_makes_the_process_unready_until_it_goes_on() {
        let mut watch = played();
        watch.is_whole().await;
        watch.fails().await;
        watch.pass(BEHIND_MOST - Duration::from_secs(1)).await;
        assert_eq!(watch.health.check_ready(), Ok(()), "connections are lost now and then");
        watch.pass(Duration::from_secs(2)).await;
        let why = watch.health.check_ready().unwrap_err();
        assert!(why.contains("watch of configmaps") && why.contains("cannot watch configmaps"), "{why}");
        watch.answered.send_modify(|times| *times += 1);
        watch.progress.wait_for(|progress| !progress.is_behind()).await.unwrap();
        assert_eq!(watch.health.check_ready(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_fails_now_and_then_leaves_it_ready() {
        let mut watch = played();
        watch.is_whole().await;
        for _ in 0..5 {
            watch.fails().await;
            watch.pass(BEHIND_MOST / 2).await;
            watch.answered.send_modify(|times| *times += 1);
            watch.progress.wait_for(|progress| !progress.is_behind()).await.unwrap();
        }
        watch.fails().await;
        watch.pass(BEHIND_MOST / 2).await;
        assert_eq!(watch.health.check_ready(), Ok(()));
        // A list that is whole is as good.
        watch.is_whole().await;
        watch.progress.wait_for(|progress| !progress.is_behind()).await.unwrap();
    }
}
