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
