use proptest::prelude::*;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::*;

/// A header of version 1, by the standard's text.
fn line(source: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, into) = (source.ip(), to.ip());
    format!("PROXY {family} {from} {into} {} {}\r\n", source.port(), to.port()).into_bytes()
}

/// One of version 2.
fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend([command, family]);
    bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// One of version 2 that names these addresses, and has `more` behind them.
fn proxied(source: SocketAddr, to: SocketAddr, more: &[u8]) -> Vec<u8> {
    let mut body = octets(source.ip());
    body.extend(octets(to.ip()));
    body.extend(source.port().to_be_bytes());
    body.extend(to.port().to_be_bytes());
    body.extend_from_slice(more);
    binary(0x21, if source.is_ipv4() { 0x11 } else { 0x21 }, &body)
}

/// Feeds `bytes` as a socket would bring them, at most `piece` at a time: what was said, and how much of it was taken.
fn fed(bytes: &[u8], piece: usize) -> Result<(Option<SocketAddr>, usize), HeaderError> {
    let mut taken = 0;
    loop {
        assert!(taken <= MOST);
        let (begun, rest) = bytes.split_at(taken);
        let there = &rest[..rest.len().min(piece)];
        taken += match next(begun)? {
            Next::Whole => return Ok((source(begun)?, taken)),
            // The socket is closed.
            _ if there.is_empty() => return Err(HeaderError::None),
            Next::Bytes(missing) => there.len().min(missing),
            Next::Line(most) => {
                let seen = &there[..there.len().min(most)];
                seen.iter().position(|byte| *byte == b'\n').map_or(seen.len(), |end| end + 1)
            }
        };
    }
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn what_names_no_device_leaves_the_connection_its_own_address() {
    let whole = |bytes: Vec<u8>| {
        let (said, taken) = fed(&bytes, usize::MAX).unwrap();
        assert_eq!(taken, bytes.len());
        said
    };
    assert_eq!(whole(b"PROXY UNKNOWN\r\n".to_vec()), None);
    assert_eq!(whole(b"PROXY UNKNOWN 1.2.3.4 5.6.7.8 1 2\r\n".to_vec()), None);
    // LOCAL: with nothing, with addresses, and with less than the addresses of its family take.
    assert_eq!(whole(binary(0x20, 0, b"")), None);
    assert_eq!(whole(binary(0x20, 0x11, &[7; 12])), None);
    assert_eq!(whole(binary(0x20, 0x11, &[7; 3])), None);
    // Of no family, of files, of datagrams.
    assert_eq!(whole(binary(0x21, 0, &[7; 12])), None);
    assert_eq!(whole(binary(0x21, 0x31, &[7; 216])), None);
    assert_eq!(whole(binary(0x21, 0x12, &[7; 12])), None);
}

#[test]
fn what_is_no_header_is_refused_as_soon_as_that_is_known() {
    for (bytes, error) in [
        (&b"\x10\x11\0\x04MQTT"[..], HeaderError::None),
        (b"GET /mqtt HTTP/1.1", HeaderError::None),
        (b"PROXYING", HeaderError::None),
        (b"proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n", HeaderError::None),
        (b"\r\n\r\n\0\r\nQUIT\r", HeaderError::None),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", HeaderError::Unreadable),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n", HeaderError::Unreadable),
        (b"PROXY TCP4 ::1 ::2 1 2\r\n", HeaderError::Unreadable),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n", HeaderError::Unreadable),
        (b"PROXY UNKNOWN\rx\n", HeaderError::Unreadable),
        (&binary(0x22, 0x11, &[0; 12]), HeaderError::Unreadable),
        (&binary(0x11, 0x11, &[0; 12]), HeaderError::Unreadable),
        (&binary(0x21, 0x41, &[0; 12]), HeaderError::Unreadable),
        (&binary(0x21, 0x21, &[0; 12]), HeaderError::Unreadable),
        (&[&b"PROXY UNKNOWN "[..], &[b'x'; 107]].concat(), HeaderError::TooLong(LINE_MOST)),
        (&binary(0x21, 0x11, &[0; MOST]), HeaderError::TooLong(MOST)),
    ] {
        assert_eq!(fed(bytes, 1), Err(error), "{bytes:?}");
        assert_eq!(fed(bytes, usize::MAX), Err(error), "{bytes:?}");
    }
}

