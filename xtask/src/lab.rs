//! `cargo xtask lab`: real Cassandra, RabbitMQ and Kubernetes on this machine, for tests and for trying things out.

mod amqp;
mod cassandra;
mod cql;
mod fetch;
mod folder;
mod kube;
mod rabbitmq;
mod ready;
mod session;
mod settings;
mod start;
mod status;
mod stop;
mod template;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use self::fetch::Cache;
use self::folder::{Folder, State};
use self::kube::bins::Bins;
use self::kube::{Place, clear, image, network};
use self::settings::{Part, Ports, Settings};
use self::start::Starter;
use self::status::Status;
use crate::install::{self, Need};
use crate::process::Runner;
use crate::workspace::Workspace;

pub(crate) use self::session::{Session, Wish};

/// Where labs are: not among what `cargo clean` removes, or running ones could not be found again.
const LABS: &str = ".lab";

/// Real Cassandra, RabbitMQ and Kubernetes on this machine, for tests and for trying things out
///
/// Each lab has a name, a folder with its state, data and logs, and ports of its own. docs/lab.md says more.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which lab
    #[arg(long, global = true, default_value = "dev")]
    name: String,
    /// Its folder; .lab/NAME in the work tree unless named
    #[arg(long, global = true, value_name = "DIR")]
    folder: Option<PathBuf>,
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Bring the lab up, or see that it is, and wait until all of it is ready
    Up(UpArgs),
    /// End all processes of the lab and wait for their ends; the data stays
    Down {
        /// Remove the data, the logs and the folder too
        #[arg(long)]
        purge: bool,
    },
    /// Say what runs and where; fails unless all of it is ready
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Stop one part, such as cassandra-2 or rabbitmq
    Stop {
        part: String,
    },
    /// Start a part that was stopped or killed, and wait until it is ready
    Start {
        part: String,
        /// Where downloads are kept
        #[arg(long, value_name = "DIR")]
        cache: Option<PathBuf>,
    },
    Image(ImageArgs),
    /// Make helm, kubeconform, kube-score and tilt, which need no lab, and say where they are
    Tools,
}

