//! `stoker device import`: part by part, so that a long file is neither held nor lost at once.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::api::{Api, not_json};
use super::failure::Failure;
use super::output::Output;
use super::table::{Rows, plain};

/// Lines of one request. Tokens are shown once, as soon as their request is over: what is cut off loses those of one
/// request at most.
const PART_LINES: usize = 1_000;
/// Bytes after which a request is full, whatever its lines.
const PART_BYTES: usize = 4 * 1024 * 1024;
/// More than the longest line that the API takes. It refuses a longer one by its number, without needing all of it.
const LINE_MOST: u64 = 128 * 1024;

/// Lines whose refusal is said one by one. A file of another form has as many mistakes as lines.
const SAID: usize = 20;

const EXAMPLES: &str = "\
Each line is a device as the API takes it; only \"id\" is needed:
  {\"id\":\"boiler-7\",\"model\":\"K200\",\"site\":\"north\",\"tags\":[\"heating\"],\"expected_interval_s\":60}

Examples:
  stoker device import fleet.ndjson
  stoker device import fleet.ndjson --skip-existing --output json > tokens.json
  jq -c '.[]' fleet.json | stoker device import -";

/// Make many devices, one JSON object a line
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Import {
    /// The file; - is standard input
    file: PathBuf,
    /// Count devices that exist already as done, so that an import can be repeated
    #[arg(long)]
    skip_existing: bool,
}

/// What became of an import.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Imported {
    /// How many devices were made.
    pub(crate) created: u64,
    tokens: BTreeMap<String, String>,
    pub(crate) failed: Vec<FailedLine>,
}

/// A line of which no device was made. The problem is passed on whole.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FailedLine {
    line: u64,
    id: Option<String>,
    problem: Value,
}

impl FailedLine {
    fn said(&self) -> String {
        let id = self.id.as_deref().map(|id| format!(" ({id})")).unwrap_or_default();
        let detail = self.problem.get("detail").and_then(Value::as_str).unwrap_or_default();
        plain(&format!("line {}{id}: {detail}", self.line))
    }

    /// The device's id and what is wrong with it.
    pub(crate) fn reason(&self) -> String {
        let detail = self.problem.get("detail").and_then(Value::as_str).unwrap_or_default();
        plain(&format!("{}: {detail}", self.id.as_deref().unwrap_or_default()))
    }

    /// True when the device is there already.
    pub(crate) fn exists(&self) -> bool {
        self.problem.get("type").and_then(Value::as_str) == Some("urn:stoker:problem:already_exists")
    }
}

/// Lines of a file, a part at a time.
struct Parts {
    input: Box<dyn BufRead>,
    shown: String,
    begun: bool,
}

impl Parts {
    fn open(file: &Path) -> Result<Self, Failure> {
        if file.as_os_str() == "-" {
            let shown = "standard input".to_owned();
            return Ok(Self { input: Box::new(io::stdin().lock()), shown, begun: false });
        }
        let shown = file.display().to_string();
        let input = BufReader::new(File::open(file).map_err(|error| unreadable(&shown, &error))?);
        Ok(Self { input: Box::new(input), shown, begun: false })
    }

    /// The next lines, and how many these are; none at the end.
    fn next(&mut self) -> Result<Option<(Vec<u8>, u64)>, Failure> {
        let (mut part, mut count) = (Vec::new(), 0);
        while count < PART_LINES && part.len() < PART_BYTES {
            let before = part.len();
            let mut line = io::Read::take(&mut self.input, LINE_MOST);
            let read = line.read_until(b'\n', &mut part).map_err(|error| unreadable(&self.shown, &error))?;
            if read == 0 {
                break;
            }
            if part.last() != Some(&b'\n') {
                self.skip_rest()?;
                part.push(b'\n');
            }
            count += 1;
            if !std::mem::replace(&mut self.begun, true) {
                begin(&mut part, before, &self.shown)?;
            }
        }
        Ok((count > 0).then_some((part, count as u64)))
    }

    /// Passes over the rest of a line that is too long.
    fn skip_rest(&mut self) -> Result<(), Failure> {
        self.input.skip_until(b'\n').map(drop).map_err(|error| unreadable(&self.shown, &error))
    }
}

