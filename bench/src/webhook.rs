//! An HTTP server that accepts every webhook and notes when.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::delivery::{Deliveries, Delivery};

/// What is read of one line, and of one body.
const LINE_MOST: u64 = 8 * 1024;
const BODY_MOST: usize = 256 * 1024;

/// Serves as long as it is held.
pub(crate) struct WebhookSink {
    address: SocketAddr,
    pub(crate) accepted: Deliveries,
    _tasks: JoinSet<()>,
}

impl WebhookSink {
    /// On a free port.
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let accepted = Deliveries::default();
        let (mut tasks, kept) = (JoinSet::new(), accepted.clone());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let kept = kept.clone();
                connections.spawn(async move {
                    // Whoever hangs up in the middle of a request has not delivered it.
                    let _ = serve(stream, &kept).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, accepted, _tasks: tasks })
    }

    /// The channel, as a subscription takes it.
    pub(crate) fn channel(&self) -> Value {
        json!({ "channel": "webhook", "url": format!("http://{}/hook", self.address), "secret": "bench-secret-0123" })
    }
}

async fn serve(stream: TcpStream, accepted: &Deliveries) -> Result<()> {
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut headers = HashMap::new();
        loop {
            let mut line = String::new();
            if (&mut reader).take(LINE_MOST).read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            // The request line has no such form, or none that matters.
            if let Some((name, value)) = line.split_once(": ") {
                headers.insert(name.to_ascii_lowercase(), value.to_owned());
            }
        }
        let length: usize = headers.get("content-length").context("a body without a length")?.parse()?;
        ensure!(length <= BODY_MOST, "a body of {length} bytes");
        let mut body = vec![0; length];
        reader.read_exact(&mut body).await?;
        accepted.accept(read(headers.get("webhook-id"), &body, Instant::now()));
        writer.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
    }
}

fn read(key: Option<&String>, body: &[u8], at: Instant) -> Option<Delivery> {
    let event: Value = serde_json::from_slice(body).ok()?;
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).map(ToOwned::to_owned);
    Some(Delivery {
        at,
        key: key?.clone(),
        alarm: text("/data/id")?,
        step: text("/type")?.strip_prefix("dev.stoker.alarm.")?.to_owned(),
        code: text("/data/code")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_says_what_it_is_about() {
        let body = br#"{"type":"dev.stoker.alarm.cleared","data":{"id":"alm-0a-1-3","code":"E42"}}"#;
        let (key, at) = ("ntf-0a-1-1".to_owned(), Instant::now());
        let delivery = read(Some(&key), body, at).unwrap();
        assert_eq!((delivery.alarm.as_str(), delivery.step.as_str()), ("alm-0a-1-3", "cleared"));
        assert_eq!(read(None, body, at), None);
        assert_eq!(read(Some(&key), b"{}", at), None);
    }
}
