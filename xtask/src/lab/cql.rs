//! As much of Cassandra's protocol as it takes to see that a cluster is up. A driver would bring a hundred crates to the
//! first thing that a fresh clone builds.
//!
//! <https://cassandra.apache.org/doc/latest/cassandra/_attachments/native_protocol_v4.html>

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, bail};

use super::ready::connect;

const REQUEST: u8 = 0x04;
const RESPONSE: u8 = 0x84;
const ERROR: u8 = 0x00;
const STARTUP: u8 = 0x01;
const READY: u8 = 0x02;
const QUERY: u8 = 0x07;
const RESULT: u8 = 0x08;
const RESULT_ROWS: u32 = 2;
const FLAG_MORE_PAGES: u32 = 0x02;
const FLAG_NO_METADATA: u32 = 0x04;
/// Nothing that is asked here has a longer answer.
const LONGEST_ANSWER: usize = 64 * 1024;

/// How many nodes have to answer.
#[derive(Clone, Copy)]
#[repr(u16)]
pub(super) enum Consistency {
    One = 1,
    All = 5,
}

/// A connection to one node.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
}

impl Connection {
    pub(super) fn open(address: SocketAddr) -> Result<Self> {
        let mut connection = Self { stream: connect(address)? };
        let mut body = 1_u16.to_be_bytes().to_vec();
        for word in ["CQL_VERSION", "3.0.0"] {
            body.extend(u16::try_from(word.len()).context("a long word")?.to_be_bytes());
            body.extend(word.as_bytes());
        }
        match connection.ask(STARTUP, &body)? {
            (READY, _) => Ok(connection),
            (other, _) => bail!("the node answered STARTUP with opcode {other:#04x}"),
        }
    }

    /// The rows of a query with a short answer: each cell as its bytes.
    pub(super) fn query(&mut self, cql: &str, consistency: Consistency) -> Result<Vec<Vec<Option<Vec<u8>>>>> {
        let mut body = u32::try_from(cql.len()).context("a long query")?.to_be_bytes().to_vec();
        body.extend(cql.as_bytes());
        body.extend((consistency as u16).to_be_bytes());
        body.push(0x02); // without the columns' names and types
        match self.ask(QUERY, &body)? {
            (RESULT, body) => rows(&body).with_context(|| format!("failed to read the answer to `{cql}`")),
            (other, _) => bail!("the node answered `{cql}` with opcode {other:#04x}"),
        }
    }

    /// Sends one frame and returns the opcode and body of the answer.
    fn ask(&mut self, opcode: u8, body: &[u8]) -> Result<(u8, Vec<u8>)> {
        // version, flags, stream (two bytes), opcode, length
        let mut frame = vec![REQUEST, 0, 0, 0, opcode];
        frame.extend(u32::try_from(body.len()).context("a long request")?.to_be_bytes());
        frame.extend(body);
        self.stream.write_all(&frame).context("failed to send a request")?;
        let mut header = [0; 9];
        self.stream.read_exact(&mut header).context("failed to read an answer")?;
        let [version, flags, _, _, opcode, length @ ..] = header;
        if version != RESPONSE || flags != 0 {
            bail!(
                "what answers there does not speak CQL as asked: version {version:#04x}, flags {flags:#04x}"
            );
        }
        let length = usize::try_from(u32::from_be_bytes(length)).context("a long answer")?;
        if length > LONGEST_ANSWER {
            bail!("an answer of {length} bytes is longer than the {LONGEST_ANSWER} that are read here");
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).context("failed to read an answer")?;
        if opcode == ERROR {
            let mut rest = body.as_slice();
            let code = int(&mut rest)?;
            let length = take(&mut rest, 2)?;
            let message = take(&mut rest, usize::from(length[0]) << 8 | usize::from(length[1]))?;
            bail!("the node says (error {code:#06x}): {}", String::from_utf8_lossy(message));
        }
        Ok((opcode, body))
    }
}

