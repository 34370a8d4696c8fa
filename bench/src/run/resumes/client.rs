//! A client of the feed: listens, is cut off, and comes back with its last position, as it was planned.

use std::borrow::Cow;
use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::StreamExt;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use tokio_util::sync::CancellationToken;

use super::book::Book;
use super::filter::Filter;
use super::marks;
use super::plan::{Cut, Kind};
use crate::histogram::Histogram;
use crate::random::Random;

/// From the dial to the hello; a portal answers sooner that it cannot let anybody in.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// A client is let in within that time, however often it has to ask.
const LET_IN_WITHIN: Duration = Duration::from_secs(60);
/// Until it asks again.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// A goodbye is answered within that time.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);
/// After it had stopped reading, a client takes in what comes at once, and no more than this time.
const AFTER_STALL: Duration = Duration::from_millis(200);
/// The longest frame that a portal may send: no item is longer.
const FRAME_MOST: usize = 1024 * 1024;
/// Connections of one client that the portal may end by itself.
const SENT_AWAY_MOST: u64 = 1_000;

type Socket = WebSocketStream<TcpStream>;

/// What all clients have done so far.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Those that have had their first hello.
    pub(super) there: AtomicU64,
    pub(super) cuts: AtomicU64,
    pub(super) items: AtomicU64,
    pub(super) gaps: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A frame of the feed.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    position: Option<Cow<'a, str>>,
    #[serde(borrow)]
    device: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// What one client has seen.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The numbers of the items, in the order in which they were told.
    pub(super) items: Vec<u32>,
    pub(super) cuts: HashMap<Kind, u64>,
    /// Hellos after a cut.
    pub(super) resumed: u64,
    pub(super) gaps: u64,
    /// Hellos that named another position than that which was given.
    pub(super) moved_hellos: u64,
    /// Items with a position that an earlier one had.
    pub(super) positions_again: u64,
    /// Connections that the portal ended by itself.
    pub(super) sent_away: u64,
    /// Dials that came to no hello.
    pub(super) refused: u64,
    /// From each dial to its hello.
    pub(super) let_in: Histogram,
    /// It has heard that the end is there, of everything that it listens to.
    pub(super) to_the_end: bool,
    /// Positions so far.
    pub(super) positions: HashSet<u64>,
}

/// Why a client does not listen any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    /// It is to be cut off.
    Due,
    /// The portal has ended the connection.
    SentAway,
    /// There is nothing more to come.
    End,
}

/// Where and as whom clients dial, and what they share.
#[derive(Debug)]
pub(super) struct Shared {
    /// Addresses of portals; each time any of them.
    pub(super) doors: Vec<SocketAddr>,
    pub(super) token: String,
    pub(super) book: Book,
    pub(super) progress: Progress,
    /// From then on clients are cut off.
    pub(super) begin: CancellationToken,
    /// Nobody listens any longer, whatever it has heard.
    pub(super) end: CancellationToken,
}

/// One client.
pub(super) struct Client {
    pub(super) shared: Arc<Shared>,
    pub(super) filter: Filter,
    pub(super) random: Random,
    /// How often it is cut off; never, if it is what others are compared with.
    pub(super) cuts: u32,
    heard: Heard,
    position: Option<String>,
    /// Which of the marks of the end it has heard, by type and device.
    marks: HashSet<(String, String)>,
    /// A connection that was left open.
    left: Option<Socket>,
}

impl Client {
    pub(super) fn new(shared: &Arc<Shared>, filter: Filter, random: Random, cuts: u32) -> Self {
        Self {
            shared: Arc::clone(shared),
            filter,
            random,
            cuts,
            heard: Heard::default(),
            position: None,
            marks: HashSet::new(),
            left: None,
        }
    }

    /// Listens to the end.
    pub(super) async fn run(mut self) -> Result<Heard> {
        let mut socket = self.enter().await?;
        count(&self.shared.progress.there);
        let begin = self.shared.begin.clone();
        let mut over = self.listen(&mut socket, u64::MAX, begin.cancelled()).await?;
        loop {
            match over {
                Over::End => return Ok(self.heard),
                Over::SentAway => {
                    self.sent_away()?;
                    // The portal waits for the end of what it has ended.
                    drop(socket);
                    sleep(AGAIN_AFTER).await;
                    socket = self.enter().await?;
                }
                Over::Due => {}
            }
            over = if self.cuts == 0 {
                self.listen(&mut socket, u64::MAX, pending()).await?
            } else {
                let cut = Cut::draw(&mut self.random);
                let over = self.listen(&mut socket, cut.items, sleep(cut.within)).await?;
                if over == Over::Due {
                    socket = self.cut_off(socket, cut).await?;
                }
                over
            };
        }
    }

