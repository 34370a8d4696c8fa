use super::*;

/// `at` is the largest payload that fits, `above` the smallest that does not.
fn bound(limit: Limit, at: &str, above: &str) {
    bound_of(limit, at, above, |payload| {
        read_with(payload.as_bytes(), &PayloadLimits::default()).map(|_| ())
    });
}

fn bound_of(limit: Limit, at: &str, above: &str, read: impl Fn(&str) -> Result<(), PayloadError>) {
    assert_eq!(read(at), Ok(()), "{} at its bound", limit.name());
    let error = read(above).unwrap_err();
    assert_eq!(error.limit(), Some(limit), "{error}");
    let message = error.to_string();
    assert!(message.starts_with(&format!("the limit {} allows at most ", limit.name())), "{message}");
    assert!(message.len() < 300, "{message}");
}

fn keys(count: usize) -> String {
    let members: Vec<String> = (0..count).map(|n| format!("\"k{n}\":{n}")).collect();
    format!("{{{}}}", members.join(","))
}

#[test]
fn keys_of_a_message_are_bounded() {
    bound(Limit::Keys, &keys(256), &keys(257));
    let with_ts = |count| format!(r#"{{"ts":1,"values":{}}}"#, keys(count));
    bound(Limit::Keys, &with_ts(256), &with_ts(257));
    let in_array = |count| format!("[{},{}]", keys(2), keys(count));
    bound(Limit::Keys, &in_array(256), &in_array(257));
}

#[test]
fn many_repeated_keys_count_once() {
    let members: Vec<String> = (0..200).map(|n| format!("\"k{}\":{n}", n % 50)).collect();
    let points = read(&format!("{{{}}}", members.join(","))).unwrap();
    assert_eq!(points.len(), 50);
    assert_eq!(points.first(), Some(&point("k0", NOW, Value::Integer(150))));
}

#[test]
fn the_length_of_a_key_is_bounded_in_bytes() {
    let key = |name: &str| format!(r#"{{"{name}":1}}"#);
    bound(Limit::KeyBytes, &key(&"k".repeat(128)), &key(&"k".repeat(129)));
    bound(Limit::KeyBytes, &key(&"ü".repeat(64)), &key(&"ü".repeat(65)));
}

#[test]
fn texts_are_bounded_once_unescaped() {
    let text = |text: String| format!(r#"{{"a":"{text}"}}"#);
    bound(Limit::TextBytes, &text("x".repeat(8192)), &text("x".repeat(8193)));
    bound(Limit::TextBytes, &text("\\n".repeat(8192)), &text("\\n".repeat(8193)));
}

#[test]
fn json_values_are_bounded_once_compacted() {
    let json = |length: usize| format!(r#"{{"a":[ "{}" ]}}"#, "x".repeat(length - 4));
    bound(Limit::JsonBytes, &json(32 * 1024), &json(32 * 1024 + 1));
}

#[test]
fn depth_is_bounded_and_counts_the_whole_payload() {
    let nested = |inner: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(inner), "]".repeat(inner));
    bound(Limit::Depth, &nested(15), &nested(16));
    let objects = |inner: usize| format!(r#"{{"a":{}1{}}}"#, "{\"a\":".repeat(inner), "}".repeat(inner));
    bound(Limit::Depth, &objects(15), &objects(16));
    let values =
        |inner: usize| format!(r#"[{{"values":{{"a":{}{}}},"ts":1}}]"#, "[".repeat(inner), "]".repeat(inner));
    bound(Limit::Depth, &values(13), &values(14));
    let reply = |inner: usize| format!("{}{}", "[".repeat(inner), "]".repeat(inner));
    let limits = PayloadLimits::default();
    bound_of(Limit::Depth, &reply(16), &reply(17), |p| rpc_reply(p.as_bytes(), &limits).map(|_| ()));
}

#[test]
fn a_payload_of_nothing_but_brackets_is_refused_without_following_them() {
    let deep = "[".repeat(200_000);
    assert_eq!(
        rpc_reply(deep.as_bytes(), &PayloadLimits::default()).unwrap_err().limit(),
        Some(Limit::Depth)
    );
    let any = PayloadLimits { depth: usize::MAX, ..PayloadLimits::default() };
    let whole = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(rpc_reply(whole.as_bytes(), &any).is_ok(), "depth costs no stack");
}

#[test]
fn a_time_is_at_most_a_day_ahead() {
    const DAY: i64 = 24 * 3_600_000;
    let ts = |ts: i64| format!(r#"{{"ts":{ts},"values":{{"a":1}}}}"#);
    bound(Limit::TsAhead, &ts(NOW + DAY), &ts(NOW + DAY + 1));
    let event = |ts: i64| format!(r#"{{"kind":"x","ts":{ts}}}"#);
    bound_of(Limit::TsAhead, &event(NOW + DAY), &event(NOW + DAY + 1), |p| read_event(p).map(|_| ()));
}

#[test]
fn messages_and_points_of_an_array_are_bounded() {
    let array = |messages: usize, each: usize| format!("[{}]", vec![keys(each); messages].join(","));
    bound(Limit::Messages, &array(1024, 1), &array(1025, 1));
    bound(
        Limit::Points,
        &array(64, 128),
        &format!("[{},{}]", array(64, 128).trim_matches(['[', ']']), keys(1)),
    );
}

#[test]
fn a_payload_is_no_longer_than_a_packet() {
    let padded = |length: usize| format!("{}{}", r#"{"a":1}"#, " ".repeat(length - 7));
    bound(Limit::PayloadBytes, &padded(256 * 1024), &padded(256 * 1024 + 1));
}

#[test]
fn attributes_events_and_requests_keep_the_same_bounds() {
    let limits = PayloadLimits::default();
    let read = |p: &str| attributes(p.as_bytes(), &limits).map(|_| ());
    bound_of(Limit::Keys, &keys(256), &keys(257), read);
    let request = |count: usize| format!(r#"{{"clientKeys":"{}"}}"#, vec!["k"; count].join(","));
    bound_of(Limit::Keys, &request(256), &request(257), |p| {
        attributes_request(p.as_bytes(), &limits).map(|_| ())
    });
    let event = |field: &str, length: usize| {
        let kind = if field == "kind" { "" } else { r#""kind":"x","# };
        format!(r#"{{{kind}"{field}":"{}"}}"#, "x".repeat(length))
    };
    let read = |p: &str| read_event(p).map(|_| ());
    bound_of(Limit::KeyBytes, &event("kind", 64), &event("kind", 65), read);
    bound_of(Limit::KeyBytes, &event("code", 128), &event("code", 129), read);
    bound_of(Limit::TextBytes, &event("text", 8192), &event("text", 8193), read);
    bound_of(Limit::JsonBytes, &event("data", 32 * 1024 - 2), &event("data", 32 * 1024 - 1), read);
    let method = |length: usize| format!(r#"{{"method":"{}"}}"#, "m".repeat(length));
    bound_of(Limit::KeyBytes, &method(128), &method(129), |p| rpc_request(p.as_bytes(), &limits).map(|_| ()));
}
