//! Separate processes over a lab, as runs that mistreat them share it: how many, which one, and bringing them back.

use std::fmt;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;
use stoker_e2e::{Service, Services};

use super::load::GRACE;
use crate::lab::Lab;
use crate::platform::Common;
use crate::report::Report;
use crate::smtp::MailSink;

/// Processes of one run, all kinds together: each has an address, a private port and, in some runs, a user id of its own.
const MOST: usize = 32;

/// What a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Role {
    Core,
    Gateway,
    Notifier,
    Portal,
}

/// One process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Who {
    pub(super) role: Role,
    /// From 0 on.
    pub(super) index: usize,
}

impl Who {
    /// That one of them.
    pub(super) fn of(self, services: &mut Services) -> Result<&mut Service> {
        let services = match self.role {
            Role::Core => &mut services.cores,
            Role::Gateway => &mut services.gateways,
            Role::Notifier => &mut services.notifiers,
            Role::Portal => &mut services.portals,
        };
        services.get_mut(self.index).with_context(|| format!("there is no {self}"))
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self.role {
            Role::Core => "core",
            Role::Gateway => "gateway",
            Role::Notifier => "notifier",
            Role::Portal => "portal",
        };
        write!(f, "{role}-{}", self.index + 1)
    }
}

/// The last word on them: whether any died of a fault of its own, and no files of those of which all holds.
pub(super) fn leave(services: &mut Services, common: &Common, report: &mut Report) {
    report.exactly("panics in the logs", 0, services.panics());
    if report.holds() && !common.keep {
        services.remove_files();
    }
}

/// How many there are of each.
#[derive(Debug, Args)]
pub(super) struct Processes {
    /// Cores, gateways, notifiers, portals
    #[arg(long, value_name = "N,N,N,N", value_delimiter = ',', default_values_t = [3, 2, 2, 2])]
    processes: Vec<usize>,
}

impl Processes {
    /// Cores, gateways, notifiers, portals.
    pub(super) fn counts(&self) -> Result<[usize; 4]> {
        let counts: [usize; 4] =
            self.processes.clone().try_into().ok().context("--processes takes four numbers")?;
        let [cores, others @ ..] = counts;
        ensure!(
            cores >= 2 && others.iter().all(|count| *count >= 1) && counts.iter().sum::<usize>() <= MOST,
            "--processes takes two cores or more, one or more of the others, and {MOST} in all at most"
        );
        Ok(counts)
    }
}

/// So many of them on that lab, none started yet. Their mails go to that sink; their files stay until they are removed.
pub(super) fn prepare(common: &Common, lab: &Lab, counts: [usize; 4], sink: &MailSink) -> Result<Services> {
    let config = json!({
        "cassandra": {"replication_factor": lab.replicas()},
        "notifier": {"email": {"smtp_url": sink.url(), "from": "Stoker <alarms@example.com>"}},
        "silence": {"after": "10s", "grace": format!("{}s", GRACE.as_secs())},
    });
    let mut services = Services::prepare_on(&lab.addresses(), counts, &config)?;
    services.program(&common.stoker)?;
    eprintln!("configuration and logs are in {}", services.keep_files().display());
    Ok(services)
}

/// Starts those again that have ended by themselves, as whoever runs them would; says which.
pub(super) fn restart_ended(services: &mut Services) -> Result<Vec<String>> {
    let mut ended = Vec::new();
    for service in services.all() {
        if let Err(error) = service.check_alive() {
            ended.push(format!("{error:#}"));
            // What is left of it is a number that has to be waited for.
            service.kill9()?;
            service.start()?;
        }
    }
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_two_cores_or_more_and_one_of_each_other_kind() {
        let counts = |processes: &[usize]| Processes { processes: processes.to_vec() }.counts();
        assert_eq!(counts(&[3, 2, 2, 2]).unwrap(), [3, 2, 2, 2]);
        for wrong in [&[1, 1, 1, 1][..], &[2, 1, 0, 1], &[30, 1, 1, 1], &[3, 2, 2]] {
            assert!(counts(wrong).is_err(), "{wrong:?}");
        }
    }
}
