//! What parts need besides cargo: look whether it is there, install it where that may be done, look again.

pub(crate) mod foreign;
mod kube;
pub(crate) mod lab;
mod mosquitto;

use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{Ending, Runner, Step};
use crate::workspace::Workspace;

/// cargo-deny alone compiles for about ten minutes on two busy cores.
const INSTALL_LIMIT: Duration = Duration::from_secs(40 * 60);

/// Something that a part cannot do without.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Need {
    /// A component of the pinned toolchain.
    Component(&'static str),
    /// A sub-command of cargo from crates.io, at exactly this version: another one may judge otherwise.
    CargoTool {
        name: &'static str,
        version: &'static str,
    },
    /// The nightly toolchain, which fuzzing needs for its sanitizers.
    Nightly,
    /// A C++ compiler, for libFuzzer.
    CxxCompiler,
    /// Python with the packages of `e2e/requirements.txt`.
    Python,
    /// Node.js with the packages of `e2e/package-lock.json`.
    Node,
    /// A browser that a test can steer.
    Chromium,
    /// Java, for Cassandra.
    Java,
    /// Maven, which fetches Cassandra.
    Maven,
    RabbitMq,
    /// What stands in front of several processes.
    HaProxy,
    /// What Stoker is measured beside.
    Mosquitto,
    /// What cuts the network between them. Only root may use it.
    NfTables,
    /// All that a lab of so many nodes needs, Cassandra itself too.
    Lab {
        nodes: u8,
    },
    /// Go, new enough for the modules that labs are made of.
    Go,
    /// Debian's own tools for its packages.
    Debian,
    /// What runs pods.
    Containers,
    /// All that a lab with Kubernetes needs, Kubernetes itself too.
    Kubernetes,
}

impl Need {
    pub(crate) const CARGO_DENY: Self = Self::CargoTool { name: "cargo-deny", version: "0.20.2" };
    pub(crate) const CARGO_FUZZ: Self = Self::CargoTool { name: "cargo-fuzz", version: "0.13.2" };
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Component(name) => f.write_str(name),
            Self::CargoTool { name, version } => write!(f, "{name} {version}"),
            Self::Nightly => f.write_str("a nightly toolchain"),
            Self::CxxCompiler => f.write_str("a C++ compiler"),
            Self::Python => f.write_str("Python 3.10 or newer with the packages of e2e/requirements.txt"),
            Self::Node => f.write_str("Node.js 18 or newer with the packages of e2e/package-lock.json"),
            Self::Chromium => f.write_str("Chromium"),
            Self::Java => f.write_str("Java 17"),
            Self::Maven => f.write_str("Maven"),
            Self::RabbitMq => f.write_str("RabbitMQ"),
            Self::HaProxy => f.write_str("HAProxy"),
            Self::Mosquitto => f.write_str("mosquitto"),
            Self::NfTables => f.write_str("nftables, as root"),
            Self::Lab { nodes: 1 } => f.write_str("Java 17, RabbitMQ and Cassandra (by Maven)"),
            Self::Lab { nodes } => {
                write!(f, "Java 17, RabbitMQ and {nodes} nodes of Cassandra (by Maven)")
            }
            Self::Go => f.write_str("Go 1.26 or newer"),
            Self::Debian => f.write_str("apt and dpkg"),
            Self::Containers => f.write_str("containerd, runc, CNI's plugins, nftables and root"),
            Self::Kubernetes => {
                f.write_str("Kubernetes (by Go), containerd, runc, CNI's plugins, nftables and root")
            }
        }
    }
}

