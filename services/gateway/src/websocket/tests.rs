//! WebSockets over real sockets, with a client that was made by hand.

use std::future::poll_fn;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::client::{BINARY, CLOSE, CONTINUATION, Client, FIN, PING, PONG, REQUEST, TEXT, frame, header};
use super::*;
use crate::upgrade::{UpgradeError, upgrade};

/// The largest message in these tests.
const MOST: u32 = 256 * 1024;
/// Ends what hangs.
const WITHIN: Duration = Duration::from_secs(30);

async fn streams() -> (Stream, Client) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let (client, server) = tokio::join!(client, listener.accept());
    let (client, (server, _)) = (client.unwrap(), server.unwrap());
    client.set_nodelay(true).unwrap();
    (Stream::Tcp(server), Client(client))
}

/// A WebSocket from a handshake, and its client.
async fn pair() -> (WebSocket, Client) {
    let (stream, mut client) = streams().await;
    client.send(REQUEST.as_bytes()).await;
    let (socket, (head, _)) = tokio::join!(upgrade(stream, MOST), client.answer());
    assert!(head.starts_with("http/1.1 101"), "{head}");
    (socket.unwrap(), client)
}

/// How a request is answered that leads to no WebSocket.
async fn refused(request: &[u8]) -> (String, String) {
    let (stream, mut client) = streams().await;
    let server = timeout(WITHIN, upgrade(stream, MOST));
    let asking = async move {
        client.send(request).await;
        let answer = client.answer().await;
        assert_eq!(client.0.read(&mut [0; 1]).await.unwrap(), 0, "it is closed: {answer:?}");
        answer
    };
    let (ended, answer) = tokio::join!(server, asking);
    assert!(matches!(ended.unwrap(), Err(UpgradeError::Refused(_) | UpgradeError::Http(_))));
    answer
}

impl WebSocket {
    async fn write(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = poll_fn(|context| self.poll_write(context, rest)).await.unwrap();
            rest = &rest[written..];
        }
        poll_fn(|context| self.poll_flush(context)).await.unwrap();
    }

    /// What one call reads, which may have so many bytes.
    async fn read(&mut self, most: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; most];
        let mut buffer = ReadBuf::new(&mut bytes);
        let read = timeout(WITHIN, poll_fn(|context| self.poll_read(context, &mut buffer)));
        read.await.expect("nothing came")?;
        Ok(buffer.filled().to_vec())
    }

    /// So many bytes, in whatever portions.
    async fn exactly(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            let part = self.read(64 * 1024).await.unwrap();
            assert!(!part.is_empty(), "the end after {} of {count}", bytes.len());
            bytes.extend(part);
        }
        bytes
    }

    async fn shutdown(&mut self, reason: Option<CloseCode>) -> io::Result<()> {
        let shutdown = timeout(WITHIN, poll_fn(|context| self.poll_shutdown(context, reason)));
        shutdown.await.expect("the peer has closed, or nobody waits for it")
    }
}

/// Bytes of which no two neighbouring stretches are alike.
fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|n| u8::try_from((n * 31 + n / 251) % 256).unwrap()).collect()
}

#[tokio::test]
async fn a_request_that_leads_to_no_websocket_is_told_what_would() {
    let without = |line: &str| {
        let lines = REQUEST.split_inclusive("\r\n");
        lines.filter(|one| !one.starts_with(line)).collect::<String>()
    };
    for (request, status, says) in [
        (REQUEST.replace("/mqtt", "/"), "404", "/mqtt"),
        (REQUEST.replace("/mqtt", "/mqtt/x"), "404", "/mqtt"),
        (REQUEST.replace("/mqtt", "/ws?path=/mqtt"), "404", "/mqtt"),
        (without("Sec-WebSocket-Protocol"), "400", "Sec-WebSocket-Protocol: mqtt"),
        (REQUEST.replace(": mqtt\r", ": chat, amqp\r"), "400", "Sec-WebSocket-Protocol: mqtt"),
        (without("Upgrade"), "426", "websocket"),
        (without("Connection"), "426", "websocket"),
        (REQUEST.replace("Version: 13", "Version: 8"), "426", "13"),
        (without("Sec-WebSocket-Key"), "400", "Sec-WebSocket-Key"),
        (REQUEST.replace("GET", "PUT"), "405", "GET"),
        (REQUEST.replace("HTTP/1.1", "HTTP/1.0"), "400", "HTTP"),
    ] {
        let (head, body) = refused(request.as_bytes()).await;
        assert!(head.starts_with("http/1.") && head.contains(&format!(" {status} ")), "{request}: {head}");
        assert!(body.contains(says), "{request}: {body}");
    }
    let (head, _) = refused(without("Upgrade").as_bytes()).await;
    assert!(head.contains("upgrade: websocket"), "{head}");
}

