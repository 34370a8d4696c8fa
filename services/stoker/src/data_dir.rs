//! The data directory and the administrator's token in it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The name of the token's file.
pub(crate) const TOKEN_FILE: &str = "admin.token";

/// `$XDG_DATA_HOME/stoker`, or `~/.local/share/stoker`.
pub(crate) fn default() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // The standard says that a relative path is to be ignored.
    if let Some(base) = set("XDG_DATA_HOME").filter(|path| path.is_absolute()) {
        return Ok(base.join("stoker"));
    }
    match set("HOME") {
        Some(home) => Ok(home.join(".local/share/stoker")),
        None => bail!("neither XDG_DATA_HOME nor HOME is set: give --data-dir"),
    }
}

/// Refuses what can never be a data directory, naming the part of the path that is in the way.
pub(crate) fn check(directory: &Path) -> Result<()> {
    // What is there and stands nearest decides whether the rest can be made.
    let nearest = directory.ancestors().find_map(|path| path.metadata().ok().map(|found| (path, found)));
    match nearest {
        Some((path, found)) if !found.is_dir() && path == directory => {
            bail!("{} is not a directory: give another --data-dir", path.display())
        }
        Some((path, found)) if !found.is_dir() => bail!(
            "{} is not a directory, so that {} cannot be made: give another --data-dir",
            path.display(),
            directory.display()
        ),
        _ => Ok(()),
    }
}

/// Reads the token, or makes it when this is the first start. True: it was made now.
pub(crate) fn admin_token(file: &Path) -> Result<(String, bool)> {
    let shown = file.display();
    match fs::read_to_string(file) {
        Ok(text) => {
            let token = text.trim().to_owned();
            if token.is_empty() {
                bail!(
                    "the token file {shown} is empty: remove it, and a new token is made at the next start"
                );
            }
            return Ok((token, false));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("failed to read the token file {shown}")),
    }
    let mut random = [0; 24];
    getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("no randomness for a token: {error}"))?;
    let token = format!("stk_{}", URL_SAFE_NO_PAD.encode(random));
    crate::files::write_private(file, format!("{token}\n").as_bytes())?;
    Ok((token, true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_token_is_made_once_and_readable_by_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(TOKEN_FILE);
        let (first, made) = admin_token(&file).unwrap();
        assert!(made && first.starts_with("stk_") && first.len() == 36, "{first}");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(admin_token(&file).unwrap(), (first, false));
    }

    #[test]
    fn what_is_in_the_way_of_a_data_directory_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        for (path, fits) in
            [("", true), ("new", true), ("new/er", true), ("file", false), ("file/a/b", false)]
        {
            let checked = check(&directory.path().join(path));
            assert_eq!(checked.is_ok(), fits, "{path}");
            if let Err(error) = checked {
                assert!(error.to_string().starts_with(&format!("{} is not a directory", file.display())));
            }
        }
        check(Path::new("relative")).unwrap();
    }

    #[test]
    fn an_empty_token_file_lets_nobody_in() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(TOKEN_FILE);
        fs::write(&file, "\n").unwrap();
        assert!(admin_token(&file).unwrap_err().to_string().contains("is empty"));
    }
}
