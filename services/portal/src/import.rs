//! `/devices:import`: many devices at once, one a line.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use bytes::BytesMut;
use futures_util::stream::{FuturesUnordered, StreamExt};
use http::header;
use serde::Serialize;
use serde_json::Value;
use stoker_proto::problem::ProblemKind;
use tokio::time::{Instant, timeout, timeout_at};
use utoipa::ToSchema;

use crate::App;
use crate::devices::NewDevice;
use crate::extract::parse_json;
use crate::problem::Problem;

/// The longest line. A device with as many tags as it may have needs less.
const LONGEST_LINE: usize = 64 * 1024;
/// The most lines of one import: it bounds the answer, which may hold a token for each.
const MAX_LINES: usize = 50_000;
/// How many devices are being made at once.
const AT_ONCE: usize = 32;
/// How long the next piece of the body may take to come.
const IDLE: Duration = Duration::from_secs(30);
/// How long all of it may take: fifty thousand lines at a hundred a second.
const LONGEST: Duration = Duration::from_secs(600);

/// How an import went.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Imported {
    /// How many devices were made.
    created: usize,
    /// The tokens that the platform made, by device. They are shown this once.
    tokens: BTreeMap<String, String>,
    /// The lines of which no device was made. All others are there.
    failed: Vec<FailedLine>,
}

/// A line of which no device was made.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FailedLine {
    /// Which line, from 1.
    line: usize,
    /// The id that stands on it, where one could be read.
    #[schema(required = true)]
    id: Option<String>,
    /// Why.
    problem: Problem,
}

/// A whole line of the body, or what came in its place.
enum Line {
    Text(Vec<u8>),
    TooLong,
}

/// Cuts a body into lines as it comes.
struct Lines {
    body: axum::body::BodyDataStream,
    buffer: BytesMut,
    /// Within a line that is too long: what comes is dropped up to its end.
    dropping: bool,
    ended: bool,
}

impl Lines {
    fn new(body: Body) -> Self {
        Self { body: body.into_data_stream(), buffer: BytesMut::new(), dropping: false, ended: false }
    }

    /// The next line; none at the end. Losing the future between two calls loses nothing.
    async fn next(&mut self) -> Result<Option<Line>, Problem> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                return Ok(Some(self.finish(&line[..end])));
            }
            if self.buffer.len() > LONGEST_LINE {
                self.dropping = true;
                self.buffer.clear();
            }
            if self.ended {
                if self.buffer.is_empty() && !self.dropping {
                    return Ok(None);
                }
                let line = self.buffer.split();
                return Ok(Some(self.finish(&line)));
            }
            match timeout(IDLE, self.body.next()).await {
                Err(_) => return Err(Problem::request_timeout()),
                Ok(None) => self.ended = true,
                Ok(Some(Ok(chunk))) => self.buffer.extend_from_slice(&chunk),
                Ok(Some(Err(_))) => return Err(Problem::invalid("the body ended too early")),
            }
        }
    }

    fn finish(&mut self, line: &[u8]) -> Line {
        if std::mem::take(&mut self.dropping) || line.len() > LONGEST_LINE {
            Line::TooLong
        } else {
            Line::Text(line.to_vec())
        }
    }
}

/// What became of one line.
type Made = (usize, Option<String>, Result<Option<String>, Problem>);

async fn make(app: &App, number: usize, line: Line) -> Made {
    let text = match line {
        Line::Text(text) => text,
        Line::TooLong => {
            let detail = format!("a line has at most {LONGEST_LINE} bytes");
            return (number, None, Err(Problem::invalid(detail)));
        }
    };
    let device: NewDevice = match parse_json(&text) {
        Ok(device) => device,
        Err(problem) => {
            // Even when the device is wrong its id helps to find it.
            let id = serde_json::from_slice::<Value>(&text).ok();
            let id = id.and_then(|device| device.get("id").and_then(Value::as_str).map(ToOwned::to_owned));
            return (number, id, Err(problem));
        }
    };
    let id = Some(device.id.0.to_string());
    let request = match device.into_wire(app) {
        Ok(request) => request,
        Err(problem) => return (number, id, Err(problem)),
    };
    (number, id, app.core.create_device(request).await.map(|reply| reply.token))
}

impl Imported {
    fn add(&mut self, (line, id, made): Made) {
        match made {
            Ok(token) => {
                self.created += 1;
                if let (Some(id), Some(token)) = (id, token) {
                    self.tokens.insert(id, token);
                }
            }
            Err(problem) => self.failed.push(FailedLine { line, id, problem }),
        }
    }
}

/// Make many devices at once. The body is NDJSON: on each line a device as `POST /devices` takes it; empty lines are
/// skipped. Each line stands alone: one that fails is reported with its number and keeps none of the others back,
/// and one whose device is there already is reported as such and changes nothing, so that an import can be repeated.
/// When the import has to stop early, the line at which it did is reported and nothing from there on was made.
#[utoipa::path(post, path = "/devices:import", operation_id = "importDevices", tag = "devices",
    request_body(content = String, content_type = "application/x-ndjson",
        description = "At most 50,000 lines of at most 64 KiB",
        example = "{\"id\":\"boiler-1\",\"site\":\"north\"}\n{\"id\":\"boiler-2\",\"site\":\"north\"}\n"),
    responses((status = 200, description = "What became of the lines", body = Imported)))]
pub(crate) async fn import(
    State(app): State<App>,
    request: Request,
) -> Result<axum::Json<Imported>, Problem> {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    if !["application/x-ndjson", "application/ndjson", "application/jsonl"]
        .iter()
        .any(|ndjson| essence.eq_ignore_ascii_case(ndjson))
    {
        return Err(Problem::unsupported_media_type("application/x-ndjson"));
    }
    let Ok(_room) = app.imports.try_acquire() else {
        return Err(Problem::overloaded("as many imports as can be served are under way; try again"));
    };
    Ok(axum::Json(work(&app, Lines::new(request.into_body())).await))
}

async fn work(app: &App, mut lines: Lines) -> Imported {
    let deadline = Instant::now() + LONGEST;
    let mut imported = Imported::default();
    let mut under_way = FuturesUnordered::new();
    let mut number = 0;
    let stopped = loop {
        if under_way.len() >= AT_ONCE
            && let Some(made) = under_way.next().await
        {
            imported.add(made);
        }
        number += 1;
        let line = match timeout_at(deadline, lines.next()).await {
            Ok(Ok(Some(line))) => line,
            Ok(Ok(None)) => break None,
            Ok(Err(problem)) => break Some(problem),
            Err(_) => {
                let detail = format!("an import takes at most {} s", LONGEST.as_secs());
                break Some(Problem::of(ProblemKind::LimitReached, detail));
            }
        };
        if matches!(&line, Line::Text(text) if text.trim_ascii().is_empty()) {
            continue;
        }
        if number > MAX_LINES {
            let detail = format!("an import has at most {MAX_LINES} lines; send the rest in another");
            break Some(Problem::of(ProblemKind::LimitReached, detail));
        }
        under_way.push(make(app, number, line));
    };
    while let Some(made) = under_way.next().await {
        imported.add(made);
    }
    if let Some(problem) = stopped {
        imported.failed.push(FailedLine { line: number, id: None, problem });
    }
    imported.failed.sort_by_key(|failed| failed.line);
    imported
}
