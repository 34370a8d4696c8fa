use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use stoker_bus::InProcessBus;
use stoker_domain::{AttemptResult, ChannelKind};
use stoker_proto::core::v1;
use tokio::task::JoinHandle;
use tonic::Code;

use super::*;
use crate::config::{EmailConfig, LaneLimits};
use crate::stats::NotifierSnapshot;
use crate::testing::core::FakeCore;
use crate::testing::http::{HttpServer, Reaction};
use crate::testing::smtp::SmtpServer;
use crate::testing::{RAISED_AT, mail, raised, webhook, work};

struct Setup {
    bus: Arc<InProcessBus>,
    core: FakeCore,
    stats: Arc<NotifierStats>,
    shutdown: CancellationToken,
    running: JoinHandle<Result<(), NotifierError>>,
}

fn config() -> NotifierConfig {
    NotifierConfig { webhook_allow: vec!["127.0.0.0/8".into()], ..NotifierConfig::default() }
}

fn start(config: &NotifierConfig, core: FakeCore) -> Setup {
    start_with(Notifier::new(config).unwrap().with_clock(Arc::new(|| RAISED_AT + 420)), core)
}

fn start_with(notifier: Notifier, core: FakeCore) -> Setup {
    let (bus, shutdown) = (Arc::new(InProcessBus::default()), CancellationToken::new());
    let stats = notifier.stats();
    let running = tokio::spawn(notifier.run(bus.clone(), core.client.clone(), shutdown.clone()));
    Setup { bus, core, stats, shutdown, running }
}

impl Setup {
    fn publish(&self, notification: Notification) -> JoinHandle<Result<(), BusError>> {
        let bus = Arc::clone(&self.bus);
        tokio::spawn(async move { bus.publish_work(work(notification)).await })
    }

    async fn end(self) -> NotifierSnapshot {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
        self.stats.snapshot()
    }
}

fn numbered(number: u64) -> String {
    format!("ntf-0a-1-{number:x}")
}

