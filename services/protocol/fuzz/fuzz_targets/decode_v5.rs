//! Any bytes as packets of MQTT 5.

#![no_main]

#[path = "../src/checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    checks::decode(stoker_protocol::codec::Version::V5, data);
});
