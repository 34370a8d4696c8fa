//! A person at a browser: Chromium, steered by Playwright in a process of its own, `clients/browser.mjs`.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::time::timeout;

use crate::driver::node_modules;
use crate::platform::Platform;
use crate::wait::WITHIN;

/// How a page is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// How wide the window is, in pixels.
    pub width: u32,
    /// Whether scripts run.
    pub scripts: bool,
    /// Whether the person likes it dark.
    pub dark: bool,
}

/// What is to be found on a page, in a person's words.
#[derive(Debug, Clone, Copy)]
pub enum Find<'a> {
    /// A field with this label.
    Label(&'a str),
    /// A button whose name has this in it.
    Button(&'a str),
    /// A link of this very name.
    Link(&'a str),
    /// Whatever this CSS selector finds.
    Css(&'a str),
}

impl Find<'_> {
    /// All of them that have this text in them.
    fn with(self, op: &str, text: &str) -> Value {
        let (how, name) = match self {
            Self::Label(label) => ("label", label),
            Self::Button(button) => ("button", button),
            Self::Link(link) => ("link", link),
            Self::Css(selector) => ("selector", selector),
        };
        json!({"op": op, how: name, "text": text})
    }

    /// The first of them.
    fn request(self, op: &str) -> Value {
        let mut request = self.with(op, "");
        request["first"] = true.into();
        request
    }
}

/// A browser with one page. It ends when it is dropped.
#[derive(Debug)]
pub struct Browser {
    /// None once it is to end.
    input: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
    process: Child,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // At the end of its input it ends, and Chromium with it, which a kill would leave behind. It takes its time by itself.
        self.input = None;
        drop(self.process.wait());
    }
}

impl Browser {
    /// Starts it, for the console of this platform.
    ///
    /// # Errors
    /// Chromium or Playwright is not installed, or does not start.
    pub async fn start(platform: &Platform) -> Result<Self> {
        let chromium =
            std::env::var("STOKER_E2E_CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".to_owned());
        ensure!(
            Path::new(&chromium).is_file(),
            "{chromium} is not there: `cargo xtask test --only console` installs it, or set STOKER_E2E_CHROMIUM"
        );
        let mut process = Command::new("node")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/browser.mjs"))
            .arg(node_modules()?)
            .arg(chromium)
            .arg(format!("http://{}", platform.http))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("failed to start node")?;
        let input = process.stdin.take().context("node has no input")?;
        let output = process.stdout.take().context("node has no output")?;
        let (input, output) = (ChildStdin::from_std(input)?, ChildStdout::from_std(output)?);
        Ok(Self { input: Some(input), lines: BufReader::new(output).lines(), process })
    }

    async fn ask(&mut self, request: Value) -> Result<Value> {
        let input = self.input.as_mut().context("the browser is to end")?;
        input.write_all(format!("{request}\n").as_bytes()).await.context("the browser takes no order")?;
        // What the browser waits for has a deadline of its own, before this one.
        let line = timeout(WITHIN, self.lines.next_line()).await;
        let line = line.with_context(|| format!("the browser says nothing to {request}"))??;
        let line = line.with_context(|| format!("the browser has ended at {request}"))?;
        let answer: Value = serde_json::from_str(&line)?;
        if answer["ok"] != true {
            bail!("{request}: {}", answer["why"].as_str().unwrap_or_default());
        }
        Ok(answer)
    }

    /// A fresh window, in which nobody is signed in.
    ///
    /// # Errors
    /// The browser has ended.
    pub async fn open(&mut self, view: View) -> Result<()> {
        let View { width, scripts, dark } = view;
        let request = json!({"op": "open", "width": width, "height": 900, "scripts": scripts, "dark": dark});
        self.ask(request).await.map(drop)
    }

    /// Goes to a path: the status of the answer, and how many bytes came with it.
    ///
    /// # Errors
    /// Nothing came.
    pub async fn go(&mut self, path: &str) -> Result<(u64, u64)> {
        let answer = self.ask(json!({"op": "go", "path": path})).await?;
        Ok((answer["status"].as_u64().context("no status")?, answer["bytes"].as_u64().context("no bytes")?))
    }

    /// Fills a field.
    ///
    /// # Errors
    /// There is none.
    pub async fn fill(&mut self, find: Find<'_>, value: &str) -> Result<()> {
        let mut request = find.request("fill");
        request["value"] = value.into();
        self.ask(request).await.map(drop)
    }

    /// Clicks.
    ///
    /// # Errors
    /// It is not there, or something is before it.
    pub async fn click(&mut self, find: Find<'_>) -> Result<()> {
        self.ask(find.request("click")).await.map(drop)
    }

    /// Presses a key, so many times.
    ///
    /// # Errors
    /// The browser has ended.
    pub async fn press(&mut self, key: &str, times: u32) -> Result<()> {
        self.ask(json!({"op": "press", "key": key, "times": times})).await.map(drop)
    }

    /// Waits until it is to be seen, with this text in it.
    ///
    /// # Errors
    /// It does not come.
    pub async fn see(&mut self, find: Find<'_>, text: &str) -> Result<()> {
        self.ask(find.with("see", text)).await.map(drop)
    }

    /// Whether it is there now, with this text in it.
    ///
    /// # Errors
    /// The browser has ended.
    pub async fn has(&mut self, find: Find<'_>, text: &str) -> Result<bool> {
        Ok(self.ask(find.with("has", text)).await?["count"].as_u64() > Some(0))
    }

    /// The text that is to be seen there.
    ///
    /// # Errors
    /// It is not there.
    pub async fn text(&mut self, find: Find<'_>) -> Result<String> {
        let answer = self.ask(find.request("text")).await?;
        Ok(answer["text"].as_str().context("no text")?.to_owned())
    }

    /// What has the focus: `tag`, `id`, `text`, and whether the focus is `visible`.
    ///
    /// # Errors
    /// The browser has ended.
    pub async fn focus(&mut self) -> Result<Value> {
        self.ask(json!({"op": "focus"})).await
    }

    /// Marks the page as it was loaded; [`Self::is_marked`] is true until it is loaded anew.
    ///
    /// # Errors
    /// The browser has ended.
    pub async fn mark(&mut self) -> Result<()> {
        self.ask(json!({"op": "mark"})).await.map(drop)
    }

    /// Whether this is the page that was marked.
    ///
    /// # Errors
    /// The browser has ended.
    pub async fn is_marked(&mut self) -> Result<bool> {
        Ok(self.ask(json!({"op": "marked"})).await?["marked"] == true)
    }

    /// By how many pixels the page is wider than the window.
    ///
    /// # Errors
    /// The browser has ended.
    pub async fn overflow(&mut self) -> Result<i64> {
        self.ask(json!({"op": "overflow"})).await?["overflow"].as_i64().context("no number")
    }

    /// What axe finds fault with; that it looked at something at all is made sure of.
    ///
    /// # Errors
    /// It could not look.
    pub async fn axe(&mut self) -> Result<Vec<Value>> {
        let answer = self.ask(json!({"op": "axe"})).await?;
        ensure!(answer["passes"].as_u64() > Some(10), "axe has looked at next to nothing: {answer}");
        Ok(answer["violations"].as_array().context("no violations")?.clone())
    }

    /// Takes a picture of the whole page.
    ///
    /// # Errors
    /// The file could not be written.
    pub async fn shot(&mut self, file: &Path) -> Result<()> {
        self.ask(json!({"op": "shot", "file": file})).await.map(drop)
    }

    /// What went wrong in this window: errors of scripts, what the policy refused, what was asked for elsewhere.
    ///
    /// # Errors
    /// The browser has ended.
    pub async fn complaints(&mut self) -> Result<Vec<String>> {
        let answer = self.ask(json!({"op": "complaints"})).await?;
        let complaints = answer["complaints"].as_array().context("no complaints")?;
        Ok(complaints.iter().map(ToString::to_string).collect())
    }
}
