//! Faults of the network between processes on this machine: packets that the kernel drops, by nftables.
//!
//! Processes are told apart by their user ids, and the answers to a process by the mark that its connections carry.
//! Nothing is closed and nobody is told: what is cut looks like a cable that was pulled.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A way between two processes: connections from one to where the other listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Way {
    /// The user id of who connects.
    pub from: u32,
    /// Where the other listens.
    pub to: SocketAddr,
}

/// Which packets of a way are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Loss {
    /// All, in both directions.
    Cut,
    /// All from who connects: it hears, and is not heard.
    There,
    /// All to who connects: it is heard, and hears nothing.
    Back,
    /// So many of a hundred, in both directions: TCP sends again, later and later, and all becomes slow.
    Some(u8),
}

/// The rules of one test. They go with it.
#[derive(Debug)]
pub struct Network {
    name: String,
}

fn nft(arguments: &[&str], script: &str) -> Result<String> {
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("failed to run nft: is nftables installed?")?;
    // Closed at once, or it would wait for more.
    child.stdin.take().context("nft has no standard input")?.write_all(script.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("nft refused the rules, which need the right to change them: {said}");
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Changes all that a script says, or nothing.
fn change(script: &str) -> Result<()> {
    nft(&["-f", "-"], script).map(drop)
}

/// The rules for one way.
fn rules(way: Way, loss: Loss) -> Vec<String> {
    let Way { from, to } = way;
    let (ip, port) = (to.ip(), to.port());
    let family = if to.is_ipv4() { "ip" } else { "ip6" };
    let there = format!("meta skuid {from} {family} daddr {ip} tcp dport {port}");
    let back = format!("ct mark {from} ct direction reply {family} saddr {ip} tcp sport {port}");
    match loss {
        Loss::Cut => vec![format!("{there} counter drop"), format!("{back} counter drop")],
        Loss::There => vec![format!("{there} counter drop")],
        Loss::Back => vec![format!("{back} counter drop")],
        Loss::Some(percent) => {
            let some = format!("numgen random mod 100 < {percent} counter drop");
            vec![format!("{there} {some}"), format!("{back} {some}")]
        }
    }
}

impl Network {
    /// One without faults, for processes of these user ids. It has to be there before their connections, which it marks.
    ///
    /// # Errors
    /// nftables is not there, or may not be changed.
    pub fn new(name: &str, users: &[u32]) -> Result<Self> {
        let mut script = format!(
            "add table inet {name}\n\
             add chain inet {name} marks {{ type filter hook output priority -10; }}\n\
             add chain inet {name} faults {{ type filter hook output priority 0; }}\n"
        );
        for user in users {
            let of_user = format!("meta skuid {user} ct direction original ct mark set {user}");
            script.push_str(&format!("add rule inet {name} marks {of_user}\n"));
        }
        change(&script)?;
        Ok(Self { name: name.to_owned() })
    }

    /// These losses, and no others.
    ///
    /// # Errors
    /// The rules could not be changed; those before hold.
    pub fn lose(&self, losses: &[(Way, Loss)]) -> Result<()> {
        let Self { name } = self;
        let mut script = format!("flush chain inet {name} faults\n");
        for rule in losses.iter().flat_map(|(way, loss)| rules(*way, *loss)) {
            script.push_str(&format!("add rule inet {name} faults {rule}\n"));
        }
        change(&script)
    }

    /// How many packets were lost since the losses were said.
    ///
    /// # Errors
    /// nftables does not say.
    pub fn lost(&self) -> Result<u64> {
        let said = nft(&["-j", "list", "chain", "inet", &self.name, "faults"], "")?;
        let said: Value = serde_json::from_str(&said).context("nft answered no JSON")?;
        let rules = said["nftables"].as_array().into_iter().flatten();
        let parts = rules.filter_map(|part| part["rule"]["expr"].as_array()).flatten();
        Ok(parts.filter_map(|part| part["counter"]["packets"].as_u64()).sum())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Nobody is left who could be told.
        drop(change(&format!("delete table inet {}\n", self.name)));
    }
}
