//! A test of a subscription, as portals ask for it.

use stoker_proto::core::v1::channel::{Email, Kind};
use stoker_proto::core::v1::{
    Channel, CreateSubscriptionRequest, ListNotificationsRequest, Notification, NotificationState,
    RemoveSubscriptionRequest, TestSubscriptionRequest,
};
use stoker_proto::problem::ProblemKind;

use super::platform::{Disk, Platform};

const ORGANIZATION: &str = "default";

async fn listed(platform: &Platform) -> Vec<Notification> {
    let request =
        ListNotificationsRequest { organization: ORGANIZATION.to_owned(), limit: 10, ..Default::default() };
    platform.portal.clone().list_notifications(request).await.unwrap().into_inner().notifications
}

async fn test(platform: &Platform, id: &str) -> Result<Vec<String>, ProblemKind> {
    let request = TestSubscriptionRequest { organization: ORGANIZATION.to_owned(), id: id.to_owned() };
    match platform.portal.clone().test_subscription(request).await {
        Ok(reply) => Ok(reply.into_inner().notifications),
        Err(status) => Err(ProblemKind::said_by_core(&status).unwrap()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_is_taken_once_in_a_while_and_outlives_a_core() {
    let disk = Disk::new();
    let platform = Platform::start(disk.store.clone()).await;
    let to = Kind::Email(Email { to: "night@example.org".to_owned() });
    let request = CreateSubscriptionRequest {
        organization: ORGANIZATION.to_owned(),
        name: "Night shift".to_owned(),
        r#match: None,
        deliver: vec![Channel { kind: Some(to) }],
    };
    let made = platform.portal.clone().create_subscription(request).await.unwrap().into_inner();
    let id = made.subscription.unwrap().id;

    let made = test(&platform, &id).await.unwrap();
    let all = listed(&platform).await;
    assert_eq!(all.iter().map(|one| one.id.clone()).collect::<Vec<_>>(), made);
    assert!(all[0].test && all[0].subscription == id && all[0].to == "night@example.org", "{all:?}");
    assert_eq!(all[0].state, i32::from(NotificationState::Pending));
    assert_eq!(test(&platform, &id).await, Err(ProblemKind::TooManyTests));
    assert_eq!(test(&platform, "sub-0").await, Err(ProblemKind::NotFound));
    assert_eq!(test(&platform, "no id").await, Err(ProblemKind::NotFound));

    drop(platform);
    let platform = Platform::start(disk.store.clone()).await;
    assert_eq!(listed(&platform).await, all, "as it was written");
    let request = RemoveSubscriptionRequest { organization: ORGANIZATION.to_owned(), id: id.clone() };
    platform.portal.clone().remove_subscription(request).await.unwrap();
    assert_eq!(test(&platform, &id).await, Err(ProblemKind::NotFound));
}