#[tokio::test]
async fn a_request_has_a_bound_and_must_be_one_of_http() {
    let filler = format!("X-Filler: {}\r\n", "x".repeat(10_000));
    let long = REQUEST.replace("Host", &format!("{filler}Host"));
    assert!(refused(long.as_bytes()).await.0.starts_with("http/1.1 431"));
    let many = REQUEST.replace("Host", &format!("{}Host", "A: b\r\n".repeat(100)));
    assert!(refused(many.as_bytes()).await.0.starts_with("http/1.1 431"));
    // A device that takes the port for one of MQTT: a CONNECT of 3.1.1.
    let connect = b"\x10\x11\x00\x04MQTT\x04\x02\x00\x3c\x00\x05plain\r\n\r\n";
    assert!(refused(connect).await.0.starts_with("http/1.1 400"));
}

#[tokio::test]
async fn the_answer_proves_the_key_and_names_the_sub_protocol() {
    for (offered, chosen) in [("mqtt", "mqtt"), ("mqttv3.1", "mqttv3.1"), ("x, mqttv3.1, mqtt", "mqtt")] {
        let (stream, mut client) = streams().await;
        let request = REQUEST.replace(": mqtt\r", &format!(": {offered}\r"));
        client.send(request.replace("/mqtt ", "/mqtt?from=here ").as_bytes()).await;
        let (socket, (head, _)) = tokio::join!(upgrade(stream, MOST), client.answer());
        socket.unwrap();
        assert!(head.starts_with("http/1.1 101"), "{head}");
        // The example of the RFC, in lower case.
        assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{head}");
        assert!(head.contains(&format!("sec-websocket-protocol: {chosen}\r\n")), "{head}");
        assert!(
            head.contains("upgrade: websocket\r\n") && head.contains("connection: upgrade\r\n"),
            "{head}"
        );
    }
}

#[tokio::test]
async fn what_came_with_the_request_is_not_lost() {
    let (stream, mut client) = streams().await;
    let first = frame(FIN | BINARY, b"early");
    client.send(&[REQUEST.as_bytes(), &first].concat()).await;
    let (socket, _) = tokio::join!(upgrade(stream, MOST), client.answer());
    assert_eq!(socket.unwrap().exactly(5).await, b"early");
}

#[tokio::test]
async fn where_messages_frames_and_segments_end_makes_no_difference() {
    let (mut socket, mut client) = pair().await;
    let said = bytes(5_000);
    // Cut into frames of all sizes about the borders of their lengths, some of them parts of one message.
    for fragments in [1, 2, 7] {
        let (mut wire, mut rest, mut n) = (Vec::new(), said.as_slice(), 0);
        while !rest.is_empty() {
            let size = [1, 125, 126, 127, 0, 700][n % 6].min(rest.len());
            let (part, behind) = rest.split_at(size);
            rest = behind;
            let first = if n % fragments == 0 { BINARY } else { CONTINUATION };
            let last = n % fragments == fragments - 1 || rest.is_empty();
            wire.extend(frame(if last { FIN | first } else { first }, part));
            n += 1;
        }
        for segment in [1, 13, 4_096, usize::MAX] {
            let sending = async {
                for part in wire.chunks(segment.min(wire.len())) {
                    client.send(part).await;
                }
            };
            let ((), heard) = tokio::join!(sending, socket.exactly(said.len()));
            assert!(heard == said, "{fragments} frames a message, {segment} bytes a segment");
        }
    }
}

#[tokio::test]
async fn a_message_may_be_larger_than_what_is_read_at_once() {
    let (mut socket, mut client) = pair().await;
    let large = bytes(usize::try_from(MOST).unwrap());
    let behind = [frame(FIN | BINARY, &large), frame(FIN | BINARY, b"behind")].concat();
    let reading = async {
        let mut heard = Vec::new();
        while heard.len() < large.len() + 6 {
            let part = socket.read(1_000).await.unwrap();
            assert!(!part.is_empty() && part.len() <= 1_000);
            heard.extend(part);
        }
        heard
    };
    let (heard, ()) = tokio::join!(reading, client.send(&behind));
    assert!(heard == [large.as_slice(), b"behind"].concat());
}

