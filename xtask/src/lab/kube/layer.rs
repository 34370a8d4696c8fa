//! Layers of images: the same files make the same bytes, whoever packs them and when.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// A file that is known by its content.
#[derive(Clone, Debug)]
pub(super) struct Blob {
    pub(super) path: PathBuf,
    pub(super) digest: String,
    pub(super) size: u64,
}

impl Blob {
    pub(super) fn of(path: PathBuf) -> Result<Self> {
        let file = File::open(&path).with_context(|| format!("failed to open {}", path.display()))?;
        let mut file = BufReader::new(file);
        let (mut hash, mut size, mut part) = (Sha256::new(), 0, vec![0; 1 << 16]);
        loop {
            let read = file.read(&mut part).with_context(|| format!("failed to read {}", path.display()))?;
            if read == 0 {
                return Ok(Self { path, digest: hex(&hash.finalize()), size });
            }
            hash.update(&part[..read]);
            size += u64::try_from(read)?;
        }
    }
}

pub(super) fn digest_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A layer that is being written.
pub(super) struct Layer {
    path: PathBuf,
    tar: Builder<BufWriter<File>>,
}

impl Layer {
    pub(super) fn new(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("failed to make {}", path.display()))?;
        Ok(Self { path: path.to_path_buf(), tar: Builder::new(BufWriter::new(file)) })
    }

    /// A folder of that owner.
    pub(super) fn folder(&mut self, name: &str, mode: u32, owner: u64) -> Result<()> {
        let mut header = header(EntryType::Directory, mode, 0);
        header.set_uid(owner);
        header.set_gid(owner);
        self.tar.append_data(&mut header, name, std::io::empty()).with_context(|| self.failed(name))
    }

    pub(super) fn bytes(&mut self, name: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        let mut header = header(EntryType::Regular, mode, u64::try_from(bytes.len())?);
        self.tar.append_data(&mut header, name, bytes).with_context(|| self.failed(name))
    }

    pub(super) fn link(&mut self, name: &str, target: &Path) -> Result<()> {
        let mut header = header(EntryType::Symlink, 0o777, 0);
        self.tar.append_link(&mut header, name, target).with_context(|| self.failed(name))
    }

    /// The file at `path`, with its own rights unless others are named.
    pub(super) fn file(&mut self, name: &str, path: &Path, mode: Option<u32>) -> Result<()> {
        let file = File::open(path).with_context(|| format!("failed to open {}", path.display()))?;
        let found = file.metadata().with_context(|| format!("failed to look at {}", path.display()))?;
        let mode = mode.unwrap_or(found.permissions().mode() & 0o7777);
        let mut header = header(EntryType::Regular, mode, found.len());
        self.tar.append_data(&mut header, name, file).with_context(|| self.failed(name))
    }

    /// All that is below `root`.
    pub(super) fn tree(&mut self, root: &Path) -> Result<()> {
        self.below(root, Path::new(""))
    }

    fn below(&mut self, root: &Path, dir: &Path) -> Result<()> {
        let from = root.join(dir);
        let listed = fs::read_dir(&from).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        let mut entries = listed.with_context(|| format!("failed to list {}", from.display()))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = dir.join(entry.file_name());
            let shown = name.to_string_lossy().into_owned();
            let kind = entry.file_type().with_context(|| format!("failed to look at {shown}"))?;
            if kind.is_symlink() {
                let target =
                    fs::read_link(entry.path()).with_context(|| format!("failed to follow {shown}"))?;
                self.link(&shown, &target)?;
            } else if kind.is_dir() {
                self.folder(&shown, 0o755, 0)?;
                self.below(root, &name)?;
            } else {
                self.file(&shown, &entry.path(), None)?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Blob> {
        Blob::of(self.close()?)
    }

    /// Writes the last of it and returns its place.
    pub(super) fn close(self) -> Result<PathBuf> {
        let path = self.path;
        let written = self.tar.into_inner().and_then(|mut file| file.flush());
        written.with_context(|| format!("failed to write {}", path.display()))?;
        Ok(path)
    }

    fn failed(&self, name: &str) -> String {
        format!("failed to put {name} into {}", self.path.display())
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn packed(dir: &Path, names: &[&str]) -> Blob {
        let root = tempfile::tempdir_in(dir).unwrap();
        for name in names {
            fs::write(root.path().join(name), name).unwrap();
        }
        fs::create_dir(root.path().join("lib")).unwrap();
        symlink("a", root.path().join("lib/link")).unwrap();
        let mut layer = Layer::new(&root.path().with_extension("tar")).unwrap();
        layer.tree(root.path()).unwrap();
        layer.folder("tmp", 0o1777, 0).unwrap();
        layer.finish().unwrap()
    }

    #[test]
    fn the_same_files_make_the_same_layer() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (packed(dir.path(), &["a", "b"]), packed(dir.path(), &["b", "a"]));
        assert_eq!((one.digest, one.size), (other.digest, other.size));
    }

    #[test]
    fn links_stay_links_and_rights_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let blob = packed(dir.path(), &["a"]);
        let mut archive = tar::Archive::new(File::open(&blob.path).unwrap());
        let entries = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            let target = entry.link_name().unwrap().map(|target| target.display().to_string());
            (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap(), target)
        });
        let entries: Vec<_> = entries.collect();
        assert!(entries.contains(&("lib/link".to_owned(), 0o777, Some("a".to_owned()))), "{entries:?}");
        assert!(
            entries.iter().any(|(name, mode, _)| name.starts_with("tmp") && *mode == 0o1777),
            "{entries:?}"
        );
    }

    #[test]
    fn digests_are_those_that_everybody_has() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest_of(b""), empty);
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(Blob::of(file.path().to_path_buf()).unwrap().digest, empty);
    }
}
