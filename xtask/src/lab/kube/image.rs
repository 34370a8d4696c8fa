//! Images, made on the spot of what is built and of Debian's packages, and handed to the lab's containerd. Their names
//! are of no registry that exists, so nothing is ever pulled.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::layer::{Blob, Layer, digest_of};
use super::{Kube, Place};
use crate::install::{self, Need};
use crate::lab::fetch::Cache;
use crate::lab::folder;
use crate::lab::template::make_dir;
use crate::process::{Ending, Runner, Step};
use crate::workspace::Workspace;

/// What holds a pod's network: it sleeps.
pub(super) const PAUSE: &str = "stoker.local/pause:1";
/// A shell and its tools, for looking around from within the cluster.
const TOOLS: &str = "stoker.local/busybox:1";
const BUSYBOX: &str = "/bin/busybox";
const APPLETS: [&str; 12] =
    ["cat", "env", "id", "ls", "nc", "nslookup", "ps", "sh", "sleep", "true", "vi", "wget"];
/// What a program of ours needs beside itself.
const BASE: [&str; 3] = ["libc6", "libgcc-s1", "ca-certificates"];
/// As distroless images have it.
const USER: u32 = 65532;
/// The programs that are put into Stoker's image, as far as they are built.
const PROGRAMS: [&str; 2] = ["stoker", "stoker-operator"];
const LIMIT: Duration = Duration::from_secs(300);

/// How an image is run.
struct Run<'a> {
    user: String,
    /// What is always run.
    entrypoint: &'a [&'a str],
    /// What is run unless something else is asked for.
    command: &'a [&'a str],
}

/// Hands containerd the image that every pod needs.
pub(in crate::lab) fn import_pause(place: &Place, runner: &Runner) -> Result<()> {
    let dir = place.part(Kube::Containerd).join("images");
    make_dir(&dir)?;
    let mut layer = Layer::new(&dir.join("busybox.layer"))?;
    layer.folder("bin", 0o755, 0)?;
    layer.folder("tmp", 0o1777, 0)?;
    layer.file("bin/busybox", Path::new(BUSYBOX), Some(0o755))?;
    for applet in APPLETS {
        layer.link(&format!("bin/{applet}"), Path::new("busybox"))?;
    }
    let run = Run { user: String::new(), entrypoint: &[], command: &["/bin/sleep", "2147483647"] };
    let archive = dir.join("pause.tar");
    pack(&archive, &[PAUSE, TOOLS], &[layer.finish()?], &run)?;
    import(place, runner, &archive)
}

/// Makes Stoker's image of the programs in `from` and hands it to containerd; returns its name and its archive.
pub(in crate::lab) fn make(
    workspace: &Workspace,
    runner: &Runner,
    cache: &Cache,
    from: &Path,
    tag: &str,
) -> Result<(String, PathBuf)> {
    let programs: Vec<&str> = PROGRAMS.into_iter().filter(|program| from.join(program).is_file()).collect();
    if !programs.contains(&PROGRAMS[0]) {
        bail!("there is no {}/{}: `cargo build --release` makes it", from.display(), PROGRAMS[0]);
    }
    let base = base(workspace, runner, cache)?;
    let dir = workspace.target.join("image");
    make_dir(&dir)?;
    let mut layer = Layer::new(&dir.join("stoker.layer"))?;
    for folder in ["usr", "usr/local", "usr/local/bin"] {
        layer.folder(folder, 0o755, 0)?;
    }
    for program in &programs {
        layer.file(&format!("usr/local/bin/{program}"), &from.join(program), Some(0o755))?;
    }
    let name = format!("stoker.local/stoker:{tag}");
    let archive = dir.join("stoker.tar");
    let layer = layer.finish()?;
    let run = Run { user: format!("{USER}:{USER}"), entrypoint: &[PROGRAMS[0]], command: &[] };
    pack(&archive, &[&name], &[base, layer.clone()], &run)?;
    fs::remove_file(&layer.path).with_context(|| format!("failed to remove {}", layer.path.display()))?;
    eprintln!("made {name} of {} from {}", programs.join(" and "), from.display());
    Ok((name, archive))
}

