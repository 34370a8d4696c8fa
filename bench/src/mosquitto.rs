//! mosquitto, of the run's own: what Stoker is measured beside.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::disk;
use crate::platform::free_ports;

/// How long a start may take before it counts as failed.
const START_WITHIN: Duration = Duration::from_secs(10);
/// How often it is tried whether it listens.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Where Debian keeps it, which is not in everybody's `PATH`.
const ALSO_IN: &str = "/usr/sbin:/usr/local/sbin";

/// What it does with messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// As it comes: nothing is ever written to a disk.
    Nothing,
    /// Whatever waits for a session that is away is saved once a second, the shortest interval there is.
    EverySecond,
}

/// A mosquitto that runs until it is dropped.
pub(crate) struct Mosquitto {
    child: Child,
    pub(crate) mqtt: SocketAddr,
    /// Holds its configuration, its log and what it saves; goes when the run went well.
    directory: TempDir,
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:{ALSO_IN}"));
    command
}

/// Its configuration. Its logs say nothing of single connections, as Stoker's don't; answers leave at once, as Stoker's do.
fn configuration(address: SocketAddr, directory: &Path, keeping: Keeping) -> String {
    let mut text = format!(
        "listener {} {}\nallow_anonymous true\nset_tcp_nodelay true\nconnection_messages false\nuser root\n",
        address.port(),
        address.ip()
    );
    if keeping == Keeping::EverySecond {
        // Without these bounds lifted it would drop what it is to keep from the thousandth message on.
        text.push_str("max_queued_messages 0\nmax_queued_bytes 0\nautosave_interval 1\npersistence true\n");
        text.push_str(&format!("persistence_location {}/\n", directory.display()));
    }
    text
}

/// The version in what `mosquitto -h` says: `mosquitto version 2.0.11`.
fn version_in(said: &str) -> Option<&str> {
    said.lines().find_map(|line| line.strip_prefix("mosquitto version "))?.split_whitespace().next()
}

/// The version of the program.
pub(crate) fn version(program: &Path) -> Result<String> {
    let output = command(program).arg("-h").output();
    let output = match output {
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(
            "there is no {}: `apt-get install mosquitto`, or `cargo xtask bench`, which does so, or give --mosquitto",
            program.display()
        ),
        output => output.with_context(|| format!("failed to start {}", program.display()))?,
    };
    // Its exit code says nothing: 2.0 ends its help with 3.
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let version =
        version_in(&said).with_context(|| format!("{} does not say its version", program.display()))?;
    Ok(version.to_owned())
}

impl Mosquitto {
    /// Starts one and waits until it listens. Its directory is made in `dir`.
    pub(crate) async fn start(program: &Path, dir: &Path, keeping: Keeping) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("failed to make the directory {}", dir.display()))?;
        disk::check_on_disk(dir)?;
        let directory = tempfile::Builder::new().prefix("mosquitto-").tempdir_in(dir)?;
        let place: PathBuf = fs::canonicalize(directory.path())?;
        let [mqtt] = free_ports()?;
        let file = place.join("mosquitto.conf");
        fs::write(&file, configuration(mqtt, &place, keeping))
            .with_context(|| format!("failed to write {}", file.display()))?;
        let log = File::create(place.join("mosquitto.log"))?;
        let child = command(program)
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("failed to start {}", program.display()))?;
        let mut started = Self { child, mqtt, directory };
        let begun = Instant::now();
        while TcpStream::connect(mqtt).is_err() {
            started.check_alive()?;
            if begun.elapsed() > START_WITHIN {
                bail!("mosquitto did not listen on {mqtt} within {} s", START_WITHIN.as_secs());
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(started)
    }

    /// Fails when it has ended by itself.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let log = fs::read_to_string(self.directory.path().join("mosquitto.log")).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(3).collect();
            bail!("mosquitto ended by itself ({status}); its last lines, newest first: {last:#?}");
        }
        Ok(())
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_stands_in_the_help() {
        assert_eq!(version_in("mosquitto version 2.0.11\n\nmosquitto is an MQTT"), Some("2.0.11"));
        assert_eq!(version_in("usage: something else\n"), None);
    }

    #[test]
    fn only_one_that_keeps_is_told_where() {
        let address = SocketAddr::from(([127, 0, 0, 1], 2_000));
        let plain = configuration(address, Path::new("/d"), Keeping::Nothing);
        assert!(plain.contains("listener 2000 127.0.0.1\n") && !plain.contains("persistence"), "{plain}");
        let keeps = configuration(address, Path::new("/d"), Keeping::EverySecond);
        assert!(keeps.contains("persistence_location /d/\n") && keeps.contains("max_queued_messages 0\n"));
    }
}
