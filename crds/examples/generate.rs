//! Writes the definitions into the folder that is named: `cargo xtask crds` calls it.

use std::path::PathBuf;

/// Said in each file.
const HEADER: &str = "# Made by `cargo xtask crds` from crds/src. Change it there.\n";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: generate FOLDER")?);
    for (name, definition) in stoker_crds::definitions() {
        std::fs::write(folder.join(name), HEADER.to_owned() + &serde_yaml::to_string(&definition)?)?;
    }
    Ok(())
}
