//! Compiles the service definitions, without an installed protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let core = ["gateway", "member", "notifier", "portal"].map(|name| format!("stoker/core/v1/{name}.proto"));
    let files = core.into_iter().chain(["stoker/bus/v1/bus.proto".to_owned()]);
    println!("cargo:rerun-if-changed=stoker");
    let descriptors = protox::compile(files, ["."])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