/// The cells of a result without metadata.
fn rows(body: &[u8]) -> Result<Vec<Vec<Option<Vec<u8>>>>> {
    let mut rest = body;
    if int(&mut rest)? != RESULT_ROWS {
        return Ok(Vec::new());
    }
    let (flags, columns) = (int(&mut rest)?, int(&mut rest)?);
    if flags & FLAG_NO_METADATA == 0 || flags & FLAG_MORE_PAGES != 0 {
        bail!("a result with flags {flags:#x}");
    }
    let count = int(&mut rest)?;
    let mut rows = Vec::new();
    for _ in 0..count {
        let mut row = Vec::new();
        for _ in 0..columns {
            // a negative length stands for null
            row.push(match i32::from_be_bytes(int(&mut rest)?.to_be_bytes()) {
                length @ 0.. => {
                    Some(take(&mut rest, usize::try_from(length).context("a long cell")?)?.to_vec())
                }
                _ => None,
            });
        }
        rows.push(row);
    }
    Ok(rows)
}

fn int(rest: &mut &[u8]) -> Result<u32> {
    let (int, after) = rest.split_first_chunk::<4>().context("it ends early")?;
    *rest = after;
    Ok(u32::from_be_bytes(*int))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length).context("it ends early")?;
    *rest = after;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// A server that sends one canned answer after each request, and what it was sent.
    fn server(answers: Vec<Vec<u8>>) -> (SocketAddr, thread::JoinHandle<Vec<Vec<u8>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let run = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            for answer in answers {
                let mut header = [0; 9];
                stream.read_exact(&mut header).unwrap();
                let length = u32::from_be_bytes(header[5..].try_into().unwrap());
                let mut body = vec![0; usize::try_from(length).unwrap()];
                stream.read_exact(&mut body).unwrap();
                asked.push([header.as_slice(), &body].concat());
                stream.write_all(&answer).unwrap();
            }
            asked
        });
        (address, run)
    }

    fn frame(opcode: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[RESPONSE, 0, 0, 0, opcode], length.as_slice(), body].concat()
    }

    #[test]
    fn rows_come_back_as_cells() {
        let body = [
            &[0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0, 0, 2][..],
            &[0, 0, 0, 1, b'a', 0xff, 0xff, 0xff, 0xff],
            &[0, 0, 0, 0, 0, 0, 0, 2, b'b', b'c'],
        ]
        .concat();
        let (address, run) = server(vec![frame(READY, &[]), frame(RESULT, &body)]);
        let rows = Connection::open(address).unwrap().query("SELECT x", Consistency::All).unwrap();
        assert_eq!(rows, [vec![Some(b"a".to_vec()), None], vec![Some(Vec::new()), Some(b"bc".to_vec())]]);
        let asked = run.join().unwrap();
        assert_eq!(asked[0], b"\x04\0\0\0\x01\0\0\0\x16\0\x01\0\x0bCQL_VERSION\0\x053.0.0");
        assert_eq!(asked[1], b"\x04\0\0\0\x07\0\0\0\x0f\0\0\0\x08SELECT x\0\x05\x02");
    }

    #[test]
    fn what_a_node_complains_of_is_told() {
        let complaint = b"\0\0\x10\0\0\x06no way";
        let (address, _run) = server(vec![frame(READY, &[]), frame(ERROR, complaint)]);
        let error = Connection::open(address).unwrap().query("SELECT x", Consistency::One).unwrap_err();
        assert!(error.to_string().contains("0x1000): no way"), "{error}");
    }

    #[test]
    fn answers_that_are_cut_too_long_or_of_another_protocol_are_refused() {
        for (answer, expected) in [
            (frame(READY, &[])[..5].to_vec(), "failed to read"),
            (b"HTTP/1.1 400 Bad Request".to_vec(), "does not speak CQL"),
            ([&[RESPONSE, 0, 0, 0, READY][..], &[0xff; 4]].concat(), "longer than"),
        ] {
            let (address, run) = server(vec![answer]);
            let error = Connection::open(address).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            run.join().unwrap();
        }
        assert!(rows(&[0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 9]).is_err());
    }
}