fn unreadable(shown: &str, error: &io::Error) -> Failure {
    Failure::failed(format!("failed to read {shown}: {error}"))
}

/// Takes the mark off that some editors begin a file with, and says so when the file is of another form.
fn begin(part: &mut Vec<u8>, from: usize, shown: &str) -> Result<(), Failure> {
    if part[from..].starts_with(b"\xef\xbb\xbf") {
        part.drain(from..from + 3);
    }
    if part[from..].trim_ascii_start().starts_with(b"[") {
        let hint = "jq -c '.[]' FILE | stoker device import - makes lines of an array";
        let what = format!("{shown} begins with [, where one JSON object a line was expected");
        return Err(Failure::with_hint(what, hint));
    }
    Ok(())
}

/// Shows tokens part by part. The JSON is one document once it is ended, and what was written of it before is not lost.
struct Tokens<'a> {
    output: &'a Output,
    rows: Rows,
    begun: bool,
}

impl<'a> Tokens<'a> {
    fn new(output: &'a Output) -> Self {
        Self { output, rows: Rows::new(&["ID", "TOKEN (SHOWN THIS ONCE)"]), begun: false }
    }

    fn show(&mut self, tokens: BTreeMap<String, String>) -> Result<(), Failure> {
        if tokens.is_empty() {
            return Ok(());
        }
        if self.output.is_json() {
            return self.output.write(&members(&mut self.begun, &tokens));
        }
        tokens.into_iter().for_each(|(id, token)| self.rows.push(vec![id, token]));
        self.output.rows(&mut self.rows)
    }

    fn end(&self, created: u64, failed: &[FailedLine]) -> Result<(), Failure> {
        if self.output.is_json() { self.output.print(&rest(self.begun, created, failed)?) } else { Ok(()) }
    }
}

/// The document so far, or what comes next of it. Each token is a whole line: what was cut off can be read by lines.
fn members(begun: &mut bool, tokens: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for (id, token) in tokens {
        text.push_str(if std::mem::replace(begun, true) { "," } else { "{\"tokens\":{\n" });
        text.push_str(&format!("{}:{}\n", Value::from(id.as_str()), Value::from(token.as_str())));
    }
    text
}

/// What closes the document.
fn rest(begun: bool, created: u64, failed: &[FailedLine]) -> Result<String, Failure> {
    let failed = serde_json::to_string(failed).map_err(|_| not_json())?;
    let so_far = if begun { "" } else { "{\"tokens\":{" };
    Ok(format!("{so_far}}},\"created\":{created},\"failed\":{failed}}}"))
}

/// Tokens of so many devices were made and could not be shown. Going on would lose those of the next ones, too.
fn lost(devices: usize, why: &Failure) -> Failure {
    Failure::with_hint(
        format!("tokens lost: {devices}, those of the devices that were made last: {why}"),
        "`stoker device change ID --renew-token` makes a device another one",
    )
}

