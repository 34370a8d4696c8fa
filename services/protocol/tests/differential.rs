//! Two implementations that know nothing of each other read the same packets, whole and broken: they accept
//! and refuse the same, and read the same from what they accept. Where they differ on purpose stands in
//! [`STRICTER`] and [`LAXER`], each with a packet that shows it; `DEVIATIONS.md` says the same for people.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/oracle.rs"]
mod oracle;
#[path = "common/packets.rs"]
mod packets;

use packets::{body, changed, changes, framed, packet};
use proptest::prelude::*;
use stoker_protocol::codec::{DecodeError, Packet, Version};
use stoker_protocol::topic;

/// What we refuse and the other accepts.
struct Stricter {
    /// What our error is about.
    about: &'static [&'static str],
    version: Version,
    example: &'static [u8],
}

/// Fields that hold a string, which the other takes with U+0000 in it.
const STRINGS: &[&str] = &[
    "assigned client identifier",
    "authentication method",
    "client identifier",
    "content type",
    "reason string",
    "response information",
    "response topic",
    "server reference",
    "topic filter",
    "topic name",
    "user name",
    "user property",
    "will topic",
];

const STRICTER: &[Stricter] = &[
    Stricter { about: STRINGS, version: Version::V311, example: b"\x30\x03\0\x01\0" },
    Stricter { about: &["wildcard in a topic name"], version: Version::V311, example: b"\x30\x03\0\x01#" },
    Stricter {
        about: &["empty topic name without a topic alias"],
        version: Version::V311,
        example: b"\x30\x02\0\0",
    },
    Stricter {
        about: &["will topic is empty or has wildcards"],
        version: Version::V311,
        example: b"\x10\x11\0\x04MQTT\x04\x04\0\0\0\0\0\x01+\0\0",
    },
    Stricter { about: &["response topic"], version: Version::V5, example: b"\x30\x08\0\x01a\x04\x08\0\x01#" },
    Stricter {
        about: &["reserved connect flag"],
        version: Version::V311,
        example: b"\x10\x0C\0\x04MQTT\x04\x03\0\0\0\0",
    },
    Stricter {
        about: &["will flags without a will"],
        version: Version::V311,
        example: b"\x10\x0C\0\x04MQTT\x04\x20\0\0\0\0",
    },
    Stricter {
        about: &["will with qos 3"],
        version: Version::V311,
        example: b"\x10\x11\0\x04MQTT\x04\x1C\0\0\0\0\0\x01a\0\0",
    },
    Stricter { about: &["reserved connack flags"], version: Version::V311, example: b"\x20\x02\x02\0" },
    Stricter {
        about: &["connack refuses with a session present"],
        version: Version::V311,
        example: b"\x20\x02\x01\x02",
    },
    Stricter { about: &["packet identifier 0"], version: Version::V311, example: b"\xB0\x02\0\0" },
    Stricter {
        about: &["bytes behind the acknowledgement"],
        version: Version::V311,
        example: b"\x40\x03\0\x01\0",
    },
    Stricter {
        about: &["reserved bits of the subscription options"],
        version: Version::V311,
        example: b"\x82\x06\0\x01\0\x01a\x04",
    },
    Stricter { about: &["empty topic filter"], version: Version::V311, example: b"\xA2\x04\0\x01\0\0" },
    Stricter {
        about: &["no local on a shared subscription"],
        version: Version::V5,
        example: b"\x82\x10\0\x01\0\0\x0A$share/g/a\x04",
    },
    Stricter { about: &["property length"], version: Version::V5, example: b"\x30\x03\0\x01a" },
    Stricter {
        about: &["subscription identifier"],
        version: Version::V5,
        example: b"\x30\x07\0\x01a\x03\x0B\x81\0",
    },
    Stricter {
        about: &["authentication data without a method"],
        version: Version::V5,
        example: b"\x20\x07\0\0\x04\x16\0\x01a",
    },
];

