//! HAProxy: the one address in front of several processes.

use std::fmt::Write;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::wait::{WITHIN, eventually};

/// An address, and who stands behind it.
#[derive(Debug)]
pub struct Front {
    /// What it is called in HAProxy's log.
    pub name: &'static str,
    /// Where clients connect.
    pub address: SocketAddr,
    /// Whether those behind it are told whose connections they get, by the PROXY protocol.
    pub announces: bool,
    /// Those behind it: name, address, and the private port that says whether it is ready.
    pub behind: Vec<(String, SocketAddr, SocketAddr)>,
}

/// A balancer of TCP connections that gives new ones to who is ready. Ends with the test.
#[derive(Debug)]
pub struct HaProxy {
    process: Child,
    /// It answers questions here.
    socket: PathBuf,
}

/// Connections stay for as long as both ends want: this is no test of HAProxy's patience.
fn config(fronts: &[Front], socket: &Path) -> Result<String> {
    let mut text = format!(
        "global\n  maxconn 9000\n  hard-stop-after 1s\n  stats socket {}\n\
         defaults\n  mode tcp\n  timeout connect 2s\n  timeout client 1h\n  timeout server 1h\n  \
         option redispatch 1\n  retries 3\n  balance roundrobin\n  option httpchk GET /readyz\n",
        socket.display()
    );
    for Front { name, address, announces, behind } in fronts {
        writeln!(text, "listen {name}\n  bind {address}")?;
        // Not of the checks, which go to another port.
        let announce = if *announces { " send-proxy-v2" } else { "" };
        for (server, address, admin) in behind {
            let (ip, port) = (admin.ip(), admin.port());
            // Found out within a second, as a cluster's network does by readiness probes.
            let check = format!("check addr {ip} port {port} inter 500ms fall 2 rise 1");
            writeln!(text, "  server {server} {address} {check}{announce}")?;
        }
    }
    Ok(text)
}

impl HaProxy {
    /// Starts it, and waits until it takes connections.
    ///
    /// # Errors
    /// It is not installed, or does not start; its log is in the directory.
    pub async fn start(fronts: &[Front], directory: &Path) -> Result<Self> {
        let (file, log) = (directory.join("haproxy.cfg"), directory.join("haproxy.log"));
        let socket = directory.join("haproxy.sock");
        fs::write(&file, config(fronts, &socket)?)?;
        let output = File::create(&log)?;
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(&file).stdin(Stdio::null());
        command.stdout(output.try_clone()?).stderr(output);
        let process = command.spawn().context("failed to start haproxy: is it installed?")?;
        let mut haproxy = Self { process, socket };
        let by = Instant::now() + WITHIN;
        // It answers once it listens everywhere. Whoever dialled the fronts to see would be counted by who is behind.
        while haproxy.servers().await.is_err() {
            if let Some(status) = haproxy.process.try_wait()? {
                bail!("haproxy has ended: {status}\n{}", fs::read_to_string(&log).unwrap_or_default());
            }
            if Instant::now() > by {
                bail!("haproxy does not answer within {} s", WITHIN.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(haproxy)
    }

    /// Waits until it holds everybody behind it for ready: until then it may know of nobody to give a connection to.
    ///
    /// # Errors
    /// It does not come to this in time.
    pub async fn all_ready(&self) -> Result<()> {
        eventually("HAProxy holds all behind it for ready", || async {
            let states = self.servers().await?;
            Ok((!states.is_empty() && states.iter().all(|state| state == "UP")).then_some(()))
        })
        .await
    }

    /// What it holds of each behind it, such as `UP` and `DOWN`.
    async fn servers(&self) -> Result<Vec<String>> {
        let mut stream = UnixStream::connect(&self.socket).await.context("HAProxy has no socket")?;
        stream.write_all(b"show stat\n").await?;
        let mut said = String::new();
        stream.read_to_string(&mut said).await?;
        // A line for each proxy and server; the second field is the name, the 18th the state.
        let states = said.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            let server = !["FRONTEND", "BACKEND", "svname"].contains(fields.get(1)?);
            server.then_some((*fields.get(17)?).to_owned())
        });
        Ok(states.collect())
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
