//! The committed definitions are those of the types.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

#[test]
fn generated_files_are_those_of_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("generated");
    let mut files: BTreeSet<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    for (name, definition) in stoker_crds::definitions() {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        let written: CustomResourceDefinition = serde_yaml::from_str(&text).unwrap();
        assert!(written == definition, "{name} is not what the types say: run `cargo xtask crds`");
        files.remove(name);
    }
    assert_eq!(files, BTreeSet::new(), "of no type");
}

#[test]
fn the_chart_brings_the_same_files() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = |folder: &str| -> BTreeMap<String, String> {
        let entries = std::fs::read_dir(here.join(folder)).unwrap().map(Result::unwrap);
        let read = |entry: std::fs::DirEntry| {
            (entry.file_name().into_string().unwrap(), std::fs::read_to_string(entry.path()).unwrap())
        };
        entries.map(read).collect()
    };
    let (ours, charts) = (files("generated"), files("../helm/stoker/files/crds"));
    assert!(ours.keys().eq(charts.keys()), "{:?} differ from {:?}", ours.keys(), charts.keys());
    for (name, text) in &ours {
        assert!(charts[name] == *text, "{name} of the chart is another: run `cargo xtask crds`");
    }
}
