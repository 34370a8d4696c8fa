use stoker_domain::TokenHash;
use stoker_domain::ports::store::{RegistryRow, SwapOutcome};

use super::samples::{key, subscription};
use super::slots::join_all;
use super::{Subject, fresh};

fn setting(name: &str, value: &[u8]) -> RegistryRow {
    RegistryRow::Setting { name: name.to_owned(), value: value.to_vec() }
}

pub(crate) async fn a_row_is_written_only_at_its_expected_version(subject: &dyn Subject) {
    let (store, name) = (subject.store(), fresh("setting"));
    let key = setting(&name, b"").key();
    assert_eq!(store.registry_get(&key).await.unwrap(), None);
    let put =
        async |value: &[u8], expected| store.registry_put(setting(&name, value), expected).await.unwrap();
    assert_eq!(put(b"x", Some(1)).await, SwapOutcome::Conflict(None));
    assert_eq!(put(b"one", None).await, SwapOutcome::Swapped(1));
    assert_eq!(put(b"x", None).await, SwapOutcome::Conflict(Some(1)));
    assert_eq!(put(b"x", Some(2)).await, SwapOutcome::Conflict(Some(1)));
    assert_eq!(put(b"two", Some(1)).await, SwapOutcome::Swapped(2));
    assert_eq!(store.registry_get(&key).await.unwrap(), Some((setting(&name, b"two"), 2)));
    assert_eq!(store.registry_delete(&key, 1).await.unwrap(), SwapOutcome::Conflict(Some(2)));
    assert_eq!(store.registry_delete(&key, 2).await.unwrap(), SwapOutcome::Swapped(0));
    assert_eq!(store.registry_delete(&key, 2).await.unwrap(), SwapOutcome::Conflict(None));
    assert_eq!(store.registry_get(&key).await.unwrap(), None);
    assert_eq!(put(b"again", None).await, SwapOutcome::Swapped(1));
}

pub(crate) async fn of_swaps_at_once_one_wins(subject: &dyn Subject) {
    let (store, name) = (subject.store(), fresh("race"));
    for expected in [None, Some(1), Some(2)] {
        let swaps: Vec<_> = (0..8u8).map(|n| store.registry_put(setting(&name, &[n]), expected)).collect();
        let outcomes = join_all(swaps).await;
        let won: Vec<u8> = (0..)
            .zip(&outcomes)
            .filter(|(_, outcome)| matches!(outcome, Ok(SwapOutcome::Swapped(_))))
            .map(|(n, _)| n)
            .collect();
        assert_eq!(won.len(), 1, "{outcomes:?}");
        let held = store.registry_get(&setting(&name, b"").key()).await.unwrap();
        assert_eq!(held, Some((setting(&name, &won), expected.unwrap_or(0) + 1)));
    }
}

pub(crate) async fn every_kind_of_registry_row_comes_back(subject: &dyn Subject) {
    let (store, o) = (subject.store(), fresh("kinds"));
    let mut hash = [0xff; 32];
    hash[..8].copy_from_slice(&(std::process::id() as u64).to_be_bytes());
    let rows = [
        RegistryRow::Token { hash: TokenHash(hash), device: key(&o, "d") },
        RegistryRow::Subscription(subscription(&o, "s")),
        setting(&o, &[0, 255]),
    ];
    for row in rows {
        assert_eq!(store.registry_put(row.clone(), None).await.unwrap(), SwapOutcome::Swapped(1));
        assert_eq!(store.registry_get(&row.key()).await.unwrap(), Some((row.clone(), 1)));
        assert_eq!(store.registry_delete(&row.key(), 1).await.unwrap(), SwapOutcome::Swapped(0));
    }
}

pub(crate) async fn subscriptions_of_all_organizations_are_listed(subject: &dyn Subject) {
    let (store, a, b) = (subject.store(), fresh("a"), fresh("b"));
    for (organization, id) in [(&a, "s"), (&a, "t"), (&b, "s")] {
        store.registry_put(RegistryRow::Subscription(subscription(organization, id)), None).await.unwrap();
    }
    store.registry_put(setting(&a, b"not a subscription"), None).await.unwrap();
    store.registry_put(RegistryRow::Subscription(subscription(&a, "t")), Some(1)).await.unwrap();
    let mut listed = store.subscriptions().await.unwrap();
    listed.retain(|(row, _)| [a.as_str(), b.as_str()].contains(&row.organization.as_str()));
    listed.sort_by_key(|(row, _)| (row.organization.clone(), row.id.clone()));
    let expected = [(subscription(&a, "s"), 1), (subscription(&a, "t"), 2), (subscription(&b, "s"), 1)];
    assert_eq!(listed, expected);
}