/// Make an image of what is built, and hand it to the lab's Kubernetes
///
/// It holds `stoker`, and `stoker-operator` where that is built too, on the C library of this machine's distribution.
/// The archive stays in target/image, for Docker and podman.
#[derive(clap::Args)]
struct ImageArgs {
    /// Where the programs are [as a rule: target/release]
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// What comes after `stoker.local/stoker:`
    #[arg(long, default_value = "dev")]
    tag: String,
    /// Where downloads are kept
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

#[derive(clap::Args, Default)]
struct UpArgs {
    /// How many nodes of Cassandra, on 127.0.0.1 and following: 1 (as a rule) or 3
    #[arg(long, value_name = "NODES", value_parser = clap::builder::PossibleValuesParser::new(["1", "3"]))]
    cassandra: Option<String>,
    /// With Kubernetes, whose pods reach Cassandra and RabbitMQ: needs root, and is one of its kind on a machine
    #[arg(long)]
    kubernetes: bool,
    /// Take five ports from this one on: Cassandra's two, RabbitMQ's two, epmd's
    #[arg(long, value_name = "PORT")]
    port_base: Option<u16>,
    /// Where clients of Cassandra connect [as a rule: 9042]
    #[arg(long, value_name = "PORT")]
    cassandra_port: Option<u16>,
    /// Where the nodes of Cassandra speak to one another [as a rule: 7000]
    #[arg(long, value_name = "PORT")]
    storage_port: Option<u16>,
    /// Where clients of RabbitMQ connect [as a rule: 5672]
    #[arg(long, value_name = "PORT")]
    amqp_port: Option<u16>,
    /// Where RabbitMQ's command line connects [as a rule: 25672]
    #[arg(long, value_name = "PORT")]
    distribution_port: Option<u16>,
    /// Where RabbitMQ's register of names listens [as a rule: 4370]
    #[arg(long, value_name = "PORT")]
    epmd_port: Option<u16>,
    /// Where downloads are kept [as a rule: $STOKER_LAB_CACHE, $XDG_CACHE_HOME/stoker-lab or target/lab]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Print the status as JSON when all is ready
    #[arg(long)]
    json: bool,
}

impl UpArgs {
    /// What a lab of this name consists of, where nothing is said about it as it is in `usual`.
    fn settings(&self, name: &str, usual: Option<&Settings>) -> Result<Settings> {
        let ports = match (self.port_base, usual) {
            (Some(base), _) => Ports::from_base(base)?,
            (None, Some(usual)) => usual.ports,
            (None, None) => Ports::USUAL,
        };
        let cassandra = match &self.cassandra {
            Some(nodes) => nodes.parse()?,
            None => usual.map_or(1, |usual| usual.cassandra),
        };
        let settings = Settings {
            name: name.to_owned(),
            cassandra,
            ports: Ports {
                cassandra: self.cassandra_port.unwrap_or(ports.cassandra),
                storage: self.storage_port.unwrap_or(ports.storage),
                amqp: self.amqp_port.unwrap_or(ports.amqp),
                distribution: self.distribution_port.unwrap_or(ports.distribution),
                epmd: self.epmd_port.unwrap_or(ports.epmd),
            },
            kubernetes: self.kubernetes || usual.is_some_and(|usual| usual.kubernetes),
        };
        settings.check()?;
        Ok(settings)
    }
}

/// Does what `args` ask for; false when the lab is not ready though it was asked whether it is.
pub(crate) fn run(workspace: &Workspace, runner: &Runner, args: &Args) -> Result<bool> {
    if !cfg!(target_os = "linux") {
        bail!(
            "the lab needs Linux: it looks at processes in /proc, and at all of 127.0.0.0/8 as this machine"
        );
    }
    let folder = match &args.folder {
        Some(path) => Folder::new(path)?,
        None => Folder::new(&workspace.root.join(LABS).join(&args.name))?,
    };
    let lab = Lab { workspace, runner, folder };
    match &args.action {
        Action::Up(up) => lab.up(&args.name, up).map(|()| true),
        Action::Down { purge } => lab.down(*purge).map(|()| true),
        Action::Status { json } => lab.status(*json),
        Action::Stop { part } => lab.stop(part).map(|()| true),
        Action::Start { part, cache } => lab.start(part, cache.as_deref()).map(|()| true),
        Action::Image(image) => lab.image(image).map(|()| true),
        Action::Tools => {
            println!("{}", chart_tools(workspace, runner)?.display());
            Ok(true)
        }
    }
}

/// Sees to it that all that a lab is made of is on this machine.
pub(crate) fn prepare(workspace: &Workspace, runner: &Runner) -> Result<()> {
    tools(workspace, runner, None).map(drop)
}

/// The programs that a lab is made of: Java, the jars of Cassandra, RabbitMQ's server.
fn tools(
    workspace: &Workspace,
    runner: &Runner,
    cache: Option<&Path>,
) -> Result<(PathBuf, PathBuf, PathBuf)> {
    install::ensure(&Need::Java, workspace, runner)?;
    install::ensure(&Need::RabbitMq, workspace, runner)?;
    let jars = Cache::new(workspace, cache)?.cassandra(workspace, runner)?;
    Ok((install::lab::java(runner)?, jars, install::lab::rabbitmq_server()?))
}

/// Sees to it that all that a lab with Kubernetes is made of is on this machine.
pub(crate) fn prepare_kubernetes(workspace: &Workspace, runner: &Runner) -> Result<()> {
    kubernetes(workspace, runner, None).map(drop)
}

/// The folder with helm, kubeconform, kube-score, tilt and kind-config, by which all that is written for a cluster is judged
/// without one.
pub(crate) fn chart_tools(workspace: &Workspace, runner: &Runner) -> Result<PathBuf> {
    let cache = Cache::new(workspace, None)?;
    let bin = cache.dir().join("bin");
    Bins::of_charts(&cache, workspace, runner)?.link(&bin)?;
    Ok(bin)
}

/// The programs of Kubernetes.
fn kubernetes(workspace: &Workspace, runner: &Runner, cache: Option<&Path>) -> Result<Bins> {
    install::ensure(&Need::Containers, workspace, runner)?;
    Bins::of_lab(&Cache::new(workspace, cache)?, workspace, runner)
}

/// One lab, and the means to change it.
struct Lab<'a> {
    workspace: &'a Workspace,
    runner: &'a Runner,
    folder: Folder,
}

