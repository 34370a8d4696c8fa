//! What it costs while nothing happens.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::space::{Space, core_shard, gateway, until};
use crate::wire::Wire;

/// How long nothing happens.
const QUIET: Duration = Duration::from_secs(60);
/// What a process may weigh with a hundred resources, in KiB: 40 MiB, less what its code takes in a release build. Of a
/// debug build more of the code is in memory than all of that.
const MOST: u64 = (40 - 16) << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_minute_needs_no_call() {
    let space = Space::new("quiet").await;
    space.secrets().await;
    let wire = Arc::new(Wire::default());
    let operator = space.operator(wire.client(space.client.clone()));
    space.platform().await;
    space.at_rest().await;
    until("its connections have been looked at", || async {
        let edge = space.resources("Gateway").get("edge").await.unwrap();
        edge.data["status"]["connections"] == 0
    })
    .await;
    // What was set going by the last change comes to its end.
    // tidy: allow(sleep): what follows the last write, such as an event, has been sent by then
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = wire.calls().len();
    // tidy: allow(sleep): it is counted what has happened by then
    tokio::time::sleep(QUIET).await;
    let calls = wire.calls();
    assert_eq!(calls.len(), before, "{:?}", &calls[before..]);
    operator.end().await;
    space.end().await;
}

/// The program, as it is installed.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_hundred_resources_it_stays_small() {
    let space = Space::new("hundred").await;
    space.secrets().await;
    let program = Command::new(env!("CARGO_BIN_EXE_stoker-operator"))
        .args(["--namespace", &space.name, "--admin", "127.0.0.1:0", "--image", "stoker:1"])
        .args(["--service-monitors", "never"])
        .env("KUBECONFIG", std::env::var("STOKER_TEST_KUBECONFIG").unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut program = Program(program);
    // One core for all; each gateway of its own hostname, so that all are planned.
    space.put("CoreShard", "main", &core_shard(0, 255)).await;
    for number in 0..99 {
        let mut spec = gateway();
        spec["hostname"] = json!(format!("devices-{number}.example.com"));
        spec["replicas"] = json!(1);
        space.put("Gateway", &format!("edge-{number}"), &spec).await;
    }
    space.at_rest().await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.0.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    let weighs: u64 = line.split_whitespace().next().unwrap().parse().unwrap();
    println!("{weighs} KiB with 100 resources, beside the code");
    assert!(weighs < MOST, "{weighs} KiB");
    let pid = program.0.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().unwrap().success());
    until("it has ended", || {
        let ended = program.0.try_wait().unwrap();
        async move { ended.is_some_and(|status| status.success()) }
    })
    .await;
    space.end().await;
}
