//! The programs of Kubernetes, built of Go modules: no registry of images and no download page is needed, and each
//! module is what Go's own checksum database says it is.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::install::{self, Need};
use crate::lab::fetch::Cache;
use crate::lab::folder;
use crate::lab::template::{make_dir, read, write};
use crate::process::{Ending, Runner, Step};
use crate::workspace::Workspace;

/// The API server alone takes four minutes on two cores.
const LIMIT: Duration = Duration::from_secs(30 * 60);
/// What the newest of the modules asks for.
const GO: &str = "1.26.0";

/// Programs that are made of one Go module.
struct Source {
    name: &'static str,
    module: &'static str,
    version: &'static str,
    /// The programs, by their packages.
    packages: &'static [&'static str],
    /// Where the linker is told the version.
    stamp: Option<&'static str>,
    /// Kubernetes names parts of itself by their place in its repository; they are modules of this version.
    staging: Option<&'static str>,
    /// A program that is a function of a library.
    main: Option<&'static str>,
    /// A folder of the module whose YAML files are kept too.
    files: Option<&'static str>,
    /// Variables that the linker sets.
    variables: &'static [(&'static str, &'static str)],
    /// It replaces modules by its own versions of them, which go.mod says only of a program that is built in its place.
    replaces: bool,
    /// Parts of it are written in C.
    c: bool,
}

const PLAIN: Source = Source {
    name: "",
    module: "",
    version: "",
    packages: &[],
    stamp: None,
    staging: None,
    main: None,
    files: None,
    variables: &[],
    replaces: false,
    c: false,
};

const KUBERNETES: Source = Source {
    name: "kubernetes",
    module: "k8s.io/kubernetes",
    version: "v1.34.4",
    packages: &[
        "k8s.io/kubernetes/cmd/kubectl",
        "k8s.io/kubernetes/cmd/kube-apiserver",
        "k8s.io/kubernetes/cmd/kube-controller-manager",
        "k8s.io/kubernetes/cmd/kube-scheduler",
        "k8s.io/kubernetes/cmd/kubelet",
        "k8s.io/kubernetes/cmd/kube-proxy",
    ],
    stamp: Some("k8s.io/component-base/version"),
    staging: Some("v0.34.4"),
    ..PLAIN
};

const ETCD: Source = Source {
    name: "etcd",
    module: "go.etcd.io/etcd/server/v3",
    version: "v3.6.16",
    packages: &["etcd"],
    main: Some(
        "package main\n\nimport (\n\t\"os\"\n\n\t\"go.etcd.io/etcd/server/v3/etcdmain\"\n)\n\nfunc main() { etcdmain.Main(os.Args) }\n",
    ),
    ..PLAIN
};

const COREDNS: Source = Source {
    name: "coredns",
    module: "github.com/coredns/coredns",
    version: "v1.12.4",
    packages: &["github.com/coredns/coredns"],
    ..PLAIN
};

const METALLB: Source = Source {
    name: "metallb",
    module: "go.universe.tf/metallb",
    version: "v0.15.2",
    packages: &["go.universe.tf/metallb/controller"],
    files: Some("config/crd/bases"),
    ..PLAIN
};

const HELM: Source = Source {
    name: "helm",
    module: "helm.sh/helm/v3",
    version: "v3.22.0",
    packages: &["helm.sh/helm/v3/cmd/helm"],
    // Of the Kubernetes that charts are rendered for where nothing else is said. Unset, it is 1.20.
    variables: &[
        ("helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor", "34"),
        ("helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor", "34"),
    ],
    ..PLAIN
};

const KUBECONFORM: Source = Source {
    name: "kubeconform",
    module: "github.com/yannh/kubeconform",
    version: "v0.8.0",
    packages: &["github.com/yannh/kubeconform/cmd/kubeconform"],
    ..PLAIN
};

