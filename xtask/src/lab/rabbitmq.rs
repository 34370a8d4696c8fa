//! RabbitMQ and the register of names that it needs: their files and commands.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::folder::Folder;
use super::settings::{Part, Settings};
use super::template::{self, fill, make_dir, read, write};
use crate::workspace::Workspace;

/// Several times what it takes when nothing is queued.
pub(super) const MEMORY: u64 = 300 << 20;

/// Two labs may both have a node of this name: each has a register of its own.
const NODE: &str = "lab@localhost";

/// The command that starts the register. RabbitMQ would start one by itself, which nobody would end.
pub(super) fn epmd(settings: &Settings) -> Command {
    let address = settings.address(Part::Epmd);
    let mut command = Command::new("epmd");
    command.args(["-address", &address.ip().to_string(), "-port", &address.port().to_string()]);
    command
}

/// Writes RabbitMQ's configuration and returns the command that starts it.
pub(super) fn command(
    workspace: &Workspace,
    folder: &Folder,
    settings: &Settings,
    server: &Path,
) -> Result<Command> {
    let dir = folder.of(Part::RabbitMq);
    for name in ["data", "log", "conf.d"] {
        make_dir(&dir.join(name))?;
    }
    let address = settings.address(Part::RabbitMq);
    let values = [("ADDRESS", address.ip().to_string()), ("AMQP_PORT", address.port().to_string())];
    let template = read(&template::dir(workspace).join("rabbitmq.conf"))?;
    write(&dir.join("rabbitmq.conf"), &fill(&template, &values)?)?;
    write(&dir.join("enabled_plugins"), "[].\n")?;
    write(&dir.join("advanced.config"), "[].\n")?;

    let mut command = Command::new(server);
    for (name, path) in [
        // The cookie, which is this lab's password for its command line, is made here.
        ("HOME", ""),
        ("RABBITMQ_CONFIG_FILE", "rabbitmq.conf"),
        ("RABBITMQ_CONFIG_FILES", "conf.d"),
        ("RABBITMQ_ADVANCED_CONFIG_FILE", "advanced.config"),
        // There is none: that of the machine's own node must not be read.
        ("RABBITMQ_CONF_ENV_FILE", "rabbitmq-env.conf"),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", "enabled_plugins"),
        ("RABBITMQ_MNESIA_BASE", "data"),
        ("RABBITMQ_LOG_BASE", "log"),
        ("RABBITMQ_PID_FILE", "pid"),
    ] {
        command.env(name, dir.join(path));
    }
    let epmd = settings.address(Part::Epmd);
    command
        .env("RABBITMQ_NODENAME", NODE)
        .env("RABBITMQ_DIST_PORT", settings.ports.distribution.to_string())
        .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}")
        .env("ERL_EPMD_ADDRESS", epmd.ip().to_string())
        .env("ERL_EPMD_PORT", epmd.port().to_string())
        // Makes the script become the server, so that the process that was started is the one that runs.
        .env("RUNNING_UNDER_SYSTEMD", "true")
        .env_remove("NOTIFY_SOCKET")
        .env_remove("RABBITMQ_NODE_PORT")
        .current_dir(&dir);
    Ok(command)
}