#[tokio::test(start_paused = true)]
async fn work_is_acknowledged_only_when_core_has_the_report() {
    let setup = start(&config(), FakeCore::scripted(|_| Ok(())));
    let mut notification = raised(1, mail());
    notification.tried = 4;
    let published = setup.publish(notification);
    let reports = setup.core.has_seen(1).await;
    let detail = "no mail server configured (notifier.email.smtp_url)".to_owned();
    assert_eq!(reports, [(numbered(1), 5, v1::AttemptResult::Retry, detail)]);
    assert!(!published.is_finished());
    assert_eq!(setup.bus.snapshot().work_unacknowledged, 1);
    setup.core.answer(1);
    assert_eq!(published.await.unwrap(), Ok(()));
    let stats = setup.end().await;
    assert_eq!((stats.held, stats.given_back, stats.report_failures), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_report_is_tried_until_core_takes_it() {
    let core = FakeCore::scripted(|number| match number {
        0 => Err(Code::Unavailable),
        1 => Err(Code::Internal),
        2 => Err(Code::ResourceExhausted),
        _ => Ok(()),
    });
    core.answer(100);
    let setup = start(&config(), core);
    assert_eq!(setup.publish(raised(1, mail())).await.unwrap(), Ok(()));
    let reports = setup.core.reports();
    assert_eq!(reports.len(), 4);
    assert!(reports.iter().all(|report| *report == reports[0]), "{reports:?}");
    let stats = setup.end().await;
    assert_eq!(stats.report_failures, 3);
    assert_eq!(stats.channels[0].attempts[2], (AttemptResult::Retry, 1), "it was one attempt");
}

#[tokio::test(start_paused = true)]
async fn a_report_without_an_answer_is_made_again() {
    let setup = start(&config(), FakeCore::scripted(|_| Ok(())));
    let published = setup.publish(raised(1, mail()));
    setup.core.has_seen(3).await;
    setup.core.answer(100);
    assert_eq!(published.await.unwrap(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn work_that_core_does_not_know_any_more_is_done_with() {
    let core = FakeCore::scripted(|_| Err(Code::NotFound));
    core.answer(100);
    let setup = start(&config(), core);
    assert_eq!(setup.publish(raised(1, mail())).await.unwrap(), Ok(()));
    assert_eq!(setup.core.reports().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_more_is_held_than_the_prefetch() {
    let mut config = config();
    config.limits.prefetch = 3;
    let setup = start(&config, FakeCore::scripted(|_| Ok(())));
    let published: Vec<_> = (0..10).map(|n| setup.publish(raised(n, mail()))).collect();
    for done in 0..10 {
        setup.core.has_seen((done + 3).min(10)).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(setup.core.reports().len(), (done + 3).min(10));
        assert!(setup.stats.snapshot().held <= 3);
        setup.core.answer(1);
    }
    assert!(join_all(published).await.into_iter().all(|result| result.unwrap() == Ok(())));
}

fn few_webhooks(mut config: NotifierConfig) -> NotifierConfig {
    config.limits.webhook = LaneLimits { under_way: 1, per_host: 2, total: 3 };
    config
}

#[tokio::test]
async fn a_webhook_that_hangs_delays_neither_mails_nor_other_hosts() {
    let smtp = SmtpServer::start(|_, _| None).await;
    let hung = HttpServer::start(|_| Reaction::held("200 OK")).await;
    let good = HttpServer::start(|_| Reaction::status("200 OK", "")).await;
    let mut config = few_webhooks(config());
    config.email = Some(EmailConfig { smtp_url: smtp.url(), from: "alarms@example.com".into() });
    let setup = start(&config, FakeCore::start());

    let waiting: Vec<_> = (0..2).map(|n| setup.publish(raised(n, webhook(&hung.url())))).collect();
    hung.has_seen(1).await;
    assert_eq!(setup.publish(raised(2, webhook(&hung.url()))).await.unwrap(), Ok(()));
    let detail = "not tried: too many for this host are under way".to_owned();
    assert_eq!(setup.core.reports(), [(numbered(2), 1, v1::AttemptResult::Retry, detail)]);

    for n in 3..6 {
        assert_eq!(setup.publish(raised(n, mail())).await.unwrap(), Ok(()));
        assert_eq!(setup.publish(raised(n + 100, webhook(&good.url()))).await.unwrap(), Ok(()));
    }
    assert_eq!(smtp.seen.lock().mails.len(), 3);
    assert_eq!(good.seen.lock().requests.len(), 3);
    assert_eq!(hung.seen.lock().requests.len(), 1, "one at a time");
    assert!(waiting.iter().all(|publisher| !publisher.is_finished()));

    hung.release(2);
    assert!(join_all(waiting).await.into_iter().all(|result| result.unwrap() == Ok(())));
    let stats = setup.end().await;
    let (email, webhook) = (&stats.channels[0], &stats.channels[1]);
    assert_eq!((email.channel, webhook.channel), (ChannelKind::Email, ChannelKind::Webhook));
    assert_eq!(email.attempts[0], (AttemptResult::Sent, 3));
    assert_eq!(webhook.attempts[1..3], [(AttemptResult::Delivered, 5), (AttemptResult::Retry, 1)]);
    assert_eq!((email.turned_away, webhook.turned_away), (0, 1));
    assert_eq!((email.latency.count(), email.latency.sum_ms), (3, 3 * 420));
}

#[tokio::test]
async fn a_lane_of_webhooks_that_is_full_takes_nothing_from_mails() {
    let smtp = SmtpServer::start(|_, _| None).await;
    let hung = HttpServer::start(|_| Reaction::held("200 OK")).await;
    let mut config = config();
    config.limits.webhook = LaneLimits { under_way: 2, per_host: 2, total: 2 };
    config.email = Some(EmailConfig { smtp_url: smtp.url(), from: "alarms@example.com".into() });
    let setup = start(&config, FakeCore::start());
    let held: Vec<_> = (0..2).map(|n| setup.publish(raised(n, webhook(&hung.url())))).collect();
    hung.has_seen(2).await;

    assert_eq!(setup.publish(raised(2, webhook("http://127.0.0.1:1/"))).await.unwrap(), Ok(()));
    assert_eq!(setup.publish(raised(3, mail())).await.unwrap(), Ok(()));
    let reports = setup.core.reports();
    let turned_away =
        (numbered(2), 1, v1::AttemptResult::Retry, "not tried: too many are under way".to_owned());
    assert_eq!(reports[0], turned_away);
    assert_eq!((reports[1].0.clone(), reports[1].2), (numbered(3), v1::AttemptResult::Sent));
    assert_eq!(smtp.seen.lock().mails.len(), 1);

    hung.release(2);
    assert!(join_all(held).await.into_iter().all(|result| result.unwrap() == Ok(())));
}

#[tokio::test]
async fn shutdown_finishes_what_is_under_way_and_gives_back_the_rest() {
    let server = HttpServer::start(|_| Reaction::held("200 OK")).await;
    let setup = start(&few_webhooks(config()), FakeCore::start());
    let under_way = setup.publish(raised(1, webhook(&server.url())));
    server.has_seen(1).await;
    let waiting = setup.publish(raised(2, webhook(&server.url())));
    while setup.stats.snapshot().held < 2 {
        tokio::task::yield_now().await;
    }
    setup.shutdown.cancel();
    while setup.stats.snapshot().given_back < 1 {
        tokio::task::yield_now().await;
    }
    assert!(!setup.running.is_finished());
    let late = setup.publish(raised(3, mail()));
    server.release(1);
    assert_eq!(under_way.await.unwrap(), Ok(()));
    let (bus, reports) = (Arc::clone(&setup.bus), setup.core.has_seen(1).await);
    let stats = setup.end().await;
    assert_eq!(reports, [(numbered(1), 1, v1::AttemptResult::Delivered, "HTTP 200 OK".to_owned())]);
    assert_eq!((stats.held, stats.given_back), (0, 1));
    assert_eq!(server.seen.lock().requests.len(), 1);

    let mut next = bus.consume_work(2).await.unwrap();
    for number in [2, 3] {
        let delivery = next.next().await.unwrap();
        assert_eq!(delivery.work().notification.id.to_string(), numbered(number));
        delivery.ack().await;
    }
    assert_eq!((waiting.await.unwrap(), late.await.unwrap()), (Ok(()), Ok(())));
}

#[tokio::test(start_paused = true)]
async fn shutdown_does_not_wait_for_a_core_that_is_away() {
    let setup = start(&config(), FakeCore::scripted(|_| Err(Code::Unavailable)));
    setup.core.answer(1_000_000);
    let published = setup.publish(raised(1, mail()));
    setup.core.has_seen(2).await;
    let bus = Arc::clone(&setup.bus);
    let began = tokio::time::Instant::now();
    let stats = setup.end().await;
    assert_eq!(began.elapsed().as_secs(), NotifierLimits::default().drain_within.as_secs());
    assert_eq!((stats.held, stats.given_back), (0, 1));
    assert!(!published.is_finished());
    let mut next = bus.consume_work(1).await.unwrap();
    next.next().await.unwrap().ack().await;
    assert_eq!(published.await.unwrap(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn the_death_of_a_task_ends_the_notifier_and_loses_nothing() {
    let notifier = Notifier::new(&config()).unwrap();
    let setup = start_with(notifier.with_clock(Arc::new(|| panic!("as the test wants"))), FakeCore::start());
    let published = setup.publish(raised(1, mail()));
    let ended = setup.running.await.unwrap();
    assert!(matches!(ended, Err(NotifierError::TaskDied(_))), "{ended:?}");
    assert!(!published.is_finished());
    let mut next = setup.bus.consume_work(1).await.unwrap();
    next.next().now_or_never().flatten().unwrap().ack().await;
    assert_eq!(published.await.unwrap(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_closes_unasked_is_an_error() {
    let setup = start(&config(), FakeCore::start());
    tokio::time::sleep(Duration::from_millis(1)).await;
    setup.bus.close();
    let ended = setup.running.await.unwrap();
    assert!(matches!(ended, Err(NotifierError::BusClosed)), "{ended:?}");
    let again = run(config(), setup.bus, setup.core.client.clone(), setup.shutdown).await;
    assert!(matches!(again, Err(NotifierError::Bus(BusError::Closed))), "{again:?}");
}

#[test]
fn a_wrong_setting_is_named_before_anything_runs() {
    let mut wrong = config();
    wrong.webhook_allow.push("everything".into());
    let error = Notifier::new(&wrong).unwrap_err().to_string();
    assert!(error.starts_with("notifier.webhook.allow: "), "{error}");
    let mut wrong = config();
    wrong.email = Some(EmailConfig { smtp_url: "mail.example.com".into(), from: "a@example.com".into() });
    let error = Notifier::new(&wrong).unwrap_err().to_string();
    assert!(error.starts_with("notifier.email.smtp_url: "), "{error}");
}
