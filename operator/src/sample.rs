//! What pods say of themselves: they are asked now and then, on their private port, where the watch says that they are.
//! That is no call to the API server; only what is off from what the status says leads to one.

mod connections;
mod degraded;

use std::time::Duration;

use reqwest::redirect::Policy;

pub(crate) use connections::{Connections, count};
pub(crate) use degraded::{Degradations, listen};

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

    use super::*;

    /// Answers each connection so, and ends it; keeps it when there is no answer. The port.
    async fn answers(answer: Option<String>) -> u16 {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
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
        port
    }

    async fn ask(answer: Option<&str>, most: usize) -> Result<(u16, String), String> {
        let port = answers(answer.map(str::to_owned)).await;
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