    fn sent_away(&mut self) -> Result<()> {
        self.heard.sent_away += 1;
        ensure!(self.heard.sent_away <= SENT_AWAY_MOST, "the portal ends each connection");
        Ok(())
    }

    /// Takes in items until there were so many, until `due`, or until the end.
    async fn listen(
        &mut self,
        socket: &mut Socket,
        items: u64,
        due: impl Future<Output = ()>,
    ) -> Result<Over> {
        tokio::pin!(due);
        let end = self.shared.end.clone();
        let mut taken = 0;
        loop {
            if self.marks.len() == marks::expected(self.filter.types()) {
                self.heard.to_the_end = true;
                return Ok(Over::End);
            }
            if taken >= items {
                return Ok(Over::Due);
            }
            tokio::select! {
                () = end.cancelled() => return Ok(Over::End),
                () = &mut due => return Ok(Over::Due),
                message = socket.next() => match message {
                    Some(Ok(Message::Text(text))) => taken += u64::from(self.take(text.as_str())?),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(Over::SentAway),
                    // Pings are answered by whoever reads on.
                    Some(Ok(_)) => {}
                },
            }
        }
    }

    /// Takes in a frame; whether it was an item.
    fn take(&mut self, text: &str) -> Result<bool> {
        let Frame { kind, position, device, data } =
            serde_json::from_str(text).with_context(|| format!("no frame of the feed: {text}"))?;
        if kind == "gap" {
            self.heard.gaps += 1;
            count(&self.shared.progress.gaps);
            return Ok(false);
        }
        let position = position.with_context(|| format!("an item without a position: {text}"))?;
        let device = device.with_context(|| format!("an item of no device: {text}"))?;
        let mut hasher = DefaultHasher::new();
        position.hash(&mut hasher);
        self.heard.positions_again += u64::from(!self.heard.positions.insert(hasher.finish()));
        let data = data.map_or("null", RawValue::get);
        self.heard.items.push(self.shared.book.number(&kind, &device, data)?);
        if marks::is_mark(&kind, &device) {
            self.marks.insert((kind.into_owned(), device.into_owned()));
        }
        self.position = Some(position.into_owned());
        count(&self.shared.progress.items);
        Ok(true)
    }

    /// Ends the connection in that way, and comes back.
    async fn cut_off(&mut self, mut socket: Socket, cut: Cut) -> Result<Socket> {
        match cut.kind {
            Kind::Close => {
                let goodbye = async {
                    // It may have been ended by the portal in this moment.
                    if socket.close(None).await.is_ok() {
                        // What comes after the goodbye is not taken in.
                        while let Some(Ok(_)) = socket.next().await {}
                    }
                };
                let answered = timeout(CLOSED_WITHIN, goodbye).await;
                answered.context("a goodbye was not answered")?;
            }
            Kind::Drop => drop(socket),
            Kind::Reset => reset(socket)?,
            Kind::Leave => self.left = Some(socket),
            Kind::Stall => {
                sleep(cut.stall).await;
                let over = self.listen(&mut socket, cut.items, sleep(AFTER_STALL)).await?;
                if over == Over::SentAway {
                    self.sent_away()?;
                }
                reset(socket)?;
            }
        }
        if cut.kind != Kind::Leave {
            self.left = None;
        }
        self.cuts -= 1;
        *self.heard.cuts.entry(cut.kind).or_default() += 1;
        sleep(cut.away).await;
        let socket = self.enter().await?;
        self.heard.resumed += 1;
        // Once it is back, so that whoever waits for the last cut waits for this, too.
        count(&self.shared.progress.cuts);
        Ok(socket)
    }

    /// Comes in by any door, with the last position where there is one.
    async fn enter(&mut self) -> Result<Socket> {
        let by = Instant::now() + LET_IN_WITHIN;
        loop {
            let begun = Instant::now();
            let why = match timeout(HELLO_WITHIN, self.dial()).await {
                Ok(Ok((socket, position))) => {
                    self.heard.let_in.record(begun.elapsed());
                    let given = self.position.get_or_insert_with(|| position.clone());
                    self.heard.moved_hellos += u64::from(*given != position);
                    return Ok(socket);
                }
                Ok(Err(error)) => format!("{error:#}"),
                Err(_) => format!("no hello within {} s", HELLO_WITHIN.as_secs()),
            };
            self.heard.refused += 1;
            if Instant::now() > by {
                bail!("a client was not let in for {} s: {why}", LET_IN_WITHIN.as_secs());
            }
            sleep(AGAIN_AFTER).await;
        }
    }