const KUBE_SCORE: Source = Source {
    name: "kube-score",
    module: "github.com/zegl/kube-score",
    version: "v1.20.0",
    packages: &["github.com/zegl/kube-score/cmd/kube-score"],
    ..PLAIN
};

const TILT: Source = Source {
    name: "tilt",
    module: "github.com/tilt-dev/tilt",
    version: "v0.33.0",
    packages: &["github.com/tilt-dev/tilt/cmd/tilt"],
    replaces: true,
    c: true,
    ..PLAIN
};

const KIND: Source = Source {
    name: "kind",
    module: "sigs.k8s.io/kind",
    version: "v0.33.0",
    packages: &["kind-config"],
    main: Some(include_str!("kind_config.go")),
    ..PLAIN
};

/// What a lab runs, and what people use on it.
const LAB: [&Source; 5] = [&KUBERNETES, &ETCD, &COREDNS, &METALLB, &HELM];
/// What makes manifests of charts and judges them, and what reads the files of the inner loop.
const CHARTS: [&Source; 5] = [&HELM, &KUBECONFORM, &KUBE_SCORE, &TILT, &KIND];

/// The programs, built.
#[derive(Clone, Debug)]
pub(in crate::lab) struct Bins {
    dirs: Vec<PathBuf>,
}

impl Bins {
    /// Those of a lab, built if they are not in the cache.
    pub(in crate::lab) fn of_lab(cache: &Cache, workspace: &Workspace, runner: &Runner) -> Result<Self> {
        Self::build(&LAB, cache, workspace, runner)
    }

    /// helm, kubeconform, kube-score, tilt and kind-config.
    pub(in crate::lab) fn of_charts(cache: &Cache, workspace: &Workspace, runner: &Runner) -> Result<Self> {
        Self::build(&CHARTS, cache, workspace, runner)
    }

    fn build(sources: &[&Source], cache: &Cache, workspace: &Workspace, runner: &Runner) -> Result<Self> {
        let mut dirs = Vec::new();
        for source in sources {
            dirs.push(source.built(cache.dir(), workspace, runner)?);
        }
        Ok(Self { dirs })
    }

    /// The path of a program or file. Where it isn't there, starting it says so.
    pub(in crate::lab) fn path(&self, name: &str) -> PathBuf {
        let paths = self.dirs.iter().map(|dir| dir.join(name));
        paths.into_iter().find(|path| path.exists()).unwrap_or_else(|| PathBuf::from(name))
    }

    /// The folder that holds a file.
    pub(in crate::lab) fn dir_of(&self, name: &str) -> Result<PathBuf> {
        let dir = self.dirs.iter().find(|dir| dir.join(name).exists());
        dir.cloned().with_context(|| format!("no module brought {name}: remove its folder from the cache"))
    }

    /// Makes links to all programs in `dir`, in place of what was there.
    pub(in crate::lab) fn link(&self, dir: &Path) -> Result<()> {
        if dir.exists() {
            fs::remove_dir_all(dir).with_context(|| format!("failed to remove {}", dir.display()))?;
        }
        make_dir(dir)?;
        let packages = LAB.iter().chain(&CHARTS[1..]).flat_map(|source| source.packages);
        for name in packages.map(|package| program(package)) {
            let path = self.path(name);
            if path.is_absolute() {
                let link = dir.join(name);
                symlink(&path, &link).with_context(|| format!("failed to make {}", link.display()))?;
            }
        }
        Ok(())
    }
}

fn program(package: &str) -> &str {
    package.rsplit('/').next().unwrap_or(package)
}

