//! What connections cost on which nothing happens.

use anyhow::Result;

use super::board::Board;
use super::target::{Server, Setup, Who};
use crate::device::logins;
use crate::process;
use crate::report::Report;
use crate::run::idle::{SETTLE, check_files, connect_all};
use crate::run::{per, settled};

/// One round of one of them.
pub(super) async fn measure(
    setup: &Setup<'_>,
    who: Who,
    connections: u32,
    board: &mut Board,
    report: &mut Report,
) -> Result<()> {
    check_files(connections)?;
    let logins = logins(connections);
    let server = Server::start(setup, who, &logins).await?;
    let pid = server.pid()?;
    let before = settled(pid, SETTLE).await?;
    let cpu = process::cpu(pid)?;
    let devices = connect_all(server.mqtt(), &logins, |login| who.orders(login)).await?;
    let after = settled(pid, SETTLE).await?;
    let spent = process::cpu(pid)?.saturating_sub(cpu);
    let count = u64::from(connections);
    let memory = per(after.saturating_sub(before) as f64, count);
    board.note(who, "memory per idle connection with one subscription", "kB", memory);
    let cpu = per(spent.as_secs_f64() * 1e6, count);
    board.note(who, "CPU to connect and subscribe", "µs", cpu);
    drop(devices);
    server.finish(report)
}
