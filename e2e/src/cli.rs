//! The command line, as a person or a script uses it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::platform::{Platform, binary, stoker};
use crate::wait::WITHIN;

/// What a command line came to.
#[derive(Debug, Clone)]
pub struct Ran {
    /// The exit code.
    pub code: i32,
    /// What stood on standard output.
    pub out: String,
    /// What stood on standard error.
    pub said: String,
}

impl Ran {
    /// Standard output, provided that it was done.
    ///
    /// # Errors
    /// The exit code is not 0.
    pub fn done(self) -> Result<String> {
        ensure!(self.code == 0, "exit code 0, not {}: {}", self.code, self.said);
        Ok(self.out)
    }

    /// The one JSON document on standard output, provided that it was done.
    ///
    /// # Errors
    /// The exit code is not 0, or there is something else.
    pub fn json(self) -> Result<Value> {
        let out = self.done()?;
        serde_json::from_str(&out).with_context(|| format!("not one JSON document: {out}"))
    }

    /// Checks that it ended with this code, and said all of this on standard error.
    ///
    /// # Errors
    /// It did not.
    pub fn refused(self, code: i32, says: &[&str]) -> Result<()> {
        ensure!(self.code == code, "exit code {code}, not {}: {}{}", self.code, self.out, self.said);
        for word in says {
            ensure!(self.said.contains(word), "{word:?} is not in: {}", self.said);
        }
        Ok(())
    }
}

/// What a command's `--help` lists.
#[derive(Debug, Default)]
pub struct Help {
    /// Its sub-commands; `help` is left out.
    pub commands: Vec<String>,
    /// Its own options, with `--`; `--help` and `--version` are left out, and those that every command has.
    pub options: Vec<String>,
}

impl Help {
    fn parse(text: &str) -> Self {
        let mut help = Self::default();
        let mut section = "";
        for line in text.lines() {
            if !line.starts_with(' ') {
                section = line;
                continue;
            }
            let (indent, rest) = (line.len() - line.trim_start().len(), line.trim_start());
            let word = |text: &str| {
                text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            };
            if section == "Commands:" && indent == 2 {
                help.commands.push(word(rest));
            } else if section.ends_with(':') && !section.starts_with("Which platform") && indent <= 6 {
                let long = rest.strip_prefix("--").or_else(|| rest.split_once(", --").map(|(_, long)| long));
                help.options
                    .extend(long.filter(|_| rest.starts_with('-')).map(|long| format!("--{}", word(long))));
            }
        }
        help.commands.retain(|command| command != "help");
        help.options.retain(|option| option != "--help" && option != "--version");
        help
    }
}

/// Runs command lines against a platform, and remembers what was tried.
#[derive(Debug)]
pub struct Cli {
    server: String,
    data: PathBuf,
    tried: Mutex<BTreeSet<String>>,
}

impl Cli {
    /// For this platform, as its administrator.
    #[must_use]
    pub fn new(platform: &Platform) -> Self {
        Self::at(format!("http://{}", platform.http), &platform.data_dir())
    }

    /// For the portal at this address, with the token in that directory.
    pub(crate) fn at(server: String, data: &Path) -> Self {
        Self { server, data: data.to_owned(), tried: Mutex::default() }
    }

    /// The data directory that the token is read from.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// A process that is yet to be started: its server is in the environment, the token's directory an argument.
    ///
    /// # Errors
    /// The program is not there.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::from(stoker(&binary()?));
        command.args(arguments).env("STOKER_SERVER", &self.server).env("XDG_DATA_HOME", &self.data);
        let asks = arguments
            .first()
            .is_some_and(|first| !["up", "config", "completion", "data", "bus"].contains(first));
        if asks && !arguments.iter().any(|argument| ["--data-dir", "--token"].contains(argument)) {
            command.arg("--data-dir").arg(&self.data);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Ok(command)
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// It does not end in time, or by a signal.
    pub async fn run(&self, arguments: &[&str]) -> Result<Ran> {
        self.fed(arguments, "").await
    }

    /// The same with a text on standard input.
    ///
    /// # Errors
    /// It does not end in time, or by a signal.
    pub async fn fed(&self, arguments: &[&str], input: &str) -> Result<Ran> {
        // To ask how it is used is not to use it.
        if !arguments.contains(&"--help") {
            self.remember(arguments)?;
        }
        let mut process =
            self.command(arguments)?.stdin(Stdio::piped()).spawn().context("failed to start stoker")?;
        if let Some(mut stdin) = process.stdin.take() {
            // Whoever does not read its input may have ended before it is written.
            drop(stdin.write_all(input.as_bytes()).await);
        }
        let ended = timeout(WITHIN, process.wait_with_output()).await;
        let output = ended.with_context(|| format!("stoker {arguments:?} did not end"))??;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let code =
            output.status.code().with_context(|| format!("ended by a signal: {}; {said}", output.status))?;
        Ok(Ran { code, out: String::from_utf8(output.stdout).context("the output is no UTF-8")?, said })
    }

    /// Standard output of what is to be done.
    ///
    /// # Errors
    /// It was not done.
    pub async fn done(&self, arguments: &[&str]) -> Result<String> {
        self.run(arguments).await?.done().with_context(|| format!("stoker {arguments:?}"))
    }

    /// The JSON of what is to be done.
    ///
    /// # Errors
    /// It was not done.
    pub async fn json(&self, arguments: &[&str]) -> Result<Value> {
        let arguments = [arguments, &["--output", "json"]].concat();
        self.run(&arguments).await?.json().with_context(|| format!("stoker {arguments:?}"))
    }

    /// What `--help` says of a command.
    ///
    /// # Errors
    /// It says nothing.
    pub async fn help(&self, command: &str) -> Result<Help> {
        let arguments: Vec<_> = command.split_whitespace().chain(["--help"]).collect();
        Ok(Help::parse(&self.done(&arguments).await?))
    }

    /// Remembers a command with its options.
    fn remember(&self, arguments: &[&str]) -> Result<()> {
        let words = arguments.iter().take_while(|argument| !argument.starts_with('-'));
        let words: Vec<_> = words.copied().collect();
        let options = arguments.iter().filter(|argument| argument.starts_with('-'));
        let mut tried = self.tried.lock().map_err(|_| anyhow::anyhow!("a test has died"))?;
        // Where arguments of the command begin is not known here: each beginning may be the command.
        for many in 1..=words.len() {
            let command = words[..many].join(" ");
            for option in options.clone() {
                let name = option.split('=').next().unwrap_or_default();
                tried.insert(format!("{command} {}", if name == "-q" { "--search" } else { name }));
            }
            tried.insert(command);
        }
        Ok(())
    }

    /// True when this command, or this command with this option, was run.
    #[must_use]
    pub fn was_tried(&self, what: &str) -> bool {
        self.tried.lock().is_ok_and(|tried| tried.contains(what))
    }
}
