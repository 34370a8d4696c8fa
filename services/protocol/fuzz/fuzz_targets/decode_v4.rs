//! Any bytes as packets of MQTT 3.1.1.

#![no_main]

#[path = "../src/checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    checks::decode(stoker_protocol::codec::Version::V311, data);
});