/// Makes sure that `need` is met. The error says why it isn't and the way out.
pub(crate) fn ensure(need: &Need, workspace: &Workspace, runner: &Runner) -> Result<()> {
    let tools = Tools { workspace, runner };
    match need {
        Need::Component(name) => tools.component(name),
        Need::CargoTool { name, version } => tools.cargo_tool(name, version),
        Need::Nightly => tools.nightly(),
        Need::CxxCompiler => tools.program("c++", &["g++"]),
        Need::Python => foreign::ensure_python(&tools),
        Need::Node => foreign::ensure_node(&tools),
        Need::Chromium => tools.tool("chromium", &["--version"], "chromium"),
        Need::Java => lab::ensure_java(&tools),
        Need::Maven => lab::ensure_maven(&tools),
        Need::RabbitMq => lab::ensure_rabbitmq(&tools),
        Need::HaProxy => tools.tool("haproxy", &["-v"], "haproxy"),
        Need::Mosquitto => mosquitto::ensure(&tools),
        Need::NfTables => tools.tool("nft", &["list", "tables"], "nftables"),
        Need::Lab { .. } => crate::lab::prepare(workspace, runner),
        Need::Go => kube::ensure_go(&tools),
        Need::Debian => kube::ensure_debian(&tools),
        Need::Containers => kube::ensure_containers(&tools),
        Need::Kubernetes => crate::lab::prepare_kubernetes(workspace, runner),
    }
    .with_context(|| format!("{need} is needed"))
}

/// The means to install something.
struct Tools<'a> {
    workspace: &'a Workspace,
    runner: &'a Runner,
}

