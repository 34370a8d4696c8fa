//! What a QoS 1 publish costs: `cargo run --release -p stoker-protocol --example hot_path`.
//!
//! A million readings of 100 bytes through one session, each taken in, answered and acknowledged; once one
//! by one, once in reads of 64. And what a connection keeps while it is idle.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use stoker_protocol::codec::{Packet, PacketId, Properties, Publish, Qos, Version};
use stoker_protocol::session::{Accept, Event, Limits, Output, PublishOutcome, Session};

const ROUNDS: u32 = 1_000_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("a session is {} bytes, an event {}", size_of::<Session>(), size_of::<Event>());
    for version in [Version::V311, Version::V5] {
        for at_once in [1, 64] {
            let nanoseconds = run(version, at_once)?;
            println!("{version:?}, {at_once} in a read: {nanoseconds} ns for each publish");
        }
    }
    Ok(())
}

fn run(version: Version, at_once: u32) -> Result<u128, Box<dyn std::error::Error>> {
    let mut out = Output::new();
    let mut session = Session::new(0, Arc::new(Limits::default()));
    let connect: &[u8] = match version {
        Version::V311 => b"\x10\x0C\0\x04MQTT\x04\x02\0\x3C\0\0",
        Version::V5 => b"\x10\x0D\0\x04MQTT\x05\x02\0\x3C\0\0\0",
    };
    session.receive(0, connect, &mut out);
    session.accept(0, &Accept { assigned_client_id: "device" }, &mut out);
    out.clear();
    let mut bytes = Vec::new();
    for _ in 0..at_once {
        let publish = Publish {
            dup: false,
            qos: Qos::AtLeastOnce,
            retain: false,
            topic: "v1/devices/me/telemetry",
            packet_id: Some(PacketId::MIN),
            properties: Properties::EMPTY,
            payload: &[b'x'; 100],
        };
        Packet::Publish(publish).encode(version, &mut bytes)?;
    }
    let start = Instant::now();
    let mut events = Vec::new();
    for _ in 0..ROUNDS / at_once {
        session.receive(1, black_box(&bytes), &mut out);
        std::mem::swap(&mut events, &mut out.events);
        for event in events.drain(..) {
            if let Event::Publish(publish) = black_box(event)
                && let Some(token) = publish.token
            {
                session.publish_done(1, token, PublishOutcome::Stored, &mut out);
            }
        }
        black_box(&out.transmit);
        out.clear();
    }
    let each = start.elapsed().as_nanos() / u128::from(ROUNDS / at_once * at_once);
    assert!(session.is_live() && session.unanswered() == 0);
    Ok(each)
}