impl Source {
    /// The folder with its programs.
    fn built(&self, cache: &Path, workspace: &Workspace, runner: &Runner) -> Result<PathBuf> {
        let name = format!("{}-{}", self.name, self.version);
        let there = cache.join(&name);
        if there.is_dir() {
            return Ok(there);
        }
        make_dir(cache)?;
        let _lock = folder::wait_for_lock(&cache.join("build.lock"), "another build of Kubernetes", runner)?;
        if there.is_dir() {
            return Ok(there);
        }
        install::ensure(&Need::Go, workspace, runner)?;
        let part = cache.join(format!("{name}.part"));
        if part.exists() {
            fs::remove_dir_all(&part).with_context(|| format!("failed to remove {}", part.display()))?;
        }
        make_dir(&part)?;
        if self.c {
            install::ensure(&Need::CxxCompiler, workspace, runner)?;
        }
        let go = Go { dir: &part, log: &cache.join(format!("{name}.log")), runner, c: self.c };
        write(go.log, "")?;
        write(&part.join("go.mod"), &self.go_mod(&go)?)?;
        if let Some(main) = self.main {
            make_dir(&part.join("src"))?;
            write(&part.join("src/main.go"), main)?;
        }
        for (number, package) in self.packages.iter().enumerate() {
            let of = if self.packages.len() > 1 {
                format!(" ({} of {})", number + 1, self.packages.len())
            } else {
                String::new()
            };
            eprintln!("building {} {}{of}: {}", self.name, self.version, program(package));
            let begun = Instant::now();
            let package_or_folder = if self.main.is_some() { "./src" } else { *package };
            go.run(["build", "-o", program(package), "-ldflags", &self.linked(), package_or_folder])?;
            eprintln!("built {} in {} s", program(package), begun.elapsed().as_secs());
        }
        if let Some(files) = self.files {
            let module = go.said(["list", "-m", "-f", "{{.Dir}}", self.module])?;
            copy_yaml(&Path::new(module.trim()).join(files), &part)?;
        }
        fs::rename(&part, &there).with_context(|| format!("failed to move {}", part.display()))?;
        Ok(there)
    }

    fn linked(&self) -> String {
        let mut flags = "-s -w".to_owned();
        if let Some(at) = self.stamp {
            let mut numbers = self.version.trim_start_matches('v').split('.');
            let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
            for (name, value) in [("gitVersion", self.version), ("gitMajor", major), ("gitMinor", minor)] {
                flags.push_str(&format!(" -X {at}.{name}={value}"));
            }
        }
        for (name, value) in self.variables {
            flags.push_str(&format!(" -X {name}={value}"));
        }
        flags
    }

    /// A module that does nothing but name this one. Its other dependencies are those that the module names.
    fn go_mod(&self, go: &Go<'_>) -> Result<String> {
        let Self { name, module, version, .. } = self;
        let mut text = format!("module stoker.dev/lab/{name}\n\ngo {GO}\n\nrequire {module} {version}\n");
        if self.staging.is_none() && !self.replaces {
            return Ok(text);
        }
        write(&go.dir.join("go.mod"), &text)?;
        let said = go.said(["mod", "download", "-json", &format!("{module}@{version}")])?;
        let said: serde_json::Value =
            serde_json::from_str(&said).context("failed to read what `go mod download` said")?;
        let path = |name: &str| {
            said[name]
                .as_str()
                .map(PathBuf::from)
                .with_context(|| format!("`go mod download` names no {name}"))
        };
        let its = read(&path("GoMod")?)?;
        if let Some(staging) = self.staging {
            for module in staged(&its) {
                text.push_str(&format!("replace {module} => {module} {staging}\n"));
            }
        }
        if self.replaces {
            text.extend(replaced(&its).map(|line| format!("replace {line}\n")));
            write(&go.dir.join("go.sum"), &read(&path("Dir")?.join("go.sum"))?)?;
        }
        Ok(text)
    }
}

/// The modules that a go.mod replaces by a folder beside it.
fn staged(go_mod: &str) -> Vec<String> {
    let modules = go_mod.lines().filter_map(|line| {
        let (module, folder) = line.trim().trim_start_matches("replace ").split_once(" => ")?;
        folder.starts_with("./").then(|| module.to_owned())
    });
    modules.collect()
}