impl Tools<'_> {
    /// Whether a short command succeeds. One that cannot even be started doesn't.
    fn works(&self, step: &Step) -> Result<bool> {
        self.runner.check()?;
        Ok(self.runner.capture(step).is_ok_and(|said| said.ok))
    }

    /// Runs an installing command, printed, with its output in a log that is quoted when it fails.
    fn install(&self, step: &Step) -> Result<()> {
        let dir = self.workspace.target.join("xtask");
        fs::create_dir_all(&dir).with_context(|| format!("failed to make {}", dir.display()))?;
        let log = dir.join("install.log");
        fs::write(&log, "").with_context(|| format!("failed to empty {}", log.display()))?;
        println!("   installing: {}", step.shown());
        let ending = self.runner.run(step, &log, false, Instant::now() + INSTALL_LIMIT);
        // pip and apt start helpers; none of them may outlive its parent.
        self.runner.sweep();
        let reason = match ending? {
            Ending::Exited(status) if status.success() => return Ok(()),
            Ending::Exited(status) => status.to_string(),
            Ending::TooLong => format!("not done after {} s", INSTALL_LIMIT.as_secs()),
        };
        let said = fs::read(&log).with_context(|| format!("failed to read {}", log.display()))?;
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = lines[lines.len().saturating_sub(10)..].join("\n     ");
        bail!(
            "`{}` failed ({reason}); it last said:\n     {last}\n   the way out: run it by hand",
            step.shown()
        );
    }

    fn cargo_tool(&self, name: &str, version: &str) -> Result<()> {
        let command = name.strip_prefix("cargo-").unwrap_or(name);
        let check = Step::cargo(command).args(["--version"]);
        let there = || -> Result<bool> {
            self.runner.check()?;
            Ok(self.runner.capture(&check).is_ok_and(|said| said.ok && states(&said.out, version)))
        };
        if there()? {
            return Ok(());
        }
        // Its own lock file, since it is not ours to choose its dependencies; --force replaces another version. It runs for
        // seconds: to make it faster than that would take minutes.
        let install = Step::cargo("install --locked --force").args([name, "--version", version]);
        let quickly = [
            ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
            ("CARGO_PROFILE_RELEASE_LTO", "off"),
            ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
            ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
        ];
        self.install(&quickly.into_iter().fold(install, |step, (name, value)| step.env(name, value)))?;
        if !there()? {
            bail!(
                "`{}` does not state {version} though it was installed: is cargo's bin directory in PATH?",
                check.shown()
            );
        }
        Ok(())
    }

    fn component(&self, name: &str) -> Result<()> {
        let check = Step::cargo(if name == "rustfmt" { "fmt" } else { name }).args(["--version"]);
        if self.works(&check)? {
            return Ok(());
        }
        self.rustup(Step::new("rustup").args(["component", "add", name]), &check)
    }

    fn nightly(&self) -> Result<()> {
        let check = Step::cargo("+nightly --version");
        if self.works(&check)? {
            return Ok(());
        }
        let install = Step::new("rustup").args(["toolchain", "install", "nightly", "--profile", "minimal"]);
        self.rustup(install, &check)
    }

    fn rustup(&self, install: Step, check: &Step) -> Result<()> {
        if !self.works(&Step::new("rustup").args(["--version"]))? {
            bail!(
                "`{}` fails and there is no rustup to run `{}`; get rustup from your distribution or rustup.rs",
                check.shown(),
                install.shown()
            );
        }
        self.install(&install)?;
        if !self.works(check)? {
            bail!("`{}` still fails after `{}`", check.shown(), install.shown());
        }
        Ok(())
    }

    /// A program that answers to `--version`, else from these Debian packages.
    fn program(&self, name: &str, packages: &[&str]) -> Result<()> {
        let check = Step::new(name).args(["--version"]);
        if self.works(&check)? {
            return Ok(());
        }
        self.debian(packages, &format!("`{}` fails", check.shown()))?;
        if !self.works(&check)? {
            bail!("`{}` still fails after installing {}", check.shown(), packages.join(" "));
        }
        Ok(())
    }

    /// A program of the Debian package of this name, which does what is asked of it here.
    fn tool(&self, program: &str, words: &[&str], package: &str) -> Result<()> {
        let check = Step::new(program).args(words.iter().copied());
        if self.works(&check)? {
            return Ok(());
        }
        self.debian(&[package], &format!("`{}` fails", check.shown()))?;
        if !self.works(&check)? {
            bail!("`{}` still fails after installing {package}: is /usr/sbin in PATH?", check.shown());
        }
        Ok(())
    }

    /// Installs Debian packages where that may be done, else says what is missing.
    fn debian(&self, packages: &[&str], because: &str) -> Result<()> {
        let by_hand = format!("apt-get install {}", packages.join(" "));
        if !debian_like(&fs::read_to_string("/etc/os-release").unwrap_or_default()) {
            bail!(
                "{because}; on Debian it comes with `{by_hand}`: install the like with your own package manager"
            );
        }
        if !rustix::process::geteuid().is_root() {
            bail!("{because}; run `sudo {by_hand}`, which only root may do");
        }
        let apt = |words: &[&str]| {
            Step::new("apt-get").args(words.iter().copied()).env("DEBIAN_FRONTEND", "noninteractive")
        };
        self.install(&apt(&["update"]))?;
        let words: Vec<&str> = ["install", "--yes", "--no-install-recommends"]
            .into_iter()
            .chain(packages.iter().copied())
            .collect();
        self.install(&apt(&words))
    }
}

/// Whether `said`, such as "cargo-deny 0.20.2", states this very version.
fn states(said: &str, version: &str) -> bool {
    said.split_whitespace().any(|word| word == version)
}

/// Whether /etc/os-release is that of Debian, Ubuntu or a child of theirs.
fn debian_like(os_release: &str) -> bool {
    os_release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")))
        .flat_map(|value| value.trim_matches('"').split_whitespace())
        .any(|id| id == "debian" || id == "ubuntu")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_is_not_the_version() {
        assert!(states("cargo-deny 0.20.2\n", "0.20.2"));
        assert!(!states("cargo-deny 0.20.21\n", "0.20.2"));
        assert!(!states("", "0.20.2"));
    }

    #[test]
    fn debian_and_its_children_are_known() {
        assert!(debian_like("PRETTY_NAME=\"x\"\nID=debian\n"));
        assert!(debian_like("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"));
        assert!(!debian_like("ID=fedora\nID_LIKE=\"rhel\"\nNAME=\"not debian\"\n"));
    }
}
