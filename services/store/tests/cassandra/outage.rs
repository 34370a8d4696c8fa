//! Nodes that are away or say nothing: every call ends in time with an error, and goes on when they are back.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use stoker_domain::ports::store::{
    AlarmsQuery, Append, CommandsQuery, CommitOutcome, EventsQuery, NotificationsQuery, Order, PointsQuery,
    RegistryKey, RegistryRow, Store, StoreError,
};
use stoker_domain::{CommandState, DeviceKey, MemberRole, MemberRow, Slot, SlotEpoch};
use stoker_store::{CassandraError, CassandraOptions, CassandraStore};

use super::fresh;
use super::lab::Lab;
use super::proxy::{Gate, Proxy};
use super::samples::{T0, alarm, command, event, key, member, notification, number, reading};
use super::several::{counter, counters, put, take};

/// One call of the port: what it is, and whether it had an answer.
type Call<'a> = (&'static str, BoxFuture<'a, Result<(), StoreError>>);

fn call<'a, T>(
    name: &'static str,
    answer: impl Future<Output = Result<T, StoreError>> + Send + 'a,
) -> Call<'a> {
    (name, answer.map(|answer| answer.map(drop)).boxed())
}

fn unknown(outcome: CommitOutcome) -> Result<(), StoreError> {
    match outcome {
        CommitOutcome::Unknown => Err(StoreError::Failed("unknown".into())),
        _ => Ok(()),
    }
}

fn writes<'a>(store: &'a CassandraStore, device: &'a DeviceKey) -> Vec<Call<'a>> {
    let alarm = alarm(device, 1, 1, T0);
    let setting = RegistryRow::Setting { name: device.organization.to_string(), value: vec![1] };
    let row = MemberRow {
        id: member("outage"),
        role: MemberRole::Gateway,
        address: String::new(),
        host: String::new(),
        version: String::new(),
        slots: None,
        sessions: 0,
        leaving: false,
        started_at: T0,
        beat: 1,
    };
    let commit = store.commit(device.slot(), SlotEpoch(1), put(counters(device, 9)));
    vec![
        call("append a reading", store.append(vec![reading(device, vec![number("t", T0, 1.0)])])),
        call("append an event", store.append(vec![Append::Event(event(device, "e", T0, "fault"))])),
        call("append an alarm", store.append(vec![Append::Alarm(alarm.clone())])),
        call("append a notification", store.append(vec![Append::Notification(notification(&alarm, 1, T0))])),
        call(
            "append a command",
            store.append(vec![Append::Command(command(device, 1, 1, CommandState::Failed))]),
        ),
        call("claim", async { store.claim(device.slot(), &member("outage"), SlotEpoch(0)).await }),
        call("commit", commit.map(unknown)),
        call("release", store.release(device.slot(), SlotEpoch(1)).map(unknown)),
        call("member_put", store.member_put(row)),
        call("registry_put", store.registry_put(setting, None)),
        call("forget_device", store.forget_device(device)),
    ]
}

fn reads<'a>(store: &'a CassandraStore, device: &'a DeviceKey) -> Vec<Call<'a>> {
    let organization = device.organization.clone();
    let points = PointsQuery {
        device: device.clone(),
        keys: None,
        from: 0,
        to: i64::MAX,
        after: None,
        limit: 10,
        order: Order::Ascending,
    };
    let events = EventsQuery {
        organization: organization.clone(),
        device: None,
        kind: None,
        from: 0,
        to: i64::MAX,
        after: None,
        limit: 10,
    };
    let commands = CommandsQuery { device: device.clone(), state: None, after: None, limit: 10 };
    let alarms = AlarmsQuery {
        organization: organization.clone(),
        device: None,
        severity: None,
        kind: None,
        after: None,
        limit: 10,
    };
    let notifications = NotificationsQuery { organization, alarm: None, state: None, after: None, limit: 10 };
    let (id, alarm) =
        (command(device, 1, 1, CommandState::Failed).id, super::samples::alarm(device, 1, 1, T0).id);
    vec![
        call("head", store.head(Slot(1))),
        call("load", store.load(Slot(1))),
        call("members", store.members()),
        call("registry_get", async { store.registry_get(&RegistryKey::Setting("outage".into())).await }),
        call("subscriptions", store.subscriptions()),
        call("points", store.points(points)),
        call("latest", store.latest(device, None)),
        call("events", store.events(events)),
        call("ended_commands", store.ended_commands(commands)),
        call("ended_command", store.ended_command(id)),
        call("ended_alarms", store.ended_alarms(alarms)),
        call("ended_alarm", store.ended_alarm(alarm)),
        call("ended_notifications", store.ended_notifications(notifications)),
    ]
}

