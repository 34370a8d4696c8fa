//! Telling core how an attempt went, until it is stored.

use std::time::Duration;

use stoker_domain::AttemptResult;
use stoker_link::{Channel, to_owner};
use stoker_proto::core::v1;
use stoker_proto::core::v1::notifier_service_client::NotifierServiceClient;
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};

use crate::outcome::Outcome;
use crate::stats::NotifierStats;

/// The first wait between two reports, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Reports until core has answered. It may take for ever: whoever calls it drops it on shutdown.
pub(crate) async fn report(
    core: &NotifierServiceClient<Channel>,
    notification: &str,
    attempt: u32,
    outcome: &Outcome,
    within: Duration,
    stats: &NotifierStats,
) {
    let message = v1::ReportAttemptRequest {
        notification: notification.to_owned(),
        attempt,
        result: wire(outcome.result).into(),
        detail: outcome.detail.clone(),
    };
    let mut wait = FIRST_WAIT;
    for tries in 1_u64.. {
        let mut core = core.clone();
        let mut request = to_owner(message.clone());
        request.set_timeout(within);
        // Our own deadline too: a request that waits for a connection has not started core's.
        let answer = timeout(within, core.report_attempt(request)).await;
        let status = match answer {
            Ok(Ok(_)) => return,
            Ok(Err(status)) => status,
            Err(_) => Status::deadline_exceeded("no answer"),
        };
        if is_final(status.code()) {
            tracing::error!(notification, attempt, %status, "core does not take the report of an attempt");
            return;
        }
        stats.report_failed();
        if tries == 1 {
            tracing::warn!(notification, attempt, %status, "failed to report an attempt; trying again");
        }
        sleep(jittered(wait)).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// True when the same report would be answered the same for ever: core does not know the notification any more, or
/// cannot read the report. Keeping the work would only bring it back; when core still wants it, it hands the attempt
/// out again.
fn is_final(code: Code) -> bool {
    matches!(code, Code::NotFound | Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange)
}

fn wire(result: AttemptResult) -> v1::AttemptResult {
    match result {
        AttemptResult::Sent => v1::AttemptResult::Sent,
        AttemptResult::Delivered => v1::AttemptResult::Delivered,
        AttemptResult::Retry => v1::AttemptResult::Retry,
        AttemptResult::Refused => v1::AttemptResult::Refused,
    }
}

/// Between half of `wait` and all of it, so that those who failed together do not come back together.
fn jittered(wait: Duration) -> Duration {
    stoker_domain::pause::jittered(wait, getrandom::u32().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_within_their_bounds() {
        for _ in 0..1_000 {
            let wait = jittered(LONGEST_WAIT);
            assert!(wait >= LONGEST_WAIT / 2 && wait <= LONGEST_WAIT, "{wait:?}");
        }
    }

    #[test]
    fn an_outage_of_core_is_never_final() {
        for code in [
            Code::Unavailable,
            Code::DeadlineExceeded,
            Code::Cancelled,
            Code::Aborted,
            Code::ResourceExhausted,
            Code::Internal,
            Code::Unknown,
            Code::Unauthenticated,
            Code::PermissionDenied,
            Code::Unimplemented,
        ] {
            assert!(!is_final(code), "{code:?}");
        }
    }
}