#[tokio::test]
async fn what_a_large_message_needed_is_given_back() {
    let (mut socket, mut client) = pair().await;
    let large = bytes(200_000);
    let wire = frame(FIN | BINARY, &large);
    for round in 0..3 {
        let (heard, ()) = tokio::join!(socket.exactly(large.len()), client.send(&wire));
        assert!(heard == large);
        let mut buffer = [0; 16];
        let quiet = poll_fn(|context| Poll::Ready(socket.poll_read(context, &mut ReadBuf::new(&mut buffer))));
        assert!(quiet.await.is_pending());
        assert!(!socket.grown && socket.flow.held == 0 && socket.raw.capacity() == 0, "round {round}");
        let writing = socket.write(&large);
        let reading = async {
            let mut heard = 0;
            while heard < large.len() {
                heard += client.frame().await.unwrap().1.len();
            }
        };
        tokio::join!(writing, reading);
        assert!(socket.grown);
    }
}

#[tokio::test]
async fn half_a_frame_is_kept_while_the_other_half_is_waited_for() {
    let (mut socket, mut client) = pair().await;
    let (whole, half) = (frame(FIN | BINARY, &bytes(1_000)), frame(FIN | BINARY, b"the rest"));
    for cut in 1..half.len() {
        client.send(&[&whole, &half[..cut]].concat()).await;
        assert_eq!(socket.exactly(1_000).await, bytes(1_000));
        let mut buffer = [0; 16];
        let quiet = poll_fn(|context| Poll::Ready(socket.poll_read(context, &mut ReadBuf::new(&mut buffer))));
        assert!(quiet.await.is_pending(), "cut at {cut}");
        client.send(&half[cut..]).await;
        assert_eq!(socket.exactly(8).await, b"the rest", "cut at {cut}");
    }
}

#[tokio::test]
async fn a_ping_is_answered_also_amid_a_message() {
    let (mut socket, mut client) = pair().await;
    client.send(&[frame(BINARY, b"one "), frame(FIN | PING, b"there?")].concat()).await;
    client.send(&frame(FIN | CONTINUATION, b"message")).await;
    assert_eq!(socket.exactly(11).await, b"one message");
    assert_eq!(client.frame().await, Some((FIN | PONG, b"there?".to_vec())));
    // A pong that nobody asked for is no answer to anything.
    client.send(&[frame(FIN | PONG, b""), frame(FIN | BINARY, b"on")].concat()).await;
    assert_eq!(socket.exactly(2).await, b"on");
}

#[tokio::test]
async fn what_breaks_the_rules_is_told_so_and_ends() {
    let unmasked = [header(FIN | BINARY, 3, 0), b"abc".to_vec()].concat();
    let oversize = header(FIN | BINARY, usize::try_from(MOST).unwrap() + 1, 0x80);
    let half = vec![0; 200_000];
    for (name, sent, code) in [
        ("a text", frame(FIN | TEXT, b"{}"), 1003_u16),
        ("a text that is none", frame(FIN | TEXT, b"\xC3\x28"), 1003),
        ("a frame that is too large", [oversize, vec![1; 4]].concat(), 1009),
        ("a message that is", [frame(BINARY, &half), frame(CONTINUATION, &half)].concat(), 1009),
        ("no mask", unmasked, 1002),
        ("a reserved bit", frame(FIN | 0x40 | BINARY, b"abc"), 1002),
        ("a reserved kind", frame(FIN | 0x3, b"abc"), 1002),
        ("no beginning", frame(FIN | CONTINUATION, b"abc"), 1002),
        ("a beginning amid a message", [frame(BINARY, b"a"), frame(BINARY, b"b")].concat(), 1002),
        ("a ping in parts", frame(PING, b"abc"), 1002),
        ("a large ping", frame(FIN | PING, &[0; 126]), 1002),
    ] {
        let (mut socket, mut client) = pair().await;
        client.send(&frame(FIN | BINARY, b"before")).await;
        // More than is read: it is read past, or the reason would be lost with the socket's reset.
        client.send(&[sent, bytes(50_000)].concat()).await;
        assert_eq!(socket.exactly(6).await, b"before", "{name}");
        let error = socket.read(100).await.expect_err(name);
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{name}");
        assert!(socket.is_broken());
        let hearing = async {
            let told = client.frame().await;
            client.0.shutdown().await.unwrap();
            told
        };
        let (ended, told) = tokio::join!(socket.shutdown(Some(CloseCode::Normal)), hearing);
        ended.unwrap();
        assert_eq!(told, Some((FIN | CLOSE, code.to_be_bytes().to_vec())), "{name}");
    }
}

#[tokio::test]
async fn a_goodbye_of_the_peer_is_answered_and_is_the_end() {
    let (mut socket, mut client) = pair().await;
    client.send(&[frame(FIN | BINARY, b"last words"), frame(FIN | CLOSE, &[3, 232])].concat()).await;
    assert_eq!(socket.exactly(10).await, b"last words");
    assert!(socket.read(100).await.unwrap().is_empty(), "the end");
    assert!(!socket.is_broken());
    socket.shutdown(Some(CloseCode::Policy)).await.unwrap();
    assert_eq!(client.frame().await, Some((FIN | CLOSE, vec![3, 232])));
    assert_eq!(client.frame().await, None);
}