/// What we accept and the other refuses.
struct Laxer {
    is: fn(&Packet<'_>) -> bool,
    example: &'static [u8],
}

const LAXER: &[Laxer] = &[
    Laxer {
        is: |packet| match packet {
            Packet::Connect(connect) => connect.user_name.is_none() && connect.password.is_some(),
            _ => false,
        },
        example: b"\x10\x10\0\x04MQTT\x05\x40\0\0\0\0\0\0\x01a",
    },
    Laxer {
        is: |packet| match packet {
            Packet::Subscribe(packet) => packet.filters.iter().any(|wanted| is_wrong_share(wanted.filter)),
            Packet::Unsubscribe(packet) => packet.filters.iter().any(is_wrong_share),
            _ => false,
        },
        example: b"\x82\x0E\0\x01\0\0\x08$share/g\0",
    },
];

fn is_wrong_share(filter: &str) -> bool {
    topic::is_shared(filter) && !topic::is_valid_filter(filter)
}

/// What the two make of a packet.
#[derive(Debug)]
enum Verdict {
    Same,
    Stricter(DecodeError),
    Laxer,
    Differ(String),
}

fn judge(version: Version, frame: &[u8]) -> Verdict {
    let ours = Packet::decode(version, frame);
    let theirs = oracle::read(version, frame[0], body(frame));
    match (ours, theirs) {
        (Err(_), Err(_)) => Verdict::Same,
        (Err(error), Ok(_)) => Verdict::Stricter(error),
        (Ok(_), Err(_)) => Verdict::Laxer,
        (Ok(ours), Ok(seen)) => {
            let fields = oracle::fields(version, &ours);
            if fields != seen.fields {
                return Verdict::Differ(format!("{fields} here, {} there", seen.fields));
            }
            // Their writing of what they read, read by us: so all properties are compared too.
            let again = Packet::decode(version, &seen.bytes);
            if again == Ok(ours) { Verdict::Same } else { Verdict::Differ(format!("{again:?} there")) }
        }
    }
}

fn is_expected(version: Version, frame: &[u8]) -> Result<(), String> {
    match judge(version, frame) {
        Verdict::Same => Ok(()),
        Verdict::Stricter(error) if STRICTER.iter().any(|row| row.about.contains(&error.about)) => Ok(()),
        Verdict::Laxer => {
            let packet = Packet::decode(version, frame).unwrap();
            let known = LAXER.iter().any(|row| (row.is)(&packet));
            if known { Ok(()) } else { Err(format!("only we accept {packet:?}")) }
        }
        Verdict::Stricter(error) => Err(format!("only we refuse: {error}")),
        Verdict::Differ(how) => Err(how),
    }
}

#[test]
fn every_deviation_is_shown_by_its_example() {
    for row in STRICTER {
        match judge(row.version, row.example) {
            Verdict::Stricter(error) => assert!(row.about.contains(&error.about), "{error} {:?}", row.about),
            other => panic!("{other:?} for {:?}", row.about),
        }
    }
    for row in LAXER {
        assert!(matches!(judge(Version::V5, row.example), Verdict::Laxer), "{:?}", row.example);
        assert!((row.is)(&Packet::decode(Version::V5, row.example).unwrap()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whole_packets_are_read_alike(four in packet(Version::V311), five in packet(Version::V5)) {
        prop_assert_eq!(is_expected(Version::V311, &four), Ok(()));
        prop_assert_eq!(is_expected(Version::V5, &five), Ok(()));
    }

    #[test]
    fn broken_packets_are_read_alike(
        four in packet(Version::V311),
        five in packet(Version::V5),
        changes in changes(),
    ) {
        for (version, frame) in [(Version::V311, four), (Version::V5, five)] {
            let frame = framed(frame[0], &changed(body(&frame), &changes));
            prop_assert_eq!(is_expected(version, &frame), Ok(()));
        }
    }
}
