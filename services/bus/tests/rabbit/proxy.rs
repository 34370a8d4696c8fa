//! A network between us and the broker that fails on demand: it cuts, refuses, stalls one way, and can say for the
//! broker that publishers are blocked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio::task::{JoinHandle, JoinSet};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Open,
    /// New connections are closed at once.
    Refuse,
    /// Nothing comes from the broker any more; it gets what we write.
    Mute,
    /// Nothing gets to the broker any more.
    Deaf,
}

#[derive(Debug, Clone)]
enum Order {
    Cut,
    Say(Vec<u8>),
}

pub(crate) struct Proxy {
    pub(crate) url: String,
    mode: watch::Sender<Mode>,
    orders: broadcast::Sender<Order>,
    refused: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// In front of the broker at `url`.
    pub(crate) async fn start(url: &str) -> Self {
        let mut target: url::Url = url.parse().unwrap();
        let address = format!("{}:{}", target.host_str().unwrap(), target.port().unwrap_or(5672));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        target.set_host(Some("127.0.0.1")).unwrap();
        target.set_port(Some(port)).unwrap();
        let mode = watch::Sender::new(Mode::Open);
        let orders = broadcast::Sender::new(16);
        let refused = Arc::<AtomicU64>::default();
        let task =
            tokio::spawn(accept(listener, address, mode.clone(), orders.clone(), Arc::clone(&refused)));
        Self { url: target.to_string(), mode, orders, refused, task }
    }

    /// Connections that were closed at once.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Cuts all connections. New ones can be made.
    pub(crate) fn cut(&self) {
        let _none = self.orders.send(Order::Cut);
    }

    /// Says for the broker that it takes nothing from publishers, or does again.
    pub(crate) fn block(&self, blocked: bool) {
        let mut arguments = vec![0, 10, 0, if blocked { 60 } else { 61 }];
        if blocked {
            arguments.extend(b"\x06memory");
        }
        let mut frame = vec![1, 0, 0];
        frame.extend(u32::try_from(arguments.len()).unwrap().to_be_bytes());
        frame.extend(arguments);
        frame.push(0xce);
        self.orders.send(Order::Say(frame)).expect("there is a connection");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    target: String,
    mode: watch::Sender<Mode>,
    orders: broadcast::Sender<Order>,
    refused: Arc<AtomicU64>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        if *mode.borrow() == Mode::Refuse {
            refused.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let Ok(broker) = TcpStream::connect(&target).await else { continue };
        client.set_nodelay(true).unwrap();
        broker.set_nodelay(true).unwrap();
        let (mode, mut cut) = (mode.subscribe(), orders.subscribe());
        let say = orders.subscribe();
        connections.spawn(async move {
            let (from_client, to_client) = client.into_split();
            let (from_broker, to_broker) = broker.into_split();
            tokio::select! {
                () = up(from_client, to_broker, mode.clone()) => {}
                () = down(from_broker, to_client, mode, say) => {}
                () = async { while !matches!(cut.recv().await, Ok(Order::Cut) | Err(_)) {} } => {}
            }
        });
    }
}

async fn flowing(mode: &mut watch::Receiver<Mode>, stalled: Mode) {
    mode.wait_for(|mode| *mode != stalled).await.unwrap();
}

async fn up(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut mode: watch::Receiver<Mode>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        flowing(&mut mode, Mode::Deaf).await;
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// Frame by frame, so that a frame of ours stands between two of the broker's.
async fn down(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut mode: watch::Receiver<Mode>,
    mut say: broadcast::Receiver<Order>,
) {
    let mut frame = Vec::new();
    loop {
        let (mut header, mut first) = ([0; 7], [0]);
        // Only a byte that is there tells that a frame begins: reading one is not torn by the other branch, and what we
        // are to say does not wait for what the broker says next.
        let ours = tokio::select! {
            order = say.recv() => match order {
                Ok(Order::Say(frame)) => Some(frame),
                _ => return,
            },
            begins = from.peek(&mut first) => {
                if !matches!(begins, Ok(1..)) || from.read_exact(&mut header).await.is_err() {
                    return;
                }
                None
            }
        };
        frame.clear();
        if let Some(ours) = ours {
            frame.extend(ours);
        } else {
            let size = u32::from_be_bytes([header[3], header[4], header[5], header[6]]);
            frame.extend(header);
            frame.resize(7 + size as usize + 1, 0);
            if from.read_exact(&mut frame[7..]).await.is_err() {
                return;
            }
        }
        flowing(&mut mode, Mode::Mute).await;
        if to.write_all(&frame).await.is_err() {
            return;
        }
    }
}
