use std::collections::VecDeque;

use async_trait::async_trait;
use stoker_domain::model::Reading;
use stoker_domain::ports::bus::{Activity, FeedPosition};
use stoker_domain::{DeviceId, DeviceKey, OrganizationId};

use super::*;

fn reading() -> Arc<Activity> {
    let key = DeviceKey::new(OrganizationId::default_organization(), DeviceId::new("boiler-1").unwrap());
    Arc::new(Activity::Telemetry(Reading { device: key, points: Vec::new() }))
}

#[test]
fn nothing_is_heard_of_publishers_whose_names_no_position_can_hold() {
    let hub = Hub::new(None, 1, PortalStats::default());
    let long = "x".repeat(65);
    for name in ["", "a b", "a:1", "a,b", "ä", "a\n", &long] {
        let at = |number| FeedPosition { publisher: name.into(), number };
        hub.hear(Feed::Reached(at(0)));
        hub.hear(Feed::Activity(at(1), reading()));
        hub.hear(Feed::Activity(at(7), reading()));
    }
    assert_eq!(hub.0.stats.live_ignored.get(), 21);
    assert_eq!((hub.0.backlog.lock().end(), *hub.0.end.borrow()), (0, 0));
    let known = FeedPosition { publisher: "00ff-7.a_b".into(), number: 1 };
    hub.hear(Feed::Activity(known, reading()));
    assert_eq!((hub.0.backlog.lock().end(), *hub.0.end.borrow()), (1, 1));
    let position = hub.0.backlog.lock().position();
    assert_eq!(position.text().parse(), Ok(position.clone()), "what listeners are given comes back");
    assert_eq!(position.of("00ff-7.a_b"), Some(1));
}

/// Has these items to tell, and then no more.
struct Script(VecDeque<Feed>);

impl Script {
    fn boxed(items: impl IntoIterator<Item = Feed>) -> Box<dyn FeedConsumer> {
        Box::new(Self(items.into_iter().collect()))
    }
}

#[async_trait]
impl FeedConsumer for Script {
    async fn next(&mut self) -> Option<Feed> {
        match self.0.pop_front() {
            Some(item) => Some(item),
            None => std::future::pending().await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_on_its_way_when_it_goes_from_one_feed_to_the_next_is_not_lost() {
    let at = |number| FeedPosition { publisher: "core-1".into(), number };
    // Which of two that are ready comes first is chance.
    for _ in 0..20 {
        let hub = Hub::new(None, 1, PortalStats::default());
        let mut reader = Reader::begin(&hub.0.backlog.lock(), None, Duration::ZERO).0;
        let one = Script::boxed((1..=7).map(|number| Feed::Activity(at(number), reading())));
        // It begins after the fifth.
        let rest = (6..=9).map(|number| Feed::Activity(at(number), reading()));
        let next = Script::boxed([Feed::Reached(at(5))].into_iter().chain(rest));
        let mut feed = hub.hear_on(one, async { Ok(next) }).await.unwrap();
        hub.hear_while(&mut feed, tokio::time::sleep(SETTLED)).await.unwrap();
        let batch = reader.read(&hub.0.backlog.lock(), AT_ONCE);
        let told = reader.take(batch, |_| true);
        let items = told.iter().filter(|told| matches!(told, Told::Item(..))).count();
        assert_eq!((told.len(), items), (9, 9), "each once, and no gap");
    }
}
