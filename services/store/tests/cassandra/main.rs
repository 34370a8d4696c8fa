//! The Cassandra store, on a real node: the promises of every store, and those that only it can break.
//!
//! `STOKER_TEST_CASSANDRA` names its nodes (`127.0.0.1:9042`, divided by commas), `STOKER_TEST_CASSANDRA_DATACENTER` their
//! datacentre (`datacenter1`). Everything happens in keyspaces of this run's own, which are dropped at the end.
//!
//! With three nodes there are three replicas. Then `--skip unknown --skip outage`: these cut the store off from one node,
//! which is enough only where it is the only one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../contract/ended.rs"]
mod ended;
#[path = "../contract/events.rs"]
mod events;
mod forgetting;
mod importing;
#[path = "../contract/isolation.rs"]
mod isolation;
mod lab;
#[path = "../contract/members.rs"]
mod members;
mod migrations;
mod newest;
mod outage;
#[path = "../contract/promises.rs"]
mod promises;
mod proxy;
mod reads;
#[path = "../contract/registry.rs"]
mod registry;
mod retention;
#[path = "../support/samples.rs"]
mod samples;
mod several;
#[path = "../contract/slots.rs"]
mod slots;
mod sweeping;
#[path = "../contract/telemetry.rs"]
mod telemetry;
mod unknown;

use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};

use lab::{Lab, Shared};
use promises::{Subject, for_each_promise, fresh};

macro_rules! promises {
    ($($module:ident::$promise:ident),+ $(,)?) => {
        fn promises(lab: &Arc<Lab>) -> Vec<Trial> {
            vec![$(
                lab.trial(stringify!($module), stringify!($promise), async |lab| {
                    let subject: Shared = lab.shared().await;
                    $module::$promise(&subject).await;
                })
            ),+]
        }
    };
}
for_each_promise!(promises);

macro_rules! own {
    ($($module:ident::$test:ident),+ $(,)?) => {
        fn own(lab: &Arc<Lab>) -> Vec<Trial> {
            vec![$(lab.trial(stringify!($module), stringify!($test), $module::$test)),+]
        }
    };
}
own! {
    migrations::processes_that_start_at_once_make_one_schema,
    migrations::a_changed_migration_is_refused,
    migrations::an_unknown_migration_is_ignored_only_if_it_is_marked_so,
    migrations::a_process_waits_for_the_lock_and_names_its_holder,
    migrations::a_process_with_other_slots_is_refused,
    migrations::a_wrong_datacentre_or_node_is_named,
    several::of_two_processes_that_claim_at_once_one_wins,
    several::an_owner_that_was_replaced_changes_nothing,
    several::what_one_process_appends_the_other_reads,
    several::a_member_that_is_silent_is_listed_no_more,
    unknown::a_commit_without_an_answer_is_unknown_and_may_have_gone_in,
    unknown::a_commit_that_arrives_after_the_next_claim_changes_nothing,
    unknown::an_append_without_an_answer_fails_and_can_be_repeated,
    unknown::who_finds_no_turn_is_told_that_the_store_is_overloaded,
    unknown::a_commit_that_is_too_great_changes_nothing,
    unknown::a_great_commit_goes_in,
    outage::every_call_ends_with_an_error_while_the_nodes_are_away_and_goes_on_afterwards,
    outage::a_node_that_says_nothing_is_named_and_not_waited_for_for_ever,
    several::what_ended_later_replaces_what_a_fast_clock_wrote,
    retention::everything_goes_when_its_time_is_over,
    retention::an_event_that_has_gone_may_come_again,
    forgetting::a_device_that_was_made_again_has_nothing_of_the_old_one,
    forgetting::a_device_may_be_forgotten_twice_and_reports_at_once,
    forgetting::what_was_half_written_of_a_device_is_forgotten_with_it,
    importing::an_import_that_was_cut_off_goes_on_with_the_same_file_only,
    importing::an_import_meets_neither_cores_nor_others_data,
    newest::a_key_that_is_silent_for_long_is_found_on_its_last_day,
    newest::what_an_earlier_version_wrote_counts_until_there_is_something_newer,
    newest::a_day_of_which_nothing_is_left_is_passed_over,
    reads::a_query_over_all_time_looks_only_into_days_that_have_points,
    reads::a_seldom_key_is_found_without_reading_the_others,
    reads::a_seldom_kind_of_thing_is_found_over_many_buckets,
    sweeping::deletions_leave_no_more_than_the_database_is_willing_to_read_past,
}

fn main() -> std::process::ExitCode {
    let arguments = Arguments::from_args();
    let lab = Arc::new(Lab::new(!arguments.list));
    let mut trials = promises(&lab);
    trials.extend(own(&lab));
    let conclusion = libtest_mimic::run(&arguments, trials);
    lab.drop_keyspaces();
    conclusion.exit_code()
}
