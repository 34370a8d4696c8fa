//! Listeners to the live feed that nobody here wrote: `ws`, on Node.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::api::Api;
use crate::driver::node_modules;
use crate::wait::WITHIN;

/// One connection to the live feed. It ends when it is dropped.
#[derive(Debug)]
pub struct Listener {
    lines: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Listener {
    /// Dials `/live` with these parameters, such as `?devices=boiler-*`, as the holder of the API's token.
    ///
    /// # Errors
    /// Node could not be started.
    pub fn dial(api: &Api, parameters: &str) -> Result<Self> {
        let headers = json!({"authorization": format!("Bearer {}", api.token())});
        Self::dial_with(api, parameters, &headers)
    }

    /// The same with these headers, and no token but what stands there.
    ///
    /// # Errors
    /// Node could not be started.
    pub fn dial_with(api: &Api, parameters: &str, headers: &Value) -> Result<Self> {
        let url = format!("{}/live{parameters}", api.base().replacen("http", "ws", 1));
        let mut process = Command::new("node")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/js_listener.mjs"))
            .arg(node_modules()?)
            .arg(url)
            .env("HEADERS", headers.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("failed to start node")?;
        let out = process.stdout.take().context("node has no output")?;
        Ok(Self { lines: BufReader::new(out).lines(), _process: process })
    }

    /// Dials, and returns the position of the hello.
    ///
    /// # Errors
    /// It was not let in.
    pub async fn enter(api: &Api, parameters: &str) -> Result<(Self, String)> {
        let mut this = Self::dial(api, parameters)?;
        let hello = this.next().await?;
        ensure!(hello["type"] == "hello", "{hello} in place of a hello");
        let position = hello["position"].as_str().context("a hello without a position")?.to_owned();
        Ok((this, position))
    }

    /// The next frame, or what happened to the connection.
    ///
    /// # Errors
    /// Nothing came, or it was no JSON.
    pub async fn next(&mut self) -> Result<Value> {
        let line = timeout(WITHIN, self.lines.next_line()).await.context("the feed says nothing")??;
        Ok(serde_json::from_str(&line.context("the listener has ended")?)?)
    }

    /// The next frame of a type.
    ///
    /// # Errors
    /// It never came.
    pub async fn next_of(&mut self, kind: &str) -> Result<Value> {
        loop {
            let frame = self.next().await?;
            ensure!(frame["closed"].is_null() && frame["error"].is_null(), "{frame}");
            if frame["type"] == kind {
                return Ok(frame);
            }
        }
    }
}