/// What a go.mod replaces by other modules.
fn replaced(go_mod: &str) -> impl Iterator<Item = &str> {
    let lines = go_mod.lines().map(|line| line.trim().trim_start_matches("replace "));
    lines.filter(|line| line.split_once(" => ").is_some_and(|(_, by)| !by.starts_with('.')))
}

fn copy_yaml(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("failed to list {}", from.display()))? {
        let path = entry.with_context(|| format!("failed to list {}", from.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "yaml")
            && let Some(name) = path.file_name()
        {
            // Those of modules are read-only, and whoever removes the cache must be able to.
            write(&to.join(name), &read(&path)?)?;
        }
    }
    Ok(())
}

/// The `go` command within a module that is being built.
struct Go<'a> {
    dir: &'a Path,
    log: &'a Path,
    runner: &'a Runner,
    /// With a C compiler.
    c: bool,
}

impl Go<'_> {
    fn step<'w>(&self, words: impl IntoIterator<Item = &'w str>) -> Step {
        Step::new("go")
            .args(words)
            .env("CGO_ENABLED", if self.c { "1" } else { "0" })
            // What the user has set for modules of their own must not change what is built.
            .env("GOFLAGS", "-mod=mod -trimpath -buildvcs=false")
            .env("GOWORK", "off")
            .dir(self.dir)
    }

    fn run<'w>(&self, words: impl IntoIterator<Item = &'w str>) -> Result<()> {
        let step = self.step(words);
        let reason = match self.runner.run(&step, self.log, false, Instant::now() + LIMIT)? {
            Ending::Exited(status) if status.success() => return Ok(()),
            Ending::Exited(status) => status.to_string(),
            Ending::TooLong => format!("not done after {} s", LIMIT.as_secs()),
        };
        let said = read(self.log)?;
        let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        bail!(
            "`{}` failed ({reason}):\n     {}\n   the whole output is in {}; behind a proxy or mirror, name it in GOPROXY",
            step.shown(),
            lines[lines.len().saturating_sub(5)..].join("\n     "),
            self.log.display()
        )
    }

    fn said<'w>(&self, words: impl IntoIterator<Item = &'w str>) -> Result<String> {
        let step = self.step(words);
        let said = self.runner.capture(&step)?;
        if !said.ok {
            bail!("`{}` failed: {}", step.shown(), said.err.trim());
        }
        Ok(said.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_kubernetes_are_those_that_it_names_by_place() {
        let go_mod = "module k8s.io/kubernetes\n\nrequire k8s.io/api v0.0.0\n\nreplace (\n\tk8s.io/api => ./staging/src/k8s.io/api\n\tk8s.io/kubelet => ./staging/src/k8s.io/kubelet\n\tgithub.com/a/b => github.com/c/b v1.0.0\n)\n";
        assert_eq!(staged(go_mod), ["k8s.io/api", "k8s.io/kubelet"]);
        assert_eq!(replaced(go_mod).collect::<Vec<_>>(), ["github.com/a/b => github.com/c/b v1.0.0"]);
    }

    #[test]
    fn kubernetes_is_told_its_version() {
        let flags = KUBERNETES.linked();
        assert!(
            flags.contains("version.gitVersion=v1.34.4 ") && flags.ends_with("version.gitMinor=34"),
            "{flags}"
        );
        assert!(HELM.linked().starts_with("-s -w -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=34"));
        assert_eq!(ETCD.linked(), "-s -w");
    }

    #[test]
    fn links_lead_to_what_was_built_and_to_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let built = dir.path().join("kubernetes-v1");
        fs::create_dir(&built).unwrap();
        fs::write(built.join("kubectl"), "").unwrap();
        let links = dir.path().join("bin");
        let bins = Bins { dirs: vec![built.clone()] };
        bins.link(&links).unwrap();
        bins.link(&links).unwrap();
        let names: Vec<_> = fs::read_dir(&links).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["kubectl"]);
        assert_eq!(fs::read_link(links.join("kubectl")).unwrap(), built.join("kubectl"));
    }
}
