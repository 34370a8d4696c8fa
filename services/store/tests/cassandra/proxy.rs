//! A TCP proxy that can hold back what one side says, so that nobody knows what became of a request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    /// Requests do not reach the node.
    HoldRequests,
    /// Answers do not reach the client.
    HoldAnswers,
    /// Connections end, and new ones end at once.
    Cut,
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    gate: watch::Sender<Gate>,
    held: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn to(node: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let gate = watch::Sender::new(Gate::Open);
        let held = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        let (node, gates, counter) = (node.to_owned(), gate.clone(), held.clone());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((client, _)) = listener.accept().await else { return };
                if *gates.borrow() == Gate::Cut {
                    continue;
                }
                let Ok(server) = TcpStream::connect(&node).await else { continue };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                let requests = (gates.subscribe(), Gate::HoldRequests, counter.clone());
                let answers = (gates.subscribe(), Gate::HoldAnswers, counter.clone());
                connections.spawn(copy(from_client, to_server, requests));
                connections.spawn(copy(from_server, to_client, answers));
            }
        });
        Self { address, gate, held, _tasks: tasks }
    }

    pub(crate) fn set(&self, gate: Gate) {
        self.gate.send_replace(gate);
    }

    /// Waits until something more is held back than so many pieces.
    pub(crate) async fn holds_more_than(&self, pieces: u64) {
        while self.held() <= pieces {
            tokio::task::yield_now().await;
        }
    }

    /// How many pieces have been held back so far.
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::SeqCst)
    }
}

async fn copy(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    (mut gate, closed, held): (watch::Receiver<Gate>, Gate, Arc<AtomicU64>),
) {
    let mut piece = vec![0; 64 * 1024];
    loop {
        let count = tokio::select! {
            read = from.read(&mut piece) => read.unwrap_or(0),
            _ = gate.wait_for(|gate| *gate == Gate::Cut) => 0,
        };
        if count == 0 {
            return;
        }
        if *gate.borrow() == closed {
            held.fetch_add(1, Ordering::SeqCst);
        }
        let goes_on = match gate.wait_for(|gate| *gate != closed).await {
            Ok(gate) => *gate != Gate::Cut,
            Err(_) => false,
        };
        if !goes_on || to.write_all(&piece[..count]).await.is_err() {
            return;
        }
    }
}
