//! Compiles the stored forms without an installed protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const INCLUDE: &str = "../../proto";
    const FILE: &str = "../../proto/stoker/store/v1/rows.proto";
    println!("cargo::rerun-if-changed={FILE}");
    let descriptors = protox::compile([FILE], [INCLUDE])?;
    prost_build::Config::new()
        // Two equal rows are equal bytes: maps come out in order.
        .btree_map(["."])
        .compile_fds(descriptors)?;
    Ok(())
}