    /// Dials, and returns where the hello says that it stands.
    async fn dial(&mut self) -> Result<(Socket, String)> {
        let doors = &self.shared.doors;
        let drawn = usize::try_from(self.random.below(u64::try_from(doors.len())?))?;
        let door = doors.get(drawn).context("there is no portal")?;
        let parameters = self.filter.parameters(self.position.as_deref());
        let mut request = format!("ws://{door}/api/v1/live?{parameters}").into_client_request()?;
        let bearer = HeaderValue::from_str(&format!("Bearer {}", self.shared.token))?;
        request.headers_mut().insert(AUTHORIZATION, bearer);
        let stream = TcpStream::connect(door).await?;
        stream.set_nodelay(true)?;
        let bounds =
            WebSocketConfig::default().max_message_size(Some(FRAME_MOST)).max_frame_size(Some(FRAME_MOST));
        let (mut socket, _) = client_async_with_config(request, stream, Some(bounds)).await?;
        let hello = socket.next().await.context("closed before the hello")??;
        let hello = hello.to_text().context("the hello is no text")?;
        let Frame { kind, position, .. } = serde_json::from_str(hello)?;
        ensure!(kind == "hello", "{hello} in place of a hello");
        let position = position.with_context(|| format!("a hello without a position: {hello}"))?;
        Ok((socket, position.into_owned()))
    }
}

/// Ends a connection so that nothing that is under way arrives.
fn reset(socket: Socket) -> Result<()> {
    socket.get_ref().set_zero_linger().context("a socket cannot be reset")
}

#[cfg(test)]
mod tests {
    use futures_util::SinkExt;
    use tokio::net::TcpListener;
    use tokio_tungstenite::accept_async;

    use super::*;

    fn event(device: &str, position: &str) -> String {
        format!(r#"{{"type":"event","position":"{position}","device":"{device}","data":{{"id":"1"}}}}"#)
    }

    fn hello(position: &str) -> String {
        format!(r#"{{"type":"hello","position":"{position}"}}"#)
    }

    #[tokio::test]
    async fn who_is_sent_away_comes_back_with_the_last_position_and_repeats_and_gaps_are_counted() {
        let portal = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shared = Arc::new(Shared {
            doors: vec![portal.local_addr().unwrap()],
            token: "0123456789abcdef".to_owned(),
            book: Book::default(),
            progress: Progress::default(),
            begin: CancellationToken::new(),
            end: CancellationToken::new(),
        });
        let first = vec![hello("p0"), event("boiler-1", "p1"), event("boiler-2", "p2")];
        let mut second = vec![hello("p3"), event("boiler-2", "p2"), r#"{"type":"gap"}"#.to_owned()];
        let ends = (1..=marks::expected(&["event"])).map(|n| event(&format!("end-{n}"), &format!("e{n}")));
        second.extend(ends);
        let serve = async {
            let mut asked = Vec::new();
            for frames in [first, second] {
                let (stream, _) = portal.accept().await.unwrap();
                // The client writes its request at once.
                let mut head = [0; 256];
                let length = stream.peek(&mut head).await.unwrap();
                let head = String::from_utf8_lossy(&head[..length]).into_owned();
                asked.push(head.split(' ').nth(1).unwrap().to_owned());
                let mut socket = accept_async(stream).await.unwrap();
                for frame in frames {
                    socket.send(Message::text(frame)).await.unwrap();
                }
                // The second one may have gone by then: it has heard the end.
                drop(socket.close(None).await);
                while let Some(Ok(_)) = socket.next().await {}
            }
            asked
        };
        let events = Filter::all("boiler-1", "boiler-1*", marks::PATTERN).swap_remove(2);
        let (asked, heard) = tokio::join!(serve, Client::new(&shared, events, Random::new(1), 0).run());
        assert_eq!(asked, ["/api/v1/live?types=event", "/api/v1/live?types=event&since=p2"]);
        let heard = heard.unwrap();
        assert_eq!(heard.items[..3], [0, 1, 1]);
        assert_eq!((heard.positions_again, heard.gaps, heard.moved_hellos, heard.sent_away), (1, 1, 1, 1));
        assert!(heard.to_the_end);
    }
}