/// Hands an archive to containerd.
pub(in crate::lab) fn import(place: &Place, runner: &Runner, archive: &Path) -> Result<()> {
    let step = place.ctr(&["images", "import"]).args([archive]);
    let said = runner.capture(&step)?;
    if !said.ok {
        bail!("`{}` failed: {}", step.shown(), said.err.trim());
    }
    Ok(())
}

/// The layer below the programs: glibc, what unwinds stacks, certificates of authorities, and a user. No shell.
fn base(workspace: &Workspace, runner: &Runner, cache: &Cache) -> Result<Blob> {
    install::ensure(&Need::Debian, workspace, runner)?;
    let query = Step::new("dpkg-query").args(["--show", "--showformat=${Version}", BASE[0]]);
    // What was built against this machine's glibc needs one that is as new.
    let version: String = runner
        .capture(&query)?
        .out
        .trim()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '.')
        .collect();
    let there = cache.dir().join(format!("image-base-{version}.layer"));
    if there.is_file() {
        return Blob::of(there);
    }
    make_dir(cache.dir())?;
    let _lock = folder::wait_for_lock(&cache.dir().join("fetch.lock"), "another download", runner)?;
    let part = cache.dir().join("image-base.part");
    if part.exists() {
        fs::remove_dir_all(&part).with_context(|| format!("failed to remove {}", part.display()))?;
    }
    let root = part.join("root");
    make_dir(&root)?;
    unpack(runner, &part, &root)?;
    let layer = Layer::new(&part.join("layer"))?;
    let blob = filled(layer, &root)?;
    fs::rename(&blob.path, &there).with_context(|| format!("failed to move {}", blob.path.display()))?;
    fs::remove_dir_all(&part).with_context(|| format!("failed to remove {}", part.display()))?;
    Blob::of(there)
}

/// Fetches the packages and lays out what is in them, as Debian has signed it.
fn unpack(runner: &Runner, dir: &Path, root: &Path) -> Result<()> {
    let log = dir.join("packages.log");
    fs::write(&log, "").with_context(|| format!("failed to write {}", log.display()))?;
    // apt's own user could not write here.
    let fetch =
        Step::new("apt-get").args(["--option", "APT::Sandbox::User=root", "download"]).args(BASE).dir(dir);
    run(runner, &fetch, &log)?;
    for entry in fs::read_dir(dir).with_context(|| format!("failed to list {}", dir.display()))?.flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "deb") {
            run(
                runner,
                &Step::new("dpkg-deb").args(["--extract"]).args([&entry.path(), &root.to_path_buf()]),
                &log,
            )?;
        }
    }
    Ok(())
}

fn run(runner: &Runner, step: &Step, log: &Path) -> Result<()> {
    let reason = match runner.run(step, log, false, Instant::now() + LIMIT)? {
        Ending::Exited(status) if status.success() => return Ok(()),
        Ending::Exited(status) => status.to_string(),
        Ending::TooLong => format!("not done after {} s", LIMIT.as_secs()),
    };
    bail!("`{}` failed ({reason}): its output is in {}", step.shown(), log.display())
}

fn filled(mut layer: Layer, root: &Path) -> Result<Blob> {
    layer.tree(root)?;
    for name in ["lib", "lib64"] {
        // Newer packages hold what is below /usr alone and leave this link to another one.
        if !root.join(name).exists() && root.join("usr").join(name).exists() {
            layer.link(name, &Path::new("usr").join(name))?;
        }
    }
    let authorities = root.join("usr/share/ca-certificates/mozilla");
    let listed =
        fs::read_dir(&authorities).with_context(|| format!("failed to list {}", authorities.display()))?;
    let mut paths: Vec<PathBuf> = listed.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        all.extend(fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?);
    }
    for folder in ["etc/ssl", "etc/ssl/certs", "home"] {
        if !root.join(folder).exists() {
            layer.folder(folder, 0o755, 0)?;
        }
    }
    layer.bytes("etc/ssl/certs/ca-certificates.crt", 0o644, &all)?;
    let (user, nobody, home) = (USER, "/sbin/nologin", "home/nonroot");
    let users = format!("root:x:0:0::/:{nobody}\nnonroot:x:{user}:{user}::/{home}:{nobody}\n");
    layer.bytes("etc/passwd", 0o644, users.as_bytes())?;
    layer.bytes("etc/group", 0o644, format!("root:x:0:\nnonroot:x:{user}:\n").as_bytes())?;
    layer.bytes("etc/nsswitch.conf", 0o644, b"passwd: files\ngroup: files\nhosts: files dns\n")?;
    layer.folder(home, 0o700, u64::from(USER))?;
    layer.folder("tmp", 0o1777, 0)?;
    layer.finish()
}

