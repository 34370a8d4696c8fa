//! What reading a payload costs: `cargo run --release -p stoker-domain --example payload_cost`.

use std::hint::black_box;
use std::time::Instant;

use stoker_domain::payload::{PayloadLimits, rpc_reply, telemetry};

const ROUNDS: u32 = 1_000_000;

fn main() {
    let limits = PayloadLimits::default();
    let mut now = 1_700_000_000_000;
    for payload in [
        r#"{"t_supply":71.25,"p":1.4}"#,
        r#"{"ts":1700000000000,"values":{"t_supply":71.25,"p":1.4}}"#,
        r#"{"values":{"t_supply":71.25,"p":1.4},"ts":1700000000000}"#,
        r#"{"t_supply":71.25,"t_return":55.1,"t_setpoint":70,"pressure":1.42,"flame":true}"#,
        r#"{"state":{"pumps":[true,false],"valve":0.25},"mode":"heating"}"#,
    ] {
        let begin = Instant::now();
        for _ in 0..ROUNDS {
            let mut stamp = || {
                now += 1;
                now
            };
            let _ =
                black_box(telemetry(black_box(payload.as_bytes()), 1_700_000_000_000, &mut stamp, &limits));
        }
        println!("{:>6.0} ns  telemetry {payload}", begin.elapsed().as_nanos() as f64 / f64::from(ROUNDS));
    }
    let payload = r#"{"ok":true,"setpoint":55}"#;
    let begin = Instant::now();
    for _ in 0..ROUNDS {
        let _ = black_box(rpc_reply(black_box(payload.as_bytes()), &limits));
    }
    println!("{:>6.0} ns  reply     {payload}", begin.elapsed().as_nanos() as f64 / f64::from(ROUNDS));
}
