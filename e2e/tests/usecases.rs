//! The use cases of `usecases/stories`, each of which a person can read, on the platform.

use anyhow::{Context, Result, ensure};
use stoker_e2e::{Options, Platform};
use stoker_usecases::print::Paint;
use stoker_usecases::run::{Broker, run};
use stoker_usecases::{read, read_all, shipped};
use tokio_util::sync::CancellationToken;

fn reached(platform: &Platform) -> stoker_usecases::run::Platform {
    let broker = Broker { address: platform.mqtt, websocket: false, ca: None };
    // As both kinds of platforms are configured, webhooks may go to loopback.
    let receive = Some([127, 0, 0, 1].into());
    stoker_usecases::run::Platform { api: platform.api.clone(), broker, receive }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_use_case_holds_and_holds_again_on_a_platform_that_is_in_use() -> Result<()> {
    let platform = Platform::start(Options::default()).await?;
    let reached = reached(&platform);
    let stories = read_all(&shipped())?;
    for _ in 0..2 {
        let report = run(&reached, &stories, &CancellationToken::new()).await?;
        println!("{}", report.text(Paint::None));
        ensure!(report.holds(), "not every use case holds: see above");
        // What they made is gone: whoever runs them on a platform that is in use finds it as it was.
        let devices = platform.api.all("/devices").await?;
        ensure!(devices.is_empty(), "{devices:?}");
        let subscriptions = platform.api.all("/subscriptions").await?;
        ensure!(subscriptions.is_empty(), "{subscriptions:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_use_case_that_does_not_hold_is_explained() -> Result<()> {
    let platform = Platform::start(Options::default()).await?;
    let reached = reached(&platform);
    let whole = std::fs::read_to_string(shipped().join("fail.yaml")).context("no such story")?;
    let broken = whole.replacen("severity: critical, text: flame lost, count: 1", "severity: minor", 1);
    ensure!(broken != whole, "the case to be broken is another one now");
    let mut story = read("fail.yaml", &broken)?;
    story.cases.truncate(1);
    let stories = [story];
    let report = run(&reached, &stories, &CancellationToken::new()).await?;
    ensure!(!report.holds(), "what was broken holds");
    let text = report.text(Paint::None);
    for said in [
        "BROKEN    fail: a fault is an alarm",
        "the story: Fail (fail.yaml)",
        "held    Given a device boiler",
        "BROKEN  Then  GET /alarms?device={boiler}&state=active gives",
        "expected /items/0/severity: \"minor\"",
        "observed /items/0/severity: \"critical\"",
    ] {
        ensure!(text.contains(said), "{said:?} is not in\n{text}");
    }
    Ok(())
}
