//! What every adapter of the store port promises.
//!
//! Each promise is a function over `&dyn Store` in a module below. It makes organizations of its own and takes slots
//! over as it finds them, so it runs on a store that holds other things. Another adapter runs through all of them by
//! one more `run_with!`, and tells by its `Subject` how its retention is made to act.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod ended;
mod events;
mod isolation;
mod registry;
mod retention;
#[allow(dead_code)]
#[path = "../support/samples.rs"]
mod samples;
mod slots;
mod telemetry;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use async_trait::async_trait;
use stoker_domain::Millis;
use stoker_domain::ports::store::Store;
use stoker_store::{EmbeddedOptions, EmbeddedStore};

/// A store under test.
#[async_trait]
trait Subject: Send + Sync {
    /// The store.
    fn store(&self) -> &dyn Store;
    /// What is stored from now on is stored at this time.
    fn set_time(&self, now: Millis);
    /// Carries retention out as of this time.
    async fn purge(&self, now: Millis);
}

struct Embedded {
    store: EmbeddedStore,
    time: Arc<AtomicI64>,
    _dir: tempfile::TempDir,
}

impl Embedded {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let time = Arc::new(AtomicI64::new(samples::T0));
        let clock = time.clone();
        let options = EmbeddedOptions {
            cache_bytes: 4 << 20,
            clock: Arc::new(move || clock.load(Ordering::SeqCst)),
            ..EmbeddedOptions::default()
        };
        Self { store: EmbeddedStore::open(dir.path(), options).unwrap(), time, _dir: dir }
    }
}

#[async_trait]
impl Subject for Embedded {
    fn store(&self) -> &dyn Store {
        &self.store
    }

    fn set_time(&self, now: Millis) {
        self.time.store(now, Ordering::SeqCst);
    }

    async fn purge(&self, now: Millis) {
        self.store.purge(now).await.unwrap();
    }
}

/// An organization that no other promise uses.
fn fresh(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

macro_rules! run_with {
    ($adapter:ident, $subject:expr) => {
        run_with!(@each $adapter, $subject;
            telemetry::points_come_back_in_order_of_time_then_key,
            telemetry::a_page_continues_where_the_one_before_ended,
            telemetry::bounds_are_inclusive_and_keys_are_chosen,
            telemetry::of_two_points_of_one_key_and_time_the_later_append_wins,
            telemetry::the_same_reading_again_changes_nothing,
            telemetry::backfilled_points_are_found_among_the_others,
            telemetry::every_kind_of_value_comes_back_as_it_was_sent,
            telemetry::latest_is_the_greatest_time_of_each_key,
            telemetry::latest_of_some_keys_is_only_theirs,
            telemetry::latest_gives_long_values_too,
            telemetry::random_histories_are_listed_like_a_simple_list,
            events::events_come_newest_first_then_by_device_and_id,
            events::of_two_events_with_one_id_the_first_stays,
            events::events_are_found_by_device_kind_and_time,
            events::pages_of_events_neither_repeat_nor_miss_any,
            ended::ended_commands_are_listed_by_id_and_found_by_state,
            ended::ended_alarms_are_listed_newest_raised_first_and_filtered,
            ended::ended_notifications_are_listed_newest_first_and_filtered,
            ended::a_later_append_replaces_what_had_ended,
            ended::forgetting_a_device_leaves_nothing_of_it_and_everything_of_others,
            isolation::ids_that_look_like_each_other_share_nothing,
            isolation::a_query_with_another_organizations_device_finds_nothing,
            slots::a_claim_counts_the_epoch_up_and_names_the_owner,
            slots::of_claims_at_once_one_wins,
            slots::a_commit_of_an_older_epoch_is_fenced_and_changes_nothing,
            slots::every_kind_of_row_comes_back_as_it_was_written,
            slots::a_put_replaces_and_a_delete_removes,
            slots::slots_share_no_rows,
            slots::commits_at_once_are_each_whole,
            registry::a_row_is_written_only_at_its_expected_version,
            registry::of_swaps_at_once_one_wins,
            registry::every_kind_of_registry_row_comes_back,
            registry::subscriptions_of_all_organizations_are_listed,
            retention::telemetry_goes_when_it_was_stored_long_ago_whatever_its_time,
            retention::history_goes_when_it_was_stored_long_ago_whatever_its_time,
            retention::an_event_that_has_gone_may_come_again,
        );
    };
    (@each $adapter:ident, $subject:expr; $($module:ident::$promise:ident),+ $(,)?) => {
        mod $adapter {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    let subject = $subject;
                    super::$module::$promise(&subject).await;
                }
            )+
        }
    };
}

run_with!(embedded, super::Embedded::new());
