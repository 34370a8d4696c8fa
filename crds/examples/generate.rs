//! Writes the definitions into the folders that are named: `cargo xtask crds` calls it.

use std::path::PathBuf;

/// Said in each file.
const HEADER: &str = "# Made by `cargo xtask crds` from crds/src. Change it there.\n";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folders: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if folders.is_empty() {
        return Err("usage: generate FOLDER…".into());
    }
    for (name, definition) in stoker_crds::definitions() {
        let text = HEADER.to_owned() + &serde_yaml::to_string(&definition)?;
        for folder in &folders {
            std::fs::write(folder.join(name), &text)?;
        }
    }
    Ok(())
}