impl Import {
    pub(super) async fn run(self, api: &Api, output: &Output) -> Result<(), Failure> {
        let mut parts = Parts::open(&self.file)?;
        let mut tokens = Tokens::new(output);
        let (mut whole, mut known, mut lines) = (Imported::default(), 0, 0);
        let stopped = loop {
            let (part, count) = match parts.next() {
                Ok(Some(part)) => part,
                Ok(None) => break None,
                Err(failure) => break Some(failure),
            };
            let mut imported = match api.import(part).await {
                Ok(imported) => imported,
                Err(failure) => break Some(failure),
            };
            // First of all: nobody can be shown them again.
            let made = imported.tokens.len();
            let shown = tokens.show(std::mem::take(&mut imported.tokens));
            if self.skip_existing {
                let before = imported.failed.len();
                imported.failed.retain(|failed| !failed.exists());
                known += before - imported.failed.len();
            }
            for failed in &mut imported.failed {
                failed.line += lines;
            }
            let room = SAID.saturating_sub(whole.failed.len());
            imported.failed.iter().take(room).for_each(|failed| eprintln!("{}", failed.said()));
            lines += count;
            whole.created += imported.created;
            whole.failed.append(&mut imported.failed);
            if let Err(failure) = shown {
                break Some(lost(made, &failure));
            }
        };
        let ended = tokens.end(whole.created, &whole.failed);
        if whole.failed.len() > SAID {
            let more = whole.failed.len() - SAID;
            eprintln!("and {more} lines more; --output json holds the reason of each");
        }
        if lines > 0 || stopped.is_none() {
            let known = if self.skip_existing { format!(", {known} there already") } else { String::new() };
            eprintln!("{} made{known}, {} failed", whole.created, whole.failed.len());
        }
        if let Some(failure) = stopped {
            return Err(match lines {
                0 => failure,
                _ => failure.and_hint(format!(
                    "the first {lines} lines were worked through; --skip-existing lets you repeat all of them"
                )),
            });
        }
        // Whoever does not get all of the answer is not told that it is done.
        ended.map_err(|failure| {
            let what = format!("all {lines} lines were worked through, and the end of the answer is lost");
            Failure::failed(format!("{what}: {failure}"))
        })?;
        if whole.failed.is_empty() {
            return Ok(());
        }
        let what = "not every line made a device";
        Err(match whole.failed.iter().any(FailedLine::exists) {
            true => Failure::with_hint(what, "--skip-existing counts devices that exist already as done"),
            false => Failure::failed(what),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_one_document_however_many_parts_they_come_in() {
        for (parts, whole) in [
            (&[][..], r#"{"tokens":{},"created":2,"failed":[]}"#),
            (&[&["a"][..]], r#"{"tokens":{"a":"stk_a"},"created":2,"failed":[]}"#),
            (
                &[&["a", "b"][..], &["c\""]],
                r#"{"tokens":{"a":"stk_a","b":"stk_b","c\"":"stk_c\""},"created":2,"failed":[]}"#,
            ),
        ] {
            let (mut begun, mut text) = (false, String::new());
            for part in parts {
                let made = part.iter().map(|id| ((*id).to_owned(), format!("stk_{id}"))).collect();
                text.push_str(&members(&mut begun, &made));
                assert!(text.ends_with('\n'), "each line is whole: {text}");
            }
            text.push_str(&rest(begun, 2, &[]).unwrap());
            let (read, whole): (Value, Value) =
                (serde_json::from_str(&text).unwrap(), serde_json::from_str(whole).unwrap());
            assert_eq!(read, whole, "{text}");
        }
    }

    fn parts(text: &[u8]) -> Parts {
        Parts { input: Box::new(io::Cursor::new(text.to_vec())), shown: "x".to_owned(), begun: false }
    }

    #[test]
    fn a_file_is_cut_between_lines() {
        let text: String = (0..2_500).map(|n| format!("{{\"id\":\"d-{n}\"}}\n")).collect();
        let mut parts = parts(text.as_bytes());
        let (mut all, mut counts) = (Vec::new(), Vec::new());
        while let Some((part, count)) = parts.next().unwrap() {
            all.extend(part);
            counts.push(count);
        }
        assert_eq!(counts, [1_000, 1_000, 500]);
        assert_eq!(all, text.as_bytes());
    }

    #[test]
    fn a_line_that_is_too_long_is_still_one_line() {
        let text = ["{\"id\":\"", &"x".repeat(400_000), "\"}\n{\"id\":\"next\"}"].concat();
        let (part, count) = parts(text.as_bytes()).next().unwrap().unwrap();
        assert_eq!((count, part.iter().filter(|byte| **byte == b'\n').count()), (2, 2));
        assert!(part.len() < 140_000 && part.ends_with(b"\n{\"id\":\"next\"}\n"));
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line_and_an_array_is_said_to_be_one() {
        assert_eq!(parts(b"\xef\xbb\xbf{}\n").next().unwrap().unwrap().0, b"{}\n");
        let Failure::Failed { hint: Some(hint), .. } = parts(b" [{}]").next().unwrap_err() else { panic!() };
        assert!(hint.contains("jq"));
        assert!(parts(b"").next().unwrap().is_none());
    }
}
