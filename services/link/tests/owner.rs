//! Whoever asks learns the owner of a slot from the answer, and asks nothing twice that might have been done.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::Mutex;
use stoker_domain::model::{MintedId, NotificationId, Slot, SlotEpoch};
use stoker_link::{Channel, Cores, Link, Wire, name_owner, to_owner, was_not_sent};
use stoker_proto::core::v1::notifier_service_client::NotifierServiceClient;
use stoker_proto::core::v1::notifier_service_server::{NotifierService, NotifierServiceServer};
use stoker_proto::core::v1::{ReportAttemptReply, ReportAttemptRequest};
use tokio::io::DuplexStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status};

const WITHIN: Duration = Duration::from_secs(20);

/// What a core does with a request.
#[derive(Clone, Copy)]
enum Does {
    /// Answers, and names the owner of the slot.
    Names(&'static str),
    /// Refuses, and names the owner of the slot.
    RefusesAndNames(&'static str),
    /// Has found no owner.
    Refuses,
    /// Says nothing, ever.
    Nothing,
}

struct Fake {
    does: Mutex<Does>,
    asked: Mutex<usize>,
    came: Notify,
    /// Has its connections end, each once what came by it is answered.
    goodbye: Mutex<CancellationToken>,
}

struct Service(Arc<Fake>);

#[tonic::async_trait]
impl NotifierService for Service {
    async fn report_attempt(
        &self,
        request: Request<ReportAttemptRequest>,
    ) -> Result<Response<ReportAttemptReply>, Status> {
        let id: NotificationId = request.get_ref().notification.parse().unwrap();
        *self.0.asked.lock() += 1;
        self.0.came.notify_one();
        let does = *self.0.does.lock();
        match does {
            Does::Names(owner) => {
                let mut response = Response::new(ReportAttemptReply {});
                name_owner(response.metadata_mut(), id.slot(), owner);
                Ok(response)
            }
            Does::RefusesAndNames(owner) => {
                let mut status = Status::not_found("there is no such notification");
                name_owner(status.metadata_mut(), id.slot(), owner);
                Err(status)
            }
            Does::Refuses => Err(Status::unavailable("the slot has no owner")),
            Does::Nothing => std::future::pending().await,
        }
    }
}

/// Where connections go, and how often somebody has tried, by name.
#[derive(Default)]
struct Doors {
    open: HashMap<String, mpsc::Sender<DuplexStream>>,
    tried: HashMap<String, usize>,
}

/// Takes in each connection that comes.
async fn serve(fake: Arc<Fake>, mut connections: mpsc::Receiver<DuplexStream>) {
    let mut serving = JoinSet::new();
    while let Some(connection) = connections.recv().await {
        let goodbye = fake.goodbye.lock().clone().cancelled_owned();
        let server = Server::builder().add_service(NotifierServiceServer::new(Service(fake.clone())));
        let incoming = futures_util::stream::once(async { Ok::<_, io::Error>(connection) })
            .chain(futures_util::stream::pending());
        serving.spawn(async move { server.serve_with_incoming_shutdown(incoming, goodbye).await });
    }
}

/// Cores that do as they are told, and somebody who asks them.
struct Platform {
    doors: Arc<Mutex<Doors>>,
    fakes: HashMap<&'static str, Arc<Fake>>,
    _servers: JoinSet<()>,
    cores: Cores,
    channel: Channel,
}

impl Platform {
    /// The first of these cores is the one that is asked as any.
    async fn start(named: &[(&'static str, Does)]) -> Self {
        let doors = Arc::<Mutex<Doors>>::default();
        let (mut fakes, mut servers) = (HashMap::new(), JoinSet::new());
        for (name, does) in named {
            let fake = Arc::new(Fake {
                does: Mutex::new(*does),
                asked: Mutex::default(),
                came: Notify::new(),
                goodbye: Mutex::default(),
            });
            let (door, connections) = mpsc::channel(4);
            doors.lock().open.insert((*name).to_owned(), door);
            servers.spawn(serve(fake.clone(), connections));
            fakes.insert(*name, fake);
        }
        let network = doors.clone();
        let link = Link::new(Arc::new(move |name| {
            let network = network.clone();
            Box::pin(async move {
                let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
                let door = {
                    let mut doors = network.lock();
                    *doors.tried.entry(name.clone()).or_default() += 1;
                    doors.open.get(&name).cloned().ok_or_else(refused)?
                };
                let (client, server) = tokio::io::duplex(64 * 1024);
                door.send(server).await.map_err(|_| refused())?;
                Ok(Box::new(client) as Box<dyn Wire>)
            })
        }));
        let (any, _) = named[0];
        let cores = Cores::new(vec![any.to_owned()]);
        let platform = Self { doors, fakes, _servers: servers, channel: link.to_any(&cores), cores };
        platform.ask(255).await.ok();
        platform.cores.learn(&named.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>());
        platform.forget_counts();
        platform
    }

    fn forget_counts(&self) {
        for fake in self.fakes.values() {
            *fake.asked.lock() = 0;
        }
    }

    fn request(slot: u8) -> Request<ReportAttemptRequest> {
        let id = MintedId { slot: Slot(slot), epoch: SlotEpoch(1), counter: 1 };
        let notification = NotificationId(id).to_string();
        to_owner(ReportAttemptRequest { notification, ..ReportAttemptRequest::default() })
    }

    async fn ask(&self, slot: u8) -> Result<(), Status> {
        let mut core = NotifierServiceClient::new(self.channel.clone());
        timeout(WITHIN, core.report_attempt(Self::request(slot))).await.unwrap().map(drop)
    }

    /// How often these were asked since the last look.
    fn asked<const N: usize>(&self, names: [&str; N]) -> [usize; N] {
        names.map(|name| std::mem::take(&mut *self.fakes[name].asked.lock()))
    }

    fn now_does(&self, name: &str, does: Does) {
        *self.fakes[name].does.lock() = does;
    }

    /// As a core that ends, and whose successor is there at once.
    fn says_goodbye(&self, name: &str) {
        std::mem::take(&mut *self.fakes[name].goodbye.lock()).cancel();
    }

    async fn came_to(&self, name: &str) {
        timeout(WITHIN, self.fakes[name].came.notified()).await.unwrap();
    }
}

#[tokio::test]
async fn the_second_request_for_a_slot_goes_straight_to_its_owner() {
    let platform = Platform::start(&[("a:1", Does::Names("b:1")), ("b:1", Does::Names("b:1"))]).await;
    platform.ask(7).await.unwrap();
    assert_eq!(platform.asked(["a:1", "b:1"]), [1, 0]);
    for _ in 0..3 {
        platform.ask(7).await.unwrap();
    }
    assert_eq!(platform.asked(["a:1", "b:1"]), [0, 3]);
    platform.ask(8).await.unwrap();
    assert_eq!(platform.asked(["a:1", "b:1"]), [1, 0], "of that slot nobody has said anything");
}

#[tokio::test]
async fn an_owner_that_moved_is_learned_anew_from_a_refusal_too() {
    let named = [("a:1", Does::Names("b:1")), ("b:1", Does::Names("c:1")), ("c:1", Does::Names("c:1"))];
    let platform = Platform::start(&named).await;
    platform.ask(7).await.unwrap();
    platform.ask(7).await.unwrap();
    platform.ask(7).await.unwrap();
    assert_eq!(platform.asked(["a:1", "b:1", "c:1"]), [1, 1, 1]);
    platform.now_does("c:1", Does::RefusesAndNames("b:1"));
    platform.now_does("b:1", Does::RefusesAndNames("b:1"));
    for _ in 0..3 {
        assert_eq!(platform.ask(7).await.unwrap_err().code(), Code::NotFound);
    }
    assert_eq!(platform.asked(["a:1", "b:1", "c:1"]), [0, 2, 1]);
}

#[tokio::test]
async fn who_is_not_reached_by_a_hint_is_left_to_any_core_and_not_tried_again() {
    let platform = Platform::start(&[("a:1", Does::Names("b:1")), ("b:1", Does::Names("b:1"))]).await;
    platform.doors.lock().open.remove("b:1");
    for _ in 0..5 {
        platform.ask(7).await.unwrap();
        platform.ask(8).await.unwrap();
    }
    assert_eq!(platform.asked(["a:1", "b:1"]), [10, 0]);
    assert_eq!(platform.doors.lock().tried["b:1"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_core_has_not_heard_when_it_says_goodbye_is_asked_elsewhere() {
    let platform = Platform::start(&[("a:1", Does::Names("b:1")), ("b:1", Does::Names("b:1"))]).await;
    let (mut told, mut broken) = (0, 0);
    for round in 0..100 {
        // Half of the slots have an owner who is known, the others are asked of any core.
        let asking = (0..16).map(|ask: u8| {
            let channel = platform.channel.clone();
            let request = Platform::request(if ask.is_multiple_of(2) { 7 } else { 100 + round });
            tokio::spawn(async move { NotifierServiceClient::new(channel).report_attempt(request).await })
        });
        let asking: Vec<_> = asking.collect();
        for _ in 0..round % 16 {
            tokio::task::yield_now().await;
        }
        platform.says_goodbye(if round % 3 == 0 { "a:1" } else { "b:1" });
        for answer in asking {
            match timeout(WITHIN, answer).await.unwrap().unwrap() {
                Ok(_) => told += 1,
                // Written while the other end was closed: who can know?
                Err(status) => {
                    assert!(!was_not_sent(&status), "{status:?}");
                    broken += 1;
                }
            }
        }
    }
    let heard = platform.asked(["a:1", "b:1"]).iter().sum::<usize>();
    assert!((told..=told + broken).contains(&heard), "{heard} were heard, {told} answered");
    assert!(told > 20 * broken, "{broken} broke, {told} were answered");
}

#[tokio::test]
async fn what_an_owner_may_have_done_is_not_asked_twice() {
    let platform = Platform::start(&[("a:1", Does::Names("b:1")), ("b:1", Does::Nothing)]).await;
    platform.ask(7).await.unwrap();
    assert_eq!(platform.asked(["a:1", "b:1"]), [1, 0]);
    let channel = platform.channel.clone();
    let asking = tokio::spawn(async move {
        NotifierServiceClient::new(channel).report_attempt(Platform::request(7)).await
    });
    platform.came_to("b:1").await;
    assert!(platform.cores.leave("b:1"), "which breaks the connection");
    timeout(WITHIN, asking).await.unwrap().unwrap().expect_err("nobody knows what became of it");
    assert_eq!(platform.asked(["a:1", "b:1"]), [0, 1]);
    platform.ask(7).await.unwrap();
    assert_eq!(platform.asked(["a:1", "b:1"]), [1, 0]);
}

#[tokio::test]
async fn an_owner_that_does_not_answer_in_time_is_not_asked_straight_again() {
    let platform = Platform::start(&[("a:1", Does::Names("b:1")), ("b:1", Does::Nothing)]).await;
    platform.ask(7).await.unwrap();
    let channel = platform.channel.clone();
    let asking = tokio::spawn(async move {
        NotifierServiceClient::new(channel).report_attempt(Platform::request(7)).await
    });
    platform.came_to("b:1").await;
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    assert_eq!(platform.asked(["a:1", "b:1"]), [1, 1]);
    platform.ask(7).await.unwrap();
    assert_eq!(platform.asked(["a:1", "b:1"]), [1, 0]);
}

#[tokio::test]
async fn a_core_that_finds_no_owner_is_not_asked_straight_again() {
    let platform = Platform::start(&[("a:1", Does::Names("b:1")), ("b:1", Does::Refuses)]).await;
    platform.ask(7).await.unwrap();
    platform.ask(7).await.unwrap_err();
    assert_eq!(platform.asked(["a:1", "b:1"]), [1, 1], "it may have asked somebody");
    platform.ask(7).await.unwrap();
    assert_eq!(platform.asked(["a:1", "b:1"]), [1, 0]);
}

#[tokio::test]
async fn a_core_that_was_left_is_not_asked_by_what_others_say_of_it() {
    let platform = Platform::start(&[("a:1", Does::Names("b:1")), ("b:1", Does::Names("b:1"))]).await;
    platform.ask(7).await.unwrap();
    assert!(platform.cores.leave("b:1"));
    platform.ask(7).await.unwrap();
    platform.ask(7).await.unwrap();
    assert_eq!(platform.asked(["a:1", "b:1"]), [3, 0]);
}

#[tokio::test]
async fn an_address_that_nobody_knows_is_not_gone_to() {
    let platform = Platform::start(&[("a:1", Does::Names("evil:1"))]).await;
    for _ in 0..3 {
        platform.ask(7).await.unwrap();
    }
    assert_eq!(platform.asked(["a:1"]), [3]);
    assert!(!platform.doors.lock().tried.contains_key("evil:1"));
}

#[tokio::test]
async fn what_is_known_from_elsewhere_is_used_too() {
    let platform = Platform::start(&[("a:1", Does::Names("b:1")), ("b:1", Does::Names("b:1"))]).await;
    platform.cores.owns("b:1", Slot::all());
    platform.ask(7).await.unwrap();
    platform.ask(200).await.unwrap();
    assert_eq!(platform.asked(["a:1", "b:1"]), [0, 2]);
}
