//! As much of AMQP 0-9-1 as it takes to see that RabbitMQ lets somebody in: the handshake up to the answer to the log-in.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, bail};

use super::ready::connect;

/// The account that a new RabbitMQ has; it may come from this machine only.
pub(super) const ACCOUNT: (&str, &str) = ("guest", "guest");

const GREETING: &[u8; 8] = b"AMQP\x00\x00\x09\x01";
const METHOD_FRAME: u8 = 1;
const FRAME_END: u8 = 0xce;
/// Class and method, each of two bytes.
const START: [u8; 4] = [0, 10, 0, 10];
const START_OK: [u8; 4] = [0, 10, 0, 11];
const TUNE: [u8; 4] = [0, 10, 0, 30];
/// RabbitMQ's first frame tells of itself in half a kilobyte.
const LONGEST_FRAME: usize = 64 * 1024;

/// Succeeds when the server at `address` speaks AMQP and takes the account.
pub(super) fn log_in(address: SocketAddr) -> Result<()> {
    let mut stream = connect(address)?;
    stream.write_all(GREETING).context("failed to send the greeting")?;
    expect(&mut stream, START, "the greeting")?;
    stream.write_all(&start_ok()?).context("failed to send the log-in")?;
    expect(&mut stream, TUNE, "the log-in")
}

fn expect(stream: &mut TcpStream, method: [u8; 4], after: &str) -> Result<()> {
    let got = read_method(stream).with_context(|| format!("failed to read the answer to {after}"))?;
    if got != method {
        bail!("the answer to {after} is the method {got:?}, not {method:?}");
    }
    Ok(())
}

/// The class and method of the next frame.
fn read_method(stream: &mut TcpStream) -> Result<[u8; 4]> {
    let mut header = [0; 7];
    stream.read_exact(&mut header)?;
    let [kind, _, _, size @ ..] = header;
    let size = usize::try_from(u32::from_be_bytes(size))?;
    if kind != METHOD_FRAME || size > LONGEST_FRAME {
        bail!("what answers there does not speak AMQP 0-9-1 as asked: it begins with {header:?}");
    }
    // the frame's end is one byte more
    let mut payload = vec![0; size + 1];
    stream.read_exact(&mut payload)?;
    if payload.last() != Some(&FRAME_END) {
        bail!("a frame without its end");
    }
    payload.first_chunk().copied().context("a frame without a method")
}

/// The log-in: no properties of the client, PLAIN with the account, no matter the language.
fn start_ok() -> Result<Vec<u8>> {
    let response = format!("\0{}\0{}", ACCOUNT.0, ACCOUNT.1);
    let mut payload = START_OK.to_vec();
    payload.extend([0; 4]);
    payload.extend(b"\x05PLAIN");
    payload.extend(u32::try_from(response.len())?.to_be_bytes());
    payload.extend(response.as_bytes());
    payload.extend(b"\x05en_US");
    let mut frame = vec![METHOD_FRAME, 0, 0];
    frame.extend(u32::try_from(payload.len())?.to_be_bytes());
    frame.extend(payload);
    frame.push(FRAME_END);
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    fn frame(method: [u8; 4]) -> Vec<u8> {
        [&[METHOD_FRAME, 0, 0, 0, 0, 0, 4][..], &method, &[FRAME_END]].concat()
    }

    /// What `log_in` makes of a server that answers the greeting and the log-in so.
    fn outcome(first: Vec<u8>, second: Option<Vec<u8>>) -> Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut greeting = [0; 8];
            stream.read_exact(&mut greeting).unwrap();
            assert_eq!(&greeting, GREETING);
            stream.write_all(&first).unwrap();
            if let Some(second) = second {
                let mut said = vec![0; start_ok().unwrap().len()];
                stream.read_exact(&mut said).unwrap();
                assert!(said.ends_with(b"\0guest\0guest\x05en_US\xce"));
                stream.write_all(&second).unwrap();
            }
        });
        let outcome = log_in(address);
        server.join().unwrap();
        outcome
    }

    #[test]
    fn who_is_let_in_is_in() {
        outcome(frame(START), Some(frame(TUNE))).unwrap();
    }

    #[test]
    fn a_server_that_hangs_up_at_the_log_in_did_not_let_us_in() {
        let error = outcome(frame(START), Some(Vec::new())).unwrap_err();
        assert!(error.to_string().contains("the log-in"), "{error:#}");
    }

    #[test]
    fn what_speaks_something_else_is_refused() {
        for first in [b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), b"AMQP\x03\x01\x00\x00".to_vec(), frame(TUNE)] {
            assert!(outcome(first, None).is_err());
        }
    }
}
