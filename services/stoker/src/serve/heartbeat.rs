//! Once a second a notifier or a portal tells a core that it lives, and hears which cores there are.

use std::convert::Infallible;
use std::time::Duration;

use stoker_domain::model::{MemberId, Millis};
use stoker_link::{Cores, Link};
use stoker_proto::core::v1::member_service_client::MemberServiceClient;
use stoker_proto::core::v1::{BeatRequest, MemberRole};
use stoker_telemetry::Health;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

/// How often.
const EVERY: Duration = Duration::from_secs(1);
/// A core that is slower has not heard it.
const WITHIN: Duration = Duration::from_secs(3);
/// What health calls it.
const THING: &str = "core";

/// Who beats.
pub(super) struct Heart {
    pub(super) member: MemberId,
    pub(super) role: MemberRole,
    pub(super) address: String,
    pub(super) host: String,
    pub(super) started_at: Millis,
    pub(super) health: Health,
}

/// Beats until shutdown.
pub(super) async fn run(
    heart: Heart,
    link: Link,
    cores: Cores,
    shutdown: CancellationToken,
) -> Result<(), Infallible> {
    let mut core = MemberServiceClient::new(link.to_any(&cores));
    let mut every = interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heart.health.waiting(THING, "none has answered yet");
    for beat in 1.. {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            _ = every.tick() => {}
        }
        let request = BeatRequest {
            member: heart.member.as_str().to_owned(),
            role: heart.role.into(),
            address: heart.address.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sessions: 0,
            host: heart.host.clone(),
            register: true,
            leaving: false,
            beat,
            started_at: heart.started_at,
            ..BeatRequest::default()
        };
        let heard = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            heard = timeout(WITHIN, core.beat(request)) => heard,
        };
        match heard {
            Ok(Ok(reply)) => {
                let reply = reply.into_inner();
                if reply.cut_off {
                    for core in reply.cores.iter().filter(|core| core.member == reply.member) {
                        cores.leave(&core.address);
                    }
                }
                let known: Vec<String> = reply.cores.into_iter().map(|core| core.address).collect();
                cores.learn(&known);
                heart.health.ready(THING);
            }
            Ok(Err(status)) => heart.health.waiting(THING, status.message()),
            Err(_) => heart.health.waiting(THING, "none has answered in time"),
        }
    }
    Ok(())
}
