//! Compiles the stored forms without an installed protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const INCLUDE: &str = "../../proto";
    const FILES: [&str; 2] =
        ["../../proto/stoker/store/v1/rows.proto", "../../proto/stoker/store/v1/export.proto"];
    for file in FILES {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(FILES, [INCLUDE])?;
    prost_build::Config::new()
        // Two equal rows are equal bytes: maps come out in order.
        .btree_map(["."])
        .compile_fds(descriptors)?;
    Ok(())
}