#[test]
fn networks_are_read_and_ipv4_is_found_in_ipv6_clothes() {
    let balancers = |texts: &[&str]| {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        Balancers::of(&texts)
    };
    let some = balancers(&["10.0.0.0/8", " 192.0.2.7", "2001:db8::/32"]).unwrap().unwrap();
    for (address, is_one) in [
        ("10.9.8.7:1", true),
        ("[::ffff:10.9.8.7]:1", true),
        ("11.0.0.1:1", false),
        ("192.0.2.7:1", true),
        ("192.0.2.8:1", false),
        ("[2001:db8::7]:1", true),
        ("[2001:db9::7]:1", false),
    ] {
        assert_eq!(some.has(at(address)), is_one, "{address}");
    }
    assert!(balancers(&[]).unwrap().is_none());
    for wrong in ["", "10.0.0.0/33", "balancer.example.com", "10.0.0.0/8;10.0.0.1"] {
        assert!(matches!(balancers(&[wrong]), Err(NetworksError::Unreadable { .. })), "{wrong}");
    }
    assert_eq!(balancers(&["::1"; 65]).map(drop).map_err(|error| error.to_string()).unwrap_err(), {
        "at most 64 networks are taken, not 65"
    });
}

/// A connection, and the other end of it.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let (client, accepted) = tokio::join!(client, listener.accept());
    (client.unwrap(), accepted.unwrap().0)
}

#[tokio::test]
async fn a_socket_loses_the_header_and_nothing_that_follows() {
    let (device, to) = (at("203.0.113.9:4711"), at("192.0.2.1:1883"));
    let long = [0xEE; 1000];
    for header in [line(device, to), proxied(device, to, b""), proxied(device, to, &long)] {
        let (mut client, mut server) = pair().await;
        client.write_all(&[&header[..], b"\x10\x0Aafter\nit"].concat()).await.unwrap();
        assert_eq!(read(&mut server).await.unwrap(), Some(device));
        let mut rest = [0; 10];
        server.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"\x10\x0Aafter\nit");
        // The same again, in pieces that each are read before the next is sent.
        client.set_nodelay(true).unwrap();
        let reading = async {
            let said = read(&mut server).await.unwrap();
            server.read_exact(&mut rest[..1]).await.unwrap();
            said
        };
        let writing = async {
            for byte in header.iter().chain(b"M") {
                client.write_all(&[*byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let (said, ()) = tokio::join!(reading, writing);
        assert_eq!((said, rest[0]), (Some(device), b'M'));
    }
}

#[tokio::test]
async fn a_connection_that_was_never_used_is_told_from_one_that_was_cut() {
    let (client, mut server) = pair().await;
    drop(client);
    assert!(matches!(read(&mut server).await, Err(ProxyError::Unused)));
    for begun in [&b"PROXY TCP4"[..], b"\r\n\r\n\0"] {
        let (mut client, mut server) = pair().await;
        client.write_all(begun).await.unwrap();
        drop(client);
        assert!(matches!(read(&mut server).await, Err(ProxyError::Cut(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_has_a_deadline() {
    let (mut client, mut server) = pair().await;
    client.write_all(b"PROXY TCP4 ").await.unwrap();
    assert!(matches!(read(&mut server).await, Err(ProxyError::Late)));
}

fn addresses() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    let v4 = any::<([u8; 4], u16, [u8; 4], u16)>().prop_map(|(source, from, to, into)| {
        (SocketAddr::from((source, from)), SocketAddr::from((to, into)))
    });
    let v6 = any::<([u8; 16], u16, [u8; 16], u16)>().prop_map(|(source, from, to, into)| {
        (SocketAddr::from((source, from)), SocketAddr::from((to, into)))
    });
    prop_oneof![v4, v6]
}

proptest! {
    #[test]
    fn whose_connection_it_is_arrives_in_whatever_pieces_it_comes(
        (device, to) in addresses(),
        more in proptest::collection::vec(any::<u8>(), 0..300),
        after in proptest::collection::vec(any::<u8>(), 0..64),
        piece in 1_usize..400,
    ) {
        for header in [line(device, to), proxied(device, to, &more)] {
            let taken = header.len();
            let bytes = [header, after.clone()].concat();
            prop_assert_eq!(fed(&bytes, piece), Ok((Some(device), taken)));
        }
    }

    #[test]
    fn any_bytes_are_read_within_the_bound(
        version in 0..3,
        bytes in proptest::collection::vec(any::<u8>(), 0..5000),
        piece in 1_usize..5000,
    ) {
        let begin: &[u8] = match version { 0 => b"", 1 => b"PROXY ", _ => b"\r\n\r\n\0\r\nQUIT\n" };
        let bytes = [begin, &bytes].concat();
        // Which looks after it.
        let _ = fed(&bytes, piece);
    }
}
