//! Rows that this version does not understand are refused, and the error says where.
//!
//! That good rows come back as they were is promised in the port's contract tests, for all kinds.

use prost::Message;
use stoker_domain::ports::store::{RegistryRow, StateKey, StateRow};
use stoker_domain::{
    Alarm, AlarmId, Attributes, Command, Device, DeviceId, DeviceKey, Event, EventId, EventKind, MintedId,
    OrganizationId, Presence, Severity, Slot, SlotEpoch, Subscription, Value,
};

use super::proto::{self, registry_row, value};
use super::{Head, StateKind, Stored, decode, decode_state, encode, encode_state};

fn key() -> proto::DeviceKey {
    proto::DeviceKey { organization: "o".into(), device: "d".into() }
}

/// What a row that was changed by `change` is refused with.
fn refusal<T: Stored + std::fmt::Debug>(row: T::Row, change: impl FnOnce(&mut T::Row)) -> String {
    let mut row = row;
    decode::<T>(&row.encode_to_vec()).expect("the row is good before it is changed");
    change(&mut row);
    decode::<T>(&row.encode_to_vec()).unwrap_err().to_string()
}

fn event() -> Event {
    Event {
        id: EventId::new("e").unwrap(),
        device: DeviceKey::new(OrganizationId::new("o").unwrap(), DeviceId::new("d").unwrap()),
        ts: 5,
        kind: EventKind("fault".into()),
        code: "E42".into(),
        severity: Severity::Minor,
        text: "t".into(),
        cleared: false,
        data: None,
    }
}

#[test]
fn an_unknown_or_unspecified_enum_value_is_refused_by_name() {
    let row = event().to_row();
    assert_eq!(
        refusal::<Event>(row.clone(), |row| row.severity = 99),
        "event row: field severity: unknown value 99"
    );
    assert_eq!(refusal::<Event>(row, |row| row.severity = 0), "event row: field severity: unknown value 0");
}

#[test]
fn a_bad_id_is_refused_wherever_it_stands() {
    let row = event().to_row();
    let why = refusal::<Event>(row.clone(), |row| row.id = "a b".into());
    assert!(why.starts_with(r#"event row: field id: "a b" is no id"#), "{why}");
    let why =
        refusal::<Event>(row, |row| row.device = Some(proto::DeviceKey { device: String::new(), ..key() }));
    assert!(why.starts_with(r#"event row: field device: field device: "" is no id"#), "{why}");
    let device = proto::Device { key: Some(key()), ..Default::default() };
    let why = refusal::<Device>(device, |row| row.site = Some("-".into()));
    assert!(why.contains("field site"), "{why}");
}

#[test]
fn a_missing_part_is_refused() {
    assert_eq!(
        refusal::<Event>(event().to_row(), |row| row.device = None),
        "event row: field device: missing"
    );
    let presence = proto::Presence {
        key: Some(key()),
        epoch: Some(proto::SessionEpoch::default()),
        session: Some(proto::SessionInfo { gateway: "g".into(), ..Default::default() }),
        ..Default::default()
    };
    let why = refusal::<Presence>(presence.clone(), |row| row.session = None);
    assert_eq!(why, "presence row: field session: missing");
    let why = refusal::<Presence>(presence, |row| row.ended = Some(proto::SessionEnd { at: 1, reason: 0 }));
    assert_eq!(why, "presence row: field ended.reason: unknown value 0");
}

#[test]
fn a_token_hash_of_another_length_is_refused() {
    let device = proto::Device { key: Some(key()), token_hash: Some(vec![0; 32]), ..Default::default() };
    let why = refusal::<Device>(device, |row| row.token_hash = Some(vec![0; 31]));
    assert_eq!(why, "device row: field token_hash: 31 bytes instead of 32");
}

#[test]
fn a_slot_above_255_is_refused() {
    let row = proto::Alarm {
        id: Some(proto::MintedId { slot: 255, epoch: 1, counter: 1 }),
        device: Some(key()),
        kind: 1,
        severity: 1,
        state: 1,
        ..Default::default()
    };
    let id = MintedId { slot: Slot(255), epoch: SlotEpoch(1), counter: 1 };
    assert_eq!(decode::<Alarm>(&row.encode_to_vec()).unwrap().id, AlarmId(id));
    let why = refusal::<Alarm>(row, |row| row.id = Some(proto::MintedId { slot: 256, ..Default::default() }));
    assert_eq!(why, "alarm row: field id: field slot: 256 is none of 256");
}

#[test]
fn a_value_of_an_unknown_kind_or_without_end_is_refused() {
    let row = |kind| proto::Attributes {
        key: Some(key()),
        shared: [("a".to_owned(), proto::Value { kind })].into(),
        ..Default::default()
    };
    let good = row(Some(value::Kind::Integer(-1)));
    let read: Attributes = decode(&good.encode_to_vec()).unwrap();
    assert_eq!(read.shared["a"], Value::Integer(-1));
    let why = refusal::<Attributes>(good.clone(), |good| *good = row(None));
    assert_eq!(why, "attributes row: field shared: field a: field kind: no known kind of value is set");
    let why = refusal::<Attributes>(good, |good| *good = row(Some(value::Kind::Number(f64::NAN))));
    assert!(why.contains("NaN is not finite"), "{why}");
}

#[test]
fn a_registry_row_of_an_unknown_kind_is_refused() {
    let setting = proto::Setting { name: "n".into(), value: Vec::new() };
    let row = proto::RegistryRow { row: Some(registry_row::Row::Setting(setting)) };
    let why = refusal::<RegistryRow>(row, |row| row.row = None);
    assert_eq!(why, "registry row: field row: no known kind of row is set");
}

#[test]
fn bytes_that_are_no_message_are_refused() {
    for bytes in [&[0xff; 7][..], b"\x0a\x7f"] {
        assert!(decode::<Event>(bytes).is_err());
        assert!(decode::<Command>(bytes).is_err());
        assert!(decode::<Subscription>(bytes).is_err());
        assert!(decode::<Head>(bytes).is_err());
    }
}

#[test]
fn a_field_that_a_newer_version_adds_is_passed_over() {
    let mut bytes = encode(&event());
    // Field 500, four bytes long.
    bytes.extend_from_slice(&[0xa2, 0x1f, 4, 1, 2, 3, 4]);
    assert_eq!(decode::<Event>(&bytes).unwrap(), event());
}

#[test]
fn kinds_of_state_rows_have_numbers_of_their_own() {
    let counters = StateRow::Counters(stoker_domain::DeviceCounters {
        key: event().device,
        last_command: 4,
        recent_events: vec![1],
    });
    let kind = StateKind::of(&counters.key());
    assert_eq!(StateKind::from_number(kind as u8), Some(kind));
    assert_eq!(decode_state(kind, &encode_state(&counters)).unwrap(), counters);
    assert_eq!(StateKind::of(&StateKey::Device(event().device)) as u8, 1);
    assert_eq!((StateKind::from_number(0), StateKind::from_number(10)), (None, None));
}