impl Lab<'_> {
    fn up(&self, name: &str, args: &UpArgs) -> Result<()> {
        let _lock = self.folder.lock(self.runner)?;
        self.folder.make()?;
        let mut state = match self.folder.load()? {
            None => State::new(args.settings(name, None)?),
            Some(state) => {
                let asked = args.settings(&state.settings.name, Some(&state.settings))?;
                if asked != state.settings {
                    bail!(
                        "the lab in {} has {} nodes of Cassandra, {} Kubernetes, and the ports {}; what differs \
                         needs another --name, or `cargo xtask lab down --purge` first",
                        self.folder.path().display(),
                        state.settings.cassandra,
                        if state.settings.kubernetes { "with" } else { "no" },
                        state.settings.ports
                    );
                }
                state
            }
        };
        let parts = state.settings.parts();
        self.starter(&state.settings, args.cache.as_deref())?.start(&mut state, &parts)?;
        let status = Status::of(self.workspace, self.runner, &self.folder, &state)?;
        if args.json {
            println!("{}", status.json()?);
        } else {
            print!("{}", status.table());
        }
        Ok(())
    }

    /// `down --purge`, without a word where there is nothing.
    fn clear(&self) -> Result<()> {
        if self.folder.load()?.is_some() { self.down(true) } else { Ok(()) }
    }

    fn down(&self, purge: bool) -> Result<()> {
        if self.folder.load()?.is_none() {
            eprintln!("there is no lab in {}", self.folder.path().display());
            // One that failed before anything was started has made its network.
            let is_ours = network::owner()?.is_some_and(|owner| owner == self.folder.path());
            return if is_ours { clear::clear(self.runner, &self.folder) } else { Ok(()) };
        }
        let _lock = self.folder.lock(self.runner)?;
        let mut state = self.known()?;
        let parts = state.settings.parts();
        stop::stop(&self.folder, &mut state, &parts)?;
        if state.settings.kubernetes {
            clear::clear(self.runner, &self.folder)?;
        }
        if purge {
            self.folder.purge(&state)?;
        }
        Ok(())
    }

    fn status(&self, json: bool) -> Result<bool> {
        let Some(state) = self.folder.load()? else {
            if json {
                println!(
                    "{}",
                    serde_json::json!({"folder": self.folder.path(), "ready": false, "parts": []})
                );
            } else {
                println!("there is no lab in {}", self.folder.path().display());
            }
            return Ok(false);
        };
        let status = Status::of(self.workspace, self.runner, &self.folder, &state)?;
        if json {
            println!("{}", status.json()?);
        } else {
            print!("{}", status.table());
        }
        Ok(status.ready)
    }

    fn stop(&self, name: &str) -> Result<()> {
        self.known()?;
        let _lock = self.folder.lock(self.runner)?;
        let mut state = self.known()?;
        let part = state.settings.part(name)?;
        stop::stop(&self.folder, &mut state, &[part])
    }

    fn start(&self, name: &str, cache: Option<&Path>) -> Result<()> {
        self.known()?;
        let _lock = self.folder.lock(self.runner)?;
        let mut state = self.known()?;
        let part = state.settings.part(name)?;
        let parts = match part {
            Part::RabbitMq => vec![Part::Epmd, part],
            Part::Epmd | Part::Cassandra(_) | Part::Kube(_) => vec![part],
        };
        self.starter(&state.settings, cache)?.start(&mut state, &parts)
    }

    fn known(&self) -> Result<State> {
        match self.folder.load()? {
            Some(state) => Ok(state),
            None => {
                bail!("there is no lab in {}: `cargo xtask lab up` makes one", self.folder.path().display())
            }
        }
    }

    fn image(&self, args: &ImageArgs) -> Result<()> {
        let state = self.known()?;
        if !state.settings.kubernetes {
            bail!("the lab in {} has no Kubernetes", self.folder.path().display());
        }
        let cache = Cache::new(self.workspace, args.cache.as_deref())?;
        let from = args.from.clone().unwrap_or_else(|| self.workspace.target.join("release"));
        let (name, archive) = image::make(self.workspace, self.runner, &cache, &from, &args.tag)?;
        image::import(&Place::of(&self.folder), self.runner, &archive)?;
        println!("{name}");
        Ok(())
    }

    fn starter(&self, settings: &Settings, cache: Option<&Path>) -> Result<Starter<'_>> {
        let (java, jars, rabbitmq) = tools(self.workspace, self.runner, cache)?;
        let kubernetes = match settings.kubernetes {
            true => Some(kubernetes(self.workspace, self.runner, cache)?),
            false => None,
        };
        Ok(Starter {
            kubernetes,
            workspace: self.workspace,
            runner: self.runner,
            folder: &self.folder,
            java,
            jars,
            rabbitmq,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_stays_as_it_is() {
        let base = UpArgs { port_base: Some(19_000), cassandra: Some("3".to_owned()), ..UpArgs::default() };
        let made = base.settings("a", None).unwrap();
        assert_eq!((made.cassandra, made.ports.amqp), (3, 19_002));
        assert_eq!(UpArgs::default().settings("a", Some(&made)).unwrap(), made);
        let other = UpArgs { amqp_port: Some(5672), ..UpArgs::default() };
        assert_ne!(other.settings("a", Some(&made)).unwrap(), made);
    }

    #[test]
    fn a_lab_that_nothing_is_said_about_has_the_usual_ports() {
        let made = UpArgs::default().settings("dev", None).unwrap();
        assert_eq!((made.cassandra, made.ports), (1, Ports::USUAL));
        assert!(UpArgs::default().settings("no/name", None).is_err());
    }
}