/// Writes an image as the archive of an OCI layout, which containerd, Docker and podman all take.
fn pack(to: &Path, names: &[&str], layers: &[Blob], run: &Run<'_>) -> Result<()> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let digests: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", layer.digest)).collect();
    let config = serde_json::to_vec(&json!({
        "created": "1970-01-01T00:00:00Z",
        "architecture": architecture,
        "os": "linux",
        "config": {
            "User": run.user,
            "Entrypoint": run.entrypoint,
            "Cmd": run.command,
            "WorkingDir": "/",
            "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
        },
        "rootfs": {"type": "layers", "diff_ids": digests},
        "history": layers.iter().map(|_| json!({"created_by": "cargo xtask lab"})).collect::<Vec<_>>(),
    }))?;
    let described = |kind: &str, digest: &str, size: u64| json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "digest": format!("sha256:{digest}"), "size": size});
    let tars: Vec<Value> =
        layers.iter().map(|layer| described("layer.v1.tar", &layer.digest, layer.size)).collect();
    let config_digest = digest_of(&config);
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": described("config.v1+json", &config_digest, u64::try_from(config.len())?),
        "layers": tars,
    }))?;
    let manifest_digest = digest_of(&manifest);
    let index: Vec<Value> = names
        .iter()
        .map(|name| {
            let mut one = described("manifest.v1+json", &manifest_digest, manifest.len() as u64);
            let tag = name.rsplit(':').next();
            one["annotations"] =
                json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag});
            one
        })
        .collect();
    let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": index}))?;

    let new = to.with_extension("new");
    let mut archive = Layer::new(&new)?;
    archive.bytes("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    archive.bytes("index.json", 0o644, &index)?;
    for folder in ["blobs", "blobs/sha256"] {
        archive.folder(folder, 0o755, 0)?;
    }
    for (digest, bytes) in [(&config_digest, &config), (&manifest_digest, &manifest)] {
        archive.bytes(&format!("blobs/sha256/{digest}"), 0o644, bytes)?;
    }
    for layer in layers {
        archive.file(&format!("blobs/sha256/{}", layer.digest), &layer.path, Some(0o644))?;
    }
    archive.close()?;
    fs::rename(&new, to).with_context(|| format!("failed to move {}", new.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs::File;
    use std::io::Read;

    use super::*;

    fn files(archive: &Path) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(File::open(archive).unwrap());
        let read = |entry: std::io::Result<tar::Entry<'_, File>>| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().display().to_string(), bytes)
        };
        archive.entries().unwrap().map(read).collect()
    }

    #[test]
    fn an_archive_holds_whatever_it_names() {
        let dir = tempfile::tempdir().unwrap();
        let mut layer = Layer::new(&dir.path().join("layer")).unwrap();
        layer.bytes("a", 0o644, b"a").unwrap();
        let to = dir.path().join("image.tar");
        let run = Run { user: "65532:65532".to_owned(), entrypoint: &["stoker"], command: &[] };
        pack(&to, &["stoker.local/stoker:dev"], &[layer.finish().unwrap()], &run).unwrap();
        let files = files(&to);
        let blob = |what: &Value| -> Value {
            let digest = what["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
            let bytes = &files[&format!("blobs/sha256/{digest}")];
            assert_eq!(digest_of(bytes), digest);
            assert_eq!(what["size"], bytes.len());
            serde_json::from_slice(bytes).unwrap_or_default()
        };
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        let image = &index["manifests"][0];
        assert_eq!(image["annotations"]["io.containerd.image.name"], "stoker.local/stoker:dev");
        let manifest = blob(image);
        let config = blob(&manifest["config"]);
        assert_eq!(config["config"]["User"], "65532:65532");
        assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
        blob(&manifest["layers"][0]);
    }
}
