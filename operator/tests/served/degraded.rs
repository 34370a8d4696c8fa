//! What pods do without: asked at their private port, and said in the status.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use stoker_operator::Sampling;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::server::Server;
use crate::space::{Operator, is, platform, pod_at};

/// Longer than anything takes: it is there to end what hangs.
const WITHIN: Duration = Duration::from_secs(60);

/// The private port of a pod.
struct Pod {
    port: u16,
    says: Arc<Mutex<&'static str>>,
    asked: watch::Receiver<u32>,
    task: JoinHandle<()>,
}

impl Pod {
    async fn begin() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let says = Arc::new(Mutex::new("ok\n"));
        let (times, asked) = watch::channel(0);
        let said = Arc::clone(&says);
        let task = tokio::spawn(async move {
            loop {
                let (mut connection, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let read = connection.read(&mut request).await.unwrap_or(0);
                let body = if request[..read].starts_with(b"GET /readyz ") {
                    *said.lock()
                } else {
                    "no metrics here"
                };
                let answer = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{body}");
                let _ = connection.write_all(answer.as_bytes()).await;
                times.send_modify(|times| *times += 1);
            }
        });
        Self { port, says, asked, task }
    }

    fn says(&self, what: &'static str) {
        *self.says.lock() = what;
    }

    /// It has been asked so many more times.
    async fn asked(&mut self, more: u32) {
        let from = *self.asked.borrow();
        let asked = self.asked.wait_for(|times| *times >= from + more);
        assert!(tokio::time::timeout(WITHIN, asked).await.is_ok(), "nobody asks the pod");
    }
}

/// The condition of the Notifier: its status, its reason and its message.
fn degraded(server: &Server) -> Option<[String; 3]> {
    let notifier = server.find("notifiers", "people")?;
    let all = notifier["status"]["conditions"].as_array()?.clone();
    let of = all.into_iter().find(|of| of["type"] == "Degraded")?;
    Some(["status", "reason", "message"].map(|key| of[key].as_str().map(str::to_owned).unwrap_or_default()))
}

fn says(server: &Server, status: &str, reason: &str) -> bool {
    degraded(server).is_some_and(|[is, why, _]| is == status && why == reason)
}

#[tokio::test]
async fn a_broker_that_goes_away_is_said_and_the_resource_stays_ready() {
    let server = Server::new();
    platform(&server);
    let mut pod = Pod::begin().await;
    let sampling = Sampling { port: pod.port, every: Duration::from_millis(20) };
    let operator = Operator::asking(&server, false, sampling);
    server.until("pods are asked for", |server| server.find("deployments", "people-").is_some()).await;
    server.until("nobody can be asked", |server| says(server, "Unknown", "NoPodReady")).await;
    pod_at(&server, "people-notifier", ["notifier", "people"], "127.0.0.1");
    server.until("it has all that it needs", |server| says(server, "False", "AsWished")).await;
    server.until("it is ready", |server| is(server, "notifiers", "people", "AsWished")).await;

    pod.says("ok\ndegraded: bus: there is no connection to the broker\n");
    server.until("it says so", |server| says(server, "True", "BusAway")).await;
    let [_, _, message] = degraded(&server).unwrap();
    let begins = "1 of 1 pods do without RabbitMQ: there is no connection to the broker. ";
    assert!(message.starts_with(begins), "{message}");
    assert!(is(&server, "notifiers", "people", "AsWished"), "all else goes on");
    server.until("people are told", |server| server.count("EVENT BusAway of people") == 1).await;

    // It is written once, whatever it is called.
    let writes = server.count("PATCH notifiers/people/status");
    pod.asked(5).await;
    pod.says("ok\ndegraded: bus: connection refused\n");
    pod.asked(10).await;
    assert_eq!(server.count("PATCH notifiers/people/status"), writes);

    pod.says("ok\n");
    server.until("it is back", |server| says(server, "False", "AsWished")).await;
    server.until("people are told", |server| server.count("EVENT Recovered of people") == 1).await;
    assert_eq!(server.count("EVENT BusAway of people"), 1);
    operator.end().await;
    pod.task.abort();
}
