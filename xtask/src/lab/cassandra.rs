//! A node of Cassandra: its files, its command, and whether it is ready.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::cql::{Connection, Consistency};
use super::folder::Folder;
use super::settings::{Part, Settings};
use super::template::{self, fill, lines, make_dir, read, write};
use crate::workspace::Workspace;

/// What a node takes in all, with some room: the heap of `jvm.options`, and as much again beside it.
pub(super) const MEMORY: u64 = 900 << 20;

/// Writes a node's configuration and returns the command that starts it.
pub(super) fn command(
    workspace: &Workspace,
    folder: &Folder,
    settings: &Settings,
    number: u8,
    java: &Path,
    jars: &Path,
) -> Result<Command> {
    let from = template::dir(workspace);
    let part = Part::Cassandra(number);
    let dir = folder.of(part);
    let (conf, temp) = (dir.join("conf"), dir.join("tmp"));
    for dir in [&conf, &temp, &conf.join("triggers")] {
        make_dir(dir)?;
    }
    let values = [
        ("CLUSTER", format!("stoker-lab-{}", settings.name)),
        ("SEED", settings.storage_address(1).ip().to_string()),
        ("ADDRESS", settings.storage_address(number).ip().to_string()),
        ("CQL_ADDRESS", settings.address(part).ip().to_string()),
        ("CQL_PORT", settings.ports.cassandra.to_string()),
        ("STORAGE_PORT", settings.ports.storage.to_string()),
        ("TOKEN", token(number, settings.cassandra).to_string()),
        ("FOLDER", dir.display().to_string()),
    ];
    write(&conf.join("cassandra.yaml"), &fill(&read(&from.join("cassandra.yaml"))?, &values)?)?;
    write(&conf.join("logback.xml"), &read(&from.join("logback.xml"))?)?;
    let agent = std::fs::read_dir(jars)
        .with_context(|| format!("failed to list {}", jars.display()))?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("jamm-")))
        .with_context(|| format!("{} holds no jamm, which measures objects for Cassandra", jars.display()))?;

    let mut command = Command::new(java);
    command.args(lines(&read(&from.join("jvm.options"))?));
    command.args([
        format!("-javaagent:{}", agent.display()),
        format!("-Djava.io.tmpdir={}", temp.display()),
        format!("-Djna.tmpdir={}", temp.display()),
        format!("-Dcassandra.config=file://{}/cassandra.yaml", conf.display()),
        format!("-Dcassandra.storagedir={}", dir.display()),
        format!("-Dcassandra.triggers_dir={}/triggers", conf.display()),
        format!("-Dcassandra.logdir={}/log", dir.display()),
        format!("-Dlogback.configurationFile={}/logback.xml", conf.display()),
        "-Dcassandra-foreground=yes".to_owned(),
        "-classpath".to_owned(),
        format!("{}:{}/*", conf.display(), jars.display()),
        "org.apache.cassandra.service.CassandraDaemon".to_owned(),
    ]);
    Ok(command)
}

/// Where the part of the ring begins that the node owns: all nodes own equal ones.
fn token(number: u8, of: u8) -> i64 {
    let step = (1_i128 << 64) / i128::from(of.max(1));
    let token = i128::from(i64::MIN) + step * i128::from(number.saturating_sub(1));
    // The very first is no token, and the last part ends long before the end of the range.
    i64::try_from(token).unwrap_or(i64::MAX).max(i64::MIN + 1)
}

/// Succeeds when the node answers a query.
pub(super) fn answers(settings: &Settings, number: u8) -> Result<()> {
    let mut connection = Connection::open(settings.address(Part::Cassandra(number)))?;
    let rows = connection.query("SELECT host_id FROM system.local", Consistency::One)?;
    if rows.len() != 1 {
        bail!("the node knows {} of itself", rows.len());
    }
    Ok(())
}

/// Succeeds when the node knows all nodes (`nodetool status` shows them there), agrees with them on the schema, and
/// holds every one of them for up: it reads at ALL what has three replicas.
pub(super) fn sees_all(settings: &Settings, number: u8) -> Result<()> {
    let mut connection = Connection::open(settings.address(Part::Cassandra(number)))?;
    let mut schemas = connection.query("SELECT schema_version FROM system.local", Consistency::One)?;
    schemas.extend(connection.query("SELECT schema_version FROM system.peers_v2", Consistency::One)?);
    if schemas.len() != usize::from(settings.cassandra) {
        bail!("it knows {} of {} nodes", schemas.len(), settings.cassandra);
    }
    if schemas.windows(2).any(|pair| pair[0] != pair[1]) {
        bail!("the nodes do not agree on the schema yet");
    }
    if settings.cassandra > 1 {
        let everywhere = "SELECT keyspace_name FROM system_distributed.view_build_status LIMIT 1";
        connection.query(everywhere, Consistency::All)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::settings::Ports;
    use super::*;

    #[test]
    fn the_nodes_share_the_ring_equally() {
        assert_eq!(token(1, 1), i64::MIN + 1);
        let tokens = [1, 2, 3].map(|number| token(number, 3));
        assert!(tokens.is_sorted());
        let gaps = [tokens[1].abs_diff(tokens[0]), tokens[2].abs_diff(tokens[1])];
        assert!(gaps[0].abs_diff(gaps[1]) <= 1, "{gaps:?}");
        assert!(tokens[0].abs_diff(tokens[2]) > u64::MAX / 3 * 2 - 3);
    }

    #[test]
    fn each_node_gets_files_of_its_own() {
        let workspace = Workspace::find().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let jars = tempfile::tempdir().unwrap();
        std::fs::write(jars.path().join("jamm-0.4.0.jar"), "").unwrap();
        let folder = Folder::new(dir.path()).unwrap();
        let settings =
            Settings { name: "dev".to_owned(), cassandra: 3, ports: Ports::USUAL, kubernetes: false };
        let command =
            command(&workspace, &folder, &settings, 2, Path::new("/usr/bin/java"), jars.path()).unwrap();
        let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
        assert!(args.contains(&"-Xmx400m".to_owned()));
        assert!(args.iter().all(|arg| !arg.contains('@')), "{args:?}");
        let yaml = read(&folder.of(Part::Cassandra(2)).join("conf/cassandra.yaml")).unwrap();
        assert!(yaml.contains("listen_address: 127.0.0.2") && yaml.contains("seeds: \"127.0.0.1:7000\""));
    }
}
