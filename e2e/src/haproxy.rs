//! HAProxy: the one address in front of several processes.

use std::fmt::Write;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::wait::WITHIN;

/// An address, and who stands behind it.
#[derive(Debug)]
pub struct Front {
    /// What it is called in HAProxy's log.
    pub name: &'static str,
    /// Where clients connect.
    pub address: SocketAddr,
    /// Those behind it: name, address, and the private port that says whether it is ready.
    pub behind: Vec<(String, SocketAddr, SocketAddr)>,
}

/// A balancer of TCP connections that gives new ones to who is ready. Ends with the test.
#[derive(Debug)]
pub struct HaProxy(Child);

/// Connections stay for as long as both ends want: this is no test of HAProxy's patience.
fn config(fronts: &[Front]) -> Result<String> {
    let mut text = String::from(
        "global\n  maxconn 9000\n  hard-stop-after 1s\n\
         defaults\n  mode tcp\n  timeout connect 2s\n  timeout client 1h\n  timeout server 1h\n  \
         option redispatch 1\n  retries 3\n  balance roundrobin\n  option httpchk GET /readyz\n",
    );
    for Front { name, address, behind } in fronts {
        writeln!(text, "listen {name}\n  bind {address}")?;
        for (server, address, admin) in behind {
            let (ip, port) = (admin.ip(), admin.port());
            // Found out within a second, as a cluster's network does by readiness probes.
            let check = format!("check addr {ip} port {port} inter 500ms fall 2 rise 1");
            writeln!(text, "  server {server} {address} {check}")?;
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
        fs::write(&file, config(fronts)?)?;
        let output = File::create(&log)?;
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(&file).stdin(Stdio::null());
        command.stdout(output.try_clone()?).stderr(output);
        let process = command.spawn().context("failed to start haproxy: is it installed?")?;
        let mut haproxy = Self(process);
        let by = Instant::now() + WITHIN;
        for front in fronts {
            while tokio::net::TcpStream::connect(front.address).await.is_err() {
                if let Some(status) = haproxy.0.try_wait()? {
                    bail!("haproxy has ended: {status}\n{}", fs::read_to_string(&log).unwrap_or_default());
                }
                if Instant::now() > by {
                    bail!("haproxy does not listen on {}", front.address);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(haproxy)
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
