//! The list of promises, and what a store under test has to offer.
//!
//! A promise is a function over a [`Subject`]. It makes organizations of its own and takes slots over as it finds them,
//! so it runs on a store that holds other things, beside other promises; but those of `slots` one at a time. Promises
//! about time are in `retention.rs`.

use std::sync::atomic::{AtomicU64, Ordering};

use stoker_domain::Millis;
use stoker_domain::ports::store::Store;

/// A store under test.
pub(crate) trait Subject: Send + Sync {
    /// The store.
    fn store(&self) -> &dyn Store;
    /// What is stored from now on is stored at this time, as far as the store lets anybody say that.
    fn set_time(&self, now: Millis);
}

/// An organization that no other promise uses.
pub(crate) fn fresh(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Hands the promises of every store to the macro `$run`.
macro_rules! for_each_promise {
    ($run:ident) => {
        $run! {
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
            slots::a_released_slot_has_no_owner_and_keeps_its_epoch,
            members::a_members_row_is_the_one_that_it_wrote_last,
            registry::a_row_is_written_only_at_its_expected_version,
            registry::of_swaps_at_once_one_wins,
            registry::every_kind_of_registry_row_comes_back,
            registry::subscriptions_of_all_organizations_are_listed,
        }
    };
}
pub(crate) use for_each_promise;
