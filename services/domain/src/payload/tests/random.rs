use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Any JSON, and with `spaces` between its tokens.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| format!("{n:?}")),
        ".{0,12}".prop_map(|s| serde_json::to_string(&s).unwrap()),
    ];
    leaf.prop_recursive(6, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|v| format!("[ {}\t]", v.join(" , "))),
            prop::collection::vec((".{0,4}", inner), 0..5).prop_map(|v| {
                let members: Vec<String> =
                    v.iter().map(|(k, v)| format!("{} : {v}\n", serde_json::to_string(k).unwrap())).collect();
                format!("{{\r{}}}", members.join(","))
            }),
        ]
    })
}

/// Texts that are nearly JSON: pieces of it in any order, or JSON with one byte changed.
fn nearly_json() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\"a\"",
        "\\",
        "\\u12",
        "\\ud83d",
        "\\udd25",
        "0",
        "-",
        "1",
        ".5",
        "e",
        "E+",
        "true",
        "nul",
        "null",
        " ",
        "\n",
        "\u{1}",
        "ü",
        "1e400",
        "\"\\u00e9\"",
    ]);
    prop_oneof![
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat()),
        (json(), any::<prop::sample::Index>(), prop::sample::select(vec!['"', '{', ']', ',', 'x', '9', ' ']))
            .prop_map(|(text, index, with)| {
                let mut characters: Vec<char> = text.chars().collect();
                let at = index.index(characters.len());
                characters[at] = with;
                characters.into_iter().collect()
            }),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::Boolean),
        any::<i64>().prop_map(Value::Integer),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(Value::Number),
        ".{0,40}".prop_map(Value::Text),
        Just(Value::Json(r#"{"b":[1,2.50],"a":null}"#.into())),
    ]
}

fn no_panic(bytes: &[u8], limits: &PayloadLimits) {
    let _ = read_with(bytes, limits);
    let _ = attributes(bytes, limits);
    let _ = attributes_request(bytes, limits);
    let _ = rpc_reply(bytes, limits);
    let _ = rpc_request(bytes, limits);
    let made = || crate::model::EventId::new("made").unwrap();
    let _ = event(bytes, &device(), NOW, &mut || NOW, made, limits);
    let _ = json_to_value(bytes, limits);
}

proptest! {
    #[test]
    fn no_bytes_can_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        no_panic(&bytes, &PayloadLimits::default());
    }

    #[test]
    fn no_text_that_is_nearly_json_can_make_it_panic(text in nearly_json(), depth in 0usize..4) {
        no_panic(text.as_bytes(), &PayloadLimits { depth, keys: depth, points: depth, ..PayloadLimits::default() });
    }

    #[test]
    fn it_takes_the_same_texts_as_serde_json(text in prop_oneof![json(), nearly_json()]) {
        let limits = PayloadLimits { depth: 127, ..PayloadLimits::default() };
        let theirs = serde_json::from_str::<serde_json::Value>(&text).ok();
        let ours = compact_json(text.as_bytes(), &limits).ok();
        prop_assert_eq!(ours.is_some(), theirs.is_some(), "{}", text);
        let again = ours.map(|ours| serde_json::from_str::<serde_json::Value>(&ours).unwrap());
        prop_assert_eq!(again, theirs, "compacting changes no meaning");
    }

    #[test]
    fn telemetry_comes_back_as_it_was_sent(
        values in prop::collection::btree_map("[^\\p{Cc}]{1,20}", value(), 1..30),
        ts in prop::option::of(0..NOW),
    ) {
        prop_assume!(!values.contains_key("values") && !values.contains_key("ts"));
        let mut members = Vec::new();
        for (key, value) in &values {
            members.push(format!("{}:{}", serde_json::to_string(key).unwrap(), value_to_json(value).get()));
        }
        let plain = format!("{{{}}}", members.join(","));
        let payload = ts.map_or(plain.clone(), |ts| format!(r#"{{"ts":{ts},"values":{plain}}}"#));
        let points = read(&payload).unwrap();
        prop_assert!(points.iter().all(|p| p.ts == ts.unwrap_or(NOW)));
        let back: BTreeMap<String, Value> =
            points.into_iter().map(|p| (p.key.to_string(), p.value)).collect();
        prop_assert_eq!(back, values);
    }

    #[test]
    fn objects_without_a_time_are_stamped_in_their_order(counts in prop::collection::vec(0usize..4, 0..20)) {
        let objects: Vec<String> = counts
            .iter()
            .map(|n| format!("{{{}}}", (0..*n).map(|k| format!("\"k{k}\":1")).collect::<Vec<_>>().join(",")))
            .collect();
        let points = read(&format!("[{}]", objects.join(","))).unwrap();
        let stamps: Vec<Millis> = points.iter().map(|p| p.ts).collect();
        let expected: Vec<Millis> = counts
            .iter()
            .filter(|n| **n > 0)
            .zip(NOW..)
            .flat_map(|(n, ts)| std::iter::repeat_n(ts, *n))
            .collect();
        prop_assert_eq!(stamps, expected, "each message its own, none left out, none used twice");
    }
}
