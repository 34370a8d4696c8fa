//! The corpus of the fuzz targets, checked on stable with the code of the targets themselves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../fuzz/src/checks.rs"]
mod checks;

use std::path::Path;

use stoker_protocol::codec::Version;

fn replay(target: &str, check: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 20, "the corpus of {target} is there");
    for file in files {
        println!("{}", file.display());
        check(&std::fs::read(file).unwrap());
    }
}

#[test]
fn the_corpus_of_decode_v4_holds() {
    replay("decode_v4", |data| checks::decode(Version::V311, data));
}

#[test]
fn the_corpus_of_decode_v5_holds() {
    replay("decode_v5", |data| checks::decode(Version::V5, data));
}

#[test]
fn the_corpus_of_session_holds() {
    replay("session", checks::session);
}