#[tokio::test]
async fn a_goodbye_of_ours_comes_behind_what_was_written() {
    let (mut socket, mut client) = pair().await;
    socket.write(b"disconnect").await;
    let hearing = async {
        let heard = [client.frame().await.unwrap(), client.frame().await.unwrap()];
        client.send(&frame(FIN | CLOSE, &[3, 233])).await;
        assert_eq!(client.frame().await, None, "the server closes first");
        client.0.shutdown().await.unwrap();
        heard
    };
    let (ended, heard) = tokio::join!(socket.shutdown(Some(CloseCode::Away)), hearing);
    ended.unwrap();
    assert_eq!(heard, [(FIN | BINARY, b"disconnect".to_vec()), (FIN | CLOSE, vec![3, 233])]);
}

#[tokio::test]
async fn a_cut_is_an_end_and_nobody_is_waited_for() {
    for reset in [false, true] {
        let (mut socket, mut client) = pair().await;
        client.send(&frame(BINARY, b"half")).await;
        if reset {
            client.0.set_zero_linger().unwrap();
        }
        drop(client);
        match socket.read(100).await {
            Ok(read) => assert!(read.is_empty()),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
        assert!(!socket.is_broken());
        // Whether it could still be flushed is of no interest: it does not wait.
        drop(socket.shutdown(None).await);
    }
}

#[tokio::test]
async fn a_peer_that_takes_nothing_is_behind_and_costs_no_more_than_the_bound() {
    let (mut socket, mut client) = pair().await;
    let mut buffer = [0; 1_000];
    // Pings alone, until the answers fill what the system keeps; many more after that.
    let pings = frame(FIN | PING, &[7; 125]).repeat(1_000);
    let (mut sent, mut after) = (0_usize, 0);
    while after < 100 {
        assert!(sent < 1_000, "it is never behind");
        // All of it is read, and nothing of it is MQTT: the reading has no result.
        let mut buffer = ReadBuf::new(&mut buffer);
        tokio::select! {
            read = poll_fn(|context| socket.poll_read(context, &mut buffer)) => panic!("{read:?}"),
            () = client.send(&pings) => {}
        }
        sent += 1;
        after += usize::from(socket.is_behind());
    }
    let pending = poll_fn(|context| Poll::Ready(socket.poll_write(context, b"more").is_pending()));
    assert!(pending.await, "and nothing else is taken for it");
    // It reads again: all that was kept is sent, and what is written now.
    socket.has_moved();
    let reading = async {
        let mut pongs = 0;
        loop {
            match client.frame().await.unwrap() {
                (first, payload) if first == FIN | PONG => {
                    assert_eq!(payload, [7; 125]);
                    pongs += 1;
                }
                other => break (pongs, other),
            }
        }
    };
    let ((), (pongs, other)) = tokio::join!(socket.write(b"more"), reading);
    assert_eq!(other, (FIN | BINARY, b"more".to_vec()));
    assert!(pongs < sent * 1_000, "of pings that came meanwhile only the last are answered");
    assert!(socket.has_moved() && !socket.is_behind());
}

#[tokio::test]
async fn what_is_larger_than_a_frame_goes_in_several_and_a_command_in_one() {
    let (mut socket, mut client) = pair().await;
    for (count, frames) in [(1, 1), (125, 1), (126, 1), (40_000, 1), (65_536, 1), (200_000, 4)] {
        let said = bytes(count);
        let reading = async {
            let mut heard = Vec::new();
            let mut seen = 0;
            while heard.len() < count {
                let (first, payload) = client.frame().await.unwrap();
                assert_eq!(first, FIN | BINARY);
                heard.extend(payload);
                seen += 1;
            }
            (heard, seen)
        };
        let ((), (heard, seen)) = tokio::join!(socket.write(&said), reading);
        assert!(heard == said && seen == frames, "{count} bytes in {seen} frames");
    }
}

#[tokio::test]
async fn who_is_not_known_yet_has_a_smaller_bound() {
    let (stream, mut client) = streams().await;
    client.send(REQUEST.as_bytes()).await;
    let (socket, _) = tokio::join!(upgrade(stream, 1_000), client.answer());
    let mut socket = socket.unwrap();
    client.send(&frame(FIN | BINARY, &bytes(1_000))).await;
    assert_eq!(socket.exactly(1_000).await, bytes(1_000));
    socket.take_messages_of(MOST);
    client.send(&frame(FIN | BINARY, &bytes(1_001))).await;
    assert_eq!(socket.exactly(1_001).await, bytes(1_001));
}
