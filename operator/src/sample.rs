//! What pods say of themselves: they are asked now and then, on their private port, where the watch says that they are.
//! That is no call to the API server; only what is off from what the status says leads to one.

mod connections;
mod degraded;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::leader::Leading;
use crate::queue::Queue;
use crate::stats::Stats;
use crate::watch::Stores;

pub(crate) use connections::Connections;
pub(crate) use degraded::Degradations;

/// A pod that takes longer does not say it.
const WITHIN: Duration = Duration::from_secs(2);
/// Pods that are asked at the same time.
const AT_ONCE: usize = 32;

/// How pods are asked.
#[derive(Debug, Clone, Copy)]
pub struct Sampling {
    /// Their private port.
    pub port: u16,
    /// How often they are asked what they do without.
    pub every: Duration,
}

impl Default for Sampling {
    /// As the operator makes pods, and a few times in a minute: a minute without a broker is to be seen.
    fn default() -> Self {
        Self { port: 9090, every: Duration::from_secs(10) }
    }
}

/// All that was said last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples {
    pub(crate) connections: Connections,
    pub(crate) degraded: Degradations,
}

/// Asks pods now and then.
#[derive(Clone)]
pub(crate) struct Sampler {
    pub(crate) asker: Asker,
    pub(crate) stores: Stores,
    pub(crate) queue: Arc<Queue>,
    pub(crate) leading: Leading,
    pub(crate) stats: Arc<Stats>,
    pub(crate) shutdown: CancellationToken,
}

impl Sampler {
    /// Counts connections until it is told to end.
    pub(crate) async fn count(self, connections: Connections) -> Result<(), Infallible> {
        let round = || async { connections.replace(connections::counted(&self).await) };
        self.rounds(connections::EVERY, round).await
    }

    /// Listens to what pods do without until it is told to end.
    pub(crate) async fn listen(self, every: Duration, degraded: Degradations) -> Result<(), Infallible> {
        let begun = Instant::now();
        let round = || async {
            let heard = degraded::asked(&self).await;
            degraded.take(&heard, begun.elapsed().as_secs())
        };
        self.rounds(every, round).await
    }

    /// One round after another, while this process leads. Each says in which namespaces something has changed.
    async fn rounds<F: Future<Output: IntoIterator<Item = String>>>(
        &self,
        every: Duration,
        round: impl Fn() -> F,
    ) -> Result<(), Infallible> {
        let mut every = interval(every);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let forever = async {
            loop {
                every.tick().await;
                if self.leading.holds() {
                    for namespace in round().await {
                        self.queue.touch(&namespace, false);
                    }
                }
            }
        };
        tokio::select! {
            () = self.shutdown.cancelled() => Ok(()),
            never = forever => never,
        }
    }
}

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    client: reqwest::Client,
    port: u16,
}

impl Asker {
    /// # Errors
    /// A client cannot be made.
    pub(crate) fn new(port: u16) -> Result<Self, reqwest::Error> {
        // A pod speaks for itself and sends nobody elsewhere.
        let client =
            reqwest::Client::builder().timeout(WITHIN).no_proxy().redirect(Policy::none()).build()?;
        Ok(Self { client, port })
    }

    /// What the pod at `address` answers to `path`: its code, and a body of at most so many bytes.
    async fn ask(&self, address: &str, path: &str, most: usize) -> Result<(u16, String), String> {
        // IPv6 stands in brackets.
        let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        let said = |error: reqwest::Error| stoker_telemetry::chain(&error);
        let mut answer =
            self.client.get(format!("http://{host}:{}{path}", self.port)).send().await.map_err(said)?;
        let code = answer.status().as_u16();
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(said)? {
            if body.len() + part.len() > most {
                return Err(format!("more than {most} bytes"));
            }
            body.extend_from_slice(&part);
        }
        Ok((code, String::from_utf8_lossy(&body).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;

    /// Answers each connection so, and ends it; keeps it when there is no answer. The port, and the task.
    async fn answers(answer: Option<String>) -> (u16, JoinSet<()>) {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                let (mut connection, _) = listener.accept().await.unwrap();
                let mut asked = [0; 1024];
                let _ = connection.read(&mut asked).await;
                match &answer {
                    // Whoever asks may have gone at the first byte too many.
                    Some(answer) => drop(connection.write_all(answer.as_bytes()).await),
                    None => std::future::pending().await,
                }
            }
        });
        (port, task)
    }

    async fn ask(answer: Option<&str>, most: usize) -> Result<(u16, String), String> {
        let (port, _task) = answers(answer.map(str::to_owned)).await;
        Asker::new(port).unwrap().ask("127.0.0.1", "/readyz", most).await
    }

    fn http(code: u16, body: &str) -> String {
        format!("HTTP/1.1 {code} said\r\nconnection: close\r\nlocation: http://127.0.0.1:1/\r\n\r\n{body}")
    }

    #[tokio::test]
    async fn an_answer_is_taken_as_it_is_up_to_a_bound() {
        let degraded = "ok\ndegraded: bus: away\n";
        assert_eq!(ask(Some(&http(200, degraded)), 100).await, Ok((200, degraded.to_owned())));
        assert_eq!(ask(Some(&http(503, "slots: none")), 100).await, Ok((503, "slots: none".to_owned())));
        assert_eq!(ask(Some(&http(302, "")), 100).await, Ok((302, String::new())), "it leads nowhere");
        let long = http(200, &"x".repeat(1_000_000));
        assert_eq!(ask(Some(&long), 100).await, Err("more than 100 bytes".to_owned()));
        assert!(ask(Some("nonsense\r\n\r\n"), 100).await.is_err());
    }

    #[tokio::test]
    async fn who_does_not_answer_or_is_not_there_is_not_waited_for() {
        let silent = ask(None, 100).await.unwrap_err();
        assert!(silent.contains("timed out"), "{silent}");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        assert!(Asker::new(port).unwrap().ask("127.0.0.1", "/readyz", 100).await.is_err());
        assert!(Asker::new(port).unwrap().ask("::1", "/readyz", 100).await.is_err());
    }
}
