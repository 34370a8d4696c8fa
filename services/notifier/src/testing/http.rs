//! An HTTP server that does what it is told.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

#[derive(Debug, Clone)]
pub(crate) enum Reaction {
    /// These bytes.
    Respond(String),
    /// A status line, then body without an end, until the other side has had enough.
    Endless(&'static str),
    /// Closes the connection.
    Drop,
    /// Says nothing until [`HttpServer::release`]d, then these bytes.
    Hold(String),
}

impl Reaction {
    pub(crate) fn status(status: &str, body: &str) -> Self {
        Self::Respond(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
    }

    pub(crate) fn held(status: &str) -> Self {
        Self::Hold(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n"))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) line: String,
    /// Names in lower case.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) connections: usize,
    pub(crate) requests: Vec<Request>,
    /// Endless bodies that the other side has cut off.
    pub(crate) cut_off: usize,
}

type Script = dyn Fn(usize) -> Reaction + Send + Sync;

pub(crate) struct HttpServer {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Mutex<Seen>>,
    gate: Arc<Semaphore>,
    _tasks: JoinSet<()>,
}

impl HttpServer {
    /// `script` is asked with the number of the request, from 0.
    pub(crate) async fn start(script: impl Fn(usize) -> Reaction + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, gate) = (Arc::<Mutex<Seen>>::default(), Arc::new(Semaphore::new(0)));
        let script: Arc<Script> = Arc::new(script);
        let mut tasks = JoinSet::new();
        let for_task = (Arc::clone(&seen), Arc::clone(&gate));
        tasks.spawn(async move {
            let (seen, gate) = for_task;
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                seen.lock().connections += 1;
                connections.spawn(serve(stream, Arc::clone(&script), Arc::clone(&seen), Arc::clone(&gate)));
            }
        });
        Self { address, seen, gate, _tasks: tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook?token=t0ken", self.address)
    }

    /// Lets so many held answers go.
    pub(crate) fn release(&self, count: usize) {
        self.gate.add_permits(count);
    }

    /// Waits until so many requests have come.
    pub(crate) async fn has_seen(&self, requests: usize) {
        while self.seen.lock().requests.len() < requests {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
}

async fn serve(stream: TcpStream, script: Arc<Script>, seen: Arc<Mutex<Seen>>, gate: Arc<Semaphore>) {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    while let Some(request) = read(&mut reader).await {
        let number = seen.lock().requests.len();
        seen.lock().requests.push(request);
        let answer = match script(number) {
            Reaction::Respond(answer) => answer,
            Reaction::Drop => return,
            Reaction::Hold(answer) => {
                gate.acquire().await.unwrap().forget();
                answer
            }
            Reaction::Endless(status) => {
                let head = format!("HTTP/1.1 {status}\r\ncontent-type: text/plain\r\n\r\n");
                let mut piece = head.into_bytes();
                while writer.write_all(&piece).await.is_ok() {
                    piece = vec![b'x'; 1_024];
                }
                seen.lock().cut_off += 1;
                return;
            }
        };
        if writer.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(reader: &mut BufReader<tokio::net::tcp::OwnedReadHalf>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).await.ok().filter(|&read| read > 0)?;
    let mut headers = HashMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).await.ok()?;
        match header.trim_end().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.to_owned()),
            None => break,
        };
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await.ok()?;
    Some(Request { line: line.trim_end().to_owned(), headers, body })
}