fn impatient(lab: &Lab, proxy: &Proxy) -> CassandraOptions {
    CassandraOptions {
        contact_points: vec![proxy.address.to_string()],
        request_timeout: Duration::from_secs(1),
        connect_timeout: Duration::from_secs(1),
        wait: Duration::from_secs(1),
        ..lab.options()
    }
}

/// One that holds answers back, and one that ends connections.
pub(crate) async fn every_call_ends_with_an_error_while_the_nodes_are_away_and_goes_on_afterwards(lab: &Lab) {
    let (direct, proxy) = (lab.open().await, Proxy::to(lab.address()).await);
    // Patient while it opens: the machine may be busy.
    let options = CassandraOptions { connect_timeout: Duration::from_secs(30), ..impatient(lab, &proxy) };
    let store = CassandraStore::open(options).await.unwrap();
    for away in [Gate::HoldRequests, Gate::Cut] {
        let device = key(&fresh("outage"), "d");
        // The epoch that the calls name is over.
        take(&direct, &device).await;
        let epoch = take(&direct, &device).await;
        assert_eq!(
            direct.commit(device.slot(), epoch, put(counters(&device, 1))).await,
            CommitOutcome::Committed
        );
        proxy.set(away);
        let calls = writes(&store, &device).into_iter().chain(reads(&store, &device));
        let answers = calls.map(|(name, answer)| answer.map(move |answer| (name, answer)));
        for (name, answer) in futures_util::future::join_all(answers).await {
            match answer.unwrap_err() {
                StoreError::Failed(_) | StoreError::Overloaded(_) => {}
                error => panic!("{away:?}: {name}: {error}"),
            }
        }
        proxy.set(Gate::Open);
        // The connections come back by themselves, and what was held arrives.
        while store.members().await.is_err() {
            tokio::task::yield_now().await;
        }
        let epoch = take(&store, &device).await;
        assert_eq!(
            counter(&store, &device).await,
            Some(1),
            "{away:?}: nobody owns a slot by an epoch of the past"
        );
        while store.commit(device.slot(), epoch, put(counters(&device, 2))).await != CommitOutcome::Committed
        {
        }
        store.append(vec![reading(&device, vec![number("t", T0 + 1, 1.0)])]).await.unwrap();
        assert_eq!(store.latest(&device, None).await.unwrap()["t"].ts, T0 + 1);
    }
}

pub(crate) async fn a_node_that_says_nothing_is_named_and_not_waited_for_for_ever(lab: &Lab) {
    let proxy = Proxy::to(lab.address()).await;
    proxy.set(Gate::HoldAnswers);
    let error = CassandraStore::open(impatient(lab, &proxy)).await.unwrap_err();
    assert!(matches!(error, CassandraError::Silent { .. }), "{error}");
    assert!(error.to_string().contains(&proxy.address.to_string()), "{error}");
    proxy.set(Gate::Cut);
    let error = CassandraStore::open(impatient(lab, &proxy)).await.unwrap_err();
    assert!(matches!(error, CassandraError::Connect { .. }), "{error}");
}
