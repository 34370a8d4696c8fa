//! The configuration files of the parts: text with places like `@PORT@` to be filled in.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// The directory that holds the templates.
pub(super) fn dir(workspace: &Workspace) -> PathBuf {
    workspace.root.join("e2e/lab")
}

pub(super) fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
}

pub(super) fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("failed to make {}", path.display()))
}

pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}

/// The text with all places filled in. One that is left over, or a value without its place, is an error.
pub(super) fn fill(text: &str, values: &[(&str, String)]) -> Result<String> {
    let mut filled: String =
        text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    for (name, value) in values {
        let place = format!("@{name}@");
        if !filled.contains(&place) {
            bail!("there is no {place} to fill in");
        }
        filled = filled.replace(&place, value);
    }
    match filled.split('@').nth(1) {
        Some(name) => bail!("nothing fills in @{name}@"),
        None => Ok(filled),
    }
}

/// The lines that are neither empty nor comments.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_places_are_filled_in_and_none_is_forgotten() {
        let values = [("A", "1".to_owned()), ("B", "2".to_owned())];
        assert_eq!(fill("# @ signs\nx: @A@, @A@\ny: @B@\n", &values).unwrap(), "x: 1, 1\ny: 2\n");
        assert!(fill("@A@ @B@ @C@", &values).unwrap_err().to_string().contains("@C@"));
        assert!(fill("@A@", &values).unwrap_err().to_string().contains("@B@"));
    }

    #[test]
    fn comments_are_no_options() {
        assert_eq!(lines("# a\n\n-b\n  -c \n").collect::<Vec<_>>(), ["-b", "-c"]);
    }
}
