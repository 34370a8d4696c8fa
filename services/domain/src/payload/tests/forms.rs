use super::*;
use crate::model::{EventKind, Severity};
use Value::{Boolean, Integer, Json, Number, Text};

#[test]
fn every_form_of_telemetry_is_read() {
    let cases: Vec<(&str, Vec<Point>)> = vec![
        (
            r#"{"t_supply":71.25,"p":1.4}"#,
            vec![point("t_supply", NOW, Number(71.25)), point("p", NOW, Number(1.4))],
        ),
        (
            r#" { "a" : true , "b" : false } "#,
            vec![point("a", NOW, Boolean(true)), point("b", NOW, Boolean(false))],
        ),
        (r#"{"ts":1600000000000,"values":{"a":1}}"#, vec![point("a", 1_600_000_000_000, Integer(1))]),
        (r#"{"values":{"a":1},"ts":1.6e12}"#, vec![point("a", 1_600_000_000_000, Integer(1))]),
        (r#"{"x":5,"ts":7,"y":6,"values":{"a":1},"z":7}"#, vec![point("a", 7, Integer(1))]),
        (r#"{"x":5,"values":{"a":1},"ts":7}"#, vec![point("a", 7, Integer(1))]),
        (r#"{"ts":1,"values":{"a":1},"ts":9,"values":{"b":2}}"#, vec![point("b", 9, Integer(2))]),
        (r#"{"ts":5}"#, vec![point("ts", NOW, Integer(5))]),
        (r#"{"values":3}"#, vec![point("values", NOW, Integer(3))]),
        (r#"{"values":{"a":1}}"#, vec![point("values", NOW, Json(r#"{"a":1}"#.into()))]),
        (r#"{"a":1,"ts":"noon"}"#, vec![point("a", NOW, Integer(1)), point("ts", NOW, Text("noon".into()))]),
        (
            r#"[{"a":1},{"ts":3,"values":{"a":2}},{"a":3}]"#,
            vec![point("a", NOW, Integer(1)), point("a", 3, Integer(2)), point("a", NOW + 1, Integer(3))],
        ),
        (r#"{"a":1,"b":2,"a":3}"#, vec![point("b", NOW, Integer(2)), point("a", NOW, Integer(3))]),
        (r#"{"a":null,"b":1}"#, vec![point("b", NOW, Integer(1))]),
        (r#"{"a":null}"#, vec![]),
        ("{}", vec![]),
        ("[]", vec![]),
        (r#"[{},{"a":1}]"#, vec![point("a", NOW, Integer(1))]),
        (r#"{"ts":1,"values":{}}"#, vec![]),
    ];
    for (payload, points) in cases {
        assert_eq!(read(payload), Ok(points), "{payload}");
    }
}

#[test]
fn every_kind_of_value_is_kept_as_it_was_sent() {
    let cases = [
        ("0", Integer(0)),
        ("-12", Integer(-12)),
        ("9223372036854775807", Integer(i64::MAX)),
        ("-9223372036854775808", Integer(i64::MIN)),
        ("9223372036854775808", Number(9_223_372_036_854_775_808.0)),
        ("71.0", Number(71.0)),
        ("1e3", Number(1000.0)),
        ("1.5E-7", Number(1.5e-7)),
        ("0.30000000000000004", Number(0.1 + 0.2)),
        ("1.7976931348623157e308", Number(f64::MAX)),
        ("5e-324", Number(5e-324)),
        (r#""21""#, Text("21".into())),
        (r#""""#, Text(String::new())),
        (r#""a\"\\\/\b\f\n\r\té€\ud83d\udd25ü""#, Text("a\"\\/\u{8}\u{c}\n\r\té€🔥ü".into())),
        (
            r#"{ "z" : [ 1.50 , 1E2 , "\u00e9 " ] , "a" : null }"#,
            Json(r#"{"z":[1.50,1E2,"\u00e9 "],"a":null}"#.into()),
        ),
        ("[ ]", Json("[]".into())),
        ("{ }", Json("{}".into())),
        ("[[], {}, [true, false]]", Json("[[],{},[true,false]]".into())),
    ];
    for (spelled, value) in cases {
        assert_eq!(read(&format!(r#"{{"k":{spelled}}}"#)), Ok(vec![point("k", NOW, value)]), "{spelled}");
    }
}

#[test]
fn what_is_no_telemetry_is_refused_and_says_where() {
    let cases = [
        ("", "this is not json: a value expected (byte 0)"),
        ("  ", "this is not json: a value expected (byte 2)"),
        ("1", "an object or an array of objects expected (byte 0)"),
        ("null", "an object or an array of objects expected (byte 0)"),
        (r#""text""#, "an object or an array of objects expected (byte 0)"),
        ("[1]", "an object expected (byte 1)"),
        ("[[]]", "an object expected (byte 1)"),
        ("[{}", "this is not json: ',' or ']' expected (byte 3)"),
        ("[{},]", "this is not json: a value expected (byte 4)"),
        ("{", "this is not json: a key in quotes expected (byte 1)"),
        ("{a:1}", "this is not json: a key in quotes expected (byte 1)"),
        (r#"{"a"}"#, "this is not json: ':' expected (byte 4)"),
        (r#"{"a":}"#, "this is not json: a value expected (byte 5, key \"a\")"),
        (r#"{"a":1,}"#, "this is not json: a key in quotes expected (byte 7)"),
        (r#"{"a":1} x"#, "this is not json: the end expected (byte 8)"),
        (r#"{"a":01}"#, "this is not json: ',' or '}' expected (byte 6)"),
        (r#"{"a":tru}"#, "this is not json: true expected (byte 5, key \"a\")"),
        (r#"{"a":-}"#, "this is not json: a digit expected (byte 6, key \"a\")"),
        (r#"{"a":1.}"#, "this is not json: a digit expected (byte 7, key \"a\")"),
        (r#"{"a":1e}"#, "this is not json: a digit expected (byte 7, key \"a\")"),
        (r#"{"a":NaN}"#, "this is not json: a value expected (byte 5, key \"a\")"),
        (r#"{"a":1e999}"#, "this is not json: a number below 1.8e308 expected (byte 5, key \"a\")"),
        (r#"{"a":[1e999]}"#, "this is not json: a number below 1.8e308 expected (byte 6, key \"a\")"),
        (r#"{"a":"\ud800"}"#, "this is not json: a whole character behind \\u expected (byte 6, key \"a\")"),
        (
            r#"{"a":["\udc00"]}"#,
            "this is not json: a whole character behind \\u expected (byte 7, key \"a\")",
        ),
        (r#"{"a":"\x"}"#, "this is not json: an escape expected (byte 6, key \"a\")"),
        (r#"{"a":"x"#, "this is not json: '\"' expected (byte 7, key \"a\")"),
        (
            "{\"a\":\"\n\"}",
            "this is not json: no bare control character in a text expected (byte 6, key \"a\")",
        ),
        (r#"{"":1}"#, "a name without control characters expected (byte 4, key \"\")"),
        ("{\"a\u{7f}\":1}", "a name without control characters expected (byte 6, key \"a\\u{7f}\")"),
        (r#"{"ts":1,"values":3}"#, "an object expected (byte 17, key \"values\")"),
        (r#"{"values":3,"ts":1}"#, "an object expected (byte 10, key \"values\")"),
        (r#"{"ts":"1","values":{}}"#, "milliseconds since 1970 expected (byte 6, key \"ts\")"),
        (r#"{"ts":1.5,"values":{}}"#, "milliseconds since 1970 expected (byte 6, key \"ts\")"),
        (r#"{"ts":-1,"values":{}}"#, "milliseconds since 1970 expected (byte 6, key \"ts\")"),
        (r#"{"ts":null,"values":{}}"#, "milliseconds since 1970 expected (byte 6, key \"ts\")"),
    ];
    for (payload, message) in cases {
        assert_eq!(read(payload).map_err(|e| e.to_string()), Err(message.to_owned()), "{payload}");
    }
    let error = read_with(b"{\"a\":\"\xff\"}", &PayloadLimits::default()).unwrap_err();
    assert_eq!(error.to_string(), "this is not json: utf-8 expected (byte 6)");
}

#[test]
fn attributes_are_set_and_a_null_removes_one() {
    let read = |payload: &str| attributes(payload.as_bytes(), &PayloadLimits::default());
    let both = read(r#"{"firmware":"1.4","old":null,"firmware":"1.5"}"#).unwrap();
    assert_eq!(both.get("firmware"), Some(&Some(Text("1.5".into()))));
    assert_eq!(both.get("old"), Some(&None));
    assert_eq!(read("{}").unwrap().len(), 0);
    assert!(read("[]").is_err());
    assert!(read(r#"{"":1}"#).is_err());
}

#[test]
fn a_request_for_attributes_names_keys_or_asks_for_all() {
    let read = |payload: &str| attributes_request(payload.as_bytes(), &PayloadLimits::default());
    let names = |names: &[&str]| Some(names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>());
    let request = read(r#"{"clientKeys":"a, b,","sharedKeys":"c","more":[1]}"#).unwrap();
    assert_eq!(request, AttributesRequest { client_keys: names(&["a", "b"]), shared_keys: names(&["c"]) });
    assert_eq!(read(r#"{"sharedKeys":""}"#).unwrap().shared_keys, names(&[]));
    assert_eq!(read(r#"{"sharedKeys":null}"#).unwrap(), AttributesRequest::default());
    assert_eq!(read("{}").unwrap(), AttributesRequest::default());
    assert!(read(r#"{"clientKeys":["a"]}"#).is_err());
}

#[test]
fn a_reply_is_any_json_and_failed_when_it_has_an_error() {
    let read = |payload: &str| rpc_reply(payload.as_bytes(), &PayloadLimits::default());
    let cases = [
        (r#"{"ok": true}"#, r#"{"ok":true}"#, false),
        (r#"{"error": null}"#, r#"{"error":null}"#, true),
        (r#"{"a":{"error":1}}"#, r#"{"a":{"error":1}}"#, false),
        (r#"{"\u0065rror":1}"#, r#"{"\u0065rror":1}"#, true),
        (r#"["error"]"#, r#"["error"]"#, false),
        (" 1.50 ", "1.50", false),
        ("null", "null", false),
        (r#""done""#, r#""done""#, false),
    ];
    for (payload, json, failed) in cases {
        assert_eq!(read(payload), Ok(RpcReply { json: json.into(), failed }), "{payload}");
    }
    for bad in ["", "ok", "{", "1 2"] {
        assert!(read(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_device_asks_with_a_method_and_params() {
    let read = |payload: &str| rpc_request(payload.as_bytes(), &PayloadLimits::default());
    let request = |params: &str| RpcRequest { method: "getCurrentTime".into(), params: params.into() };
    assert_eq!(read(r#"{"method":"getCurrentTime","params":{ }}"#), Ok(request("{}")));
    assert_eq!(read(r#"{"params":[1, 2],"method":"getCurrentTime","x":1}"#), Ok(request("[1,2]")));
    assert_eq!(read(r#"{"method":"getCurrentTime"}"#), Ok(request("{}")));
    for bad in ["{}", r#"{"method":1}"#, r#"{"method":""}"#, r#"{"method":null}"#, "[]"] {
        assert!(read(bad).is_err(), "{bad}");
    }
}

#[test]
fn an_event_is_read_with_all_its_fields() {
    let all = read_event(
        r#"{"id":"e-1","ts":7,"kind":"fault","code":"E42","severity":"critical","text":"flame lost",
            "cleared":true,"data":{"t": 1.50},"later":{}}"#,
    );
    let all = all.unwrap();
    assert_eq!(all.id.as_str(), "e-1");
    assert_eq!((all.ts, all.kind.is_fault(), &*all.code), (7, true, "E42"));
    assert_eq!((all.severity, &*all.text, all.cleared), (Severity::Critical, "flame lost", true));
    assert_eq!(all.data.as_deref(), Some(r#"{"t":1.50}"#));
}

#[test]
fn what_an_event_leaves_out_has_the_documented_default() {
    let least = read_event(r#"{"kind":"fault","code":"E42","severity":null,"data":null}"#).unwrap();
    assert_eq!((least.id.as_str(), least.ts), ("made", NOW));
    assert_eq!((least.severity, &*least.text, least.cleared), (Severity::Major, "E42", false));
    assert_eq!(least.data, None);
    let other = read_event(r#"{"kind":"door_opened"}"#).unwrap();
    assert_eq!(
        (other.kind, &*other.code, &*other.text),
        (EventKind("door_opened".into()), "", "door_opened")
    );
}

#[test]
fn an_event_that_does_not_fit_is_refused() {
    for bad in [
        "[]",
        "{}",
        r#"{"kind":"fault"}"#,
        r#"{"kind":"fault","code":""}"#,
        r#"{"kind":"fault","code":42}"#,
        r#"{"kind":"fault","code":"E\n1"}"#,
        r#"{"kind":""}"#,
        r#"{"kind":"a b"}"#,
        r#"{"kind":"x","id":"-no"}"#,
        r#"{"kind":"x","id":7}"#,
        r#"{"kind":"x","severity":"Critical"}"#,
        r#"{"kind":"x","cleared":1}"#,
        r#"{"kind":"x","text":1}"#,
        r#"{"kind":"x","ts":"now"}"#,
    ] {
        assert!(read_event(bad).is_err(), "{bad}");
    }
}

#[test]
fn values_are_written_as_json_that_reads_back_the_same() {
    let limits = PayloadLimits::default();
    for (value, spelled) in [
        (Boolean(true), "true"),
        (Boolean(false), "false"),
        (Integer(i64::MIN), "-9223372036854775808"),
        (Number(71.0), "71.0"),
        (Number(0.1 + 0.2), "0.30000000000000004"),
        (Number(1e300), "1e300"),
        (Number(5e-324), "5e-324"),
        (Text("a\"\\\n\u{1}ü".into()), "\"a\\\"\\\\\\n\\u0001ü\""),
        (Json(r#"{"b":1.50,"a":[]}"#.into()), r#"{"b":1.50,"a":[]}"#),
    ] {
        assert_eq!(value_to_json(&value).get(), spelled);
        assert_eq!(json_to_value(spelled.as_bytes(), &limits), Ok(Some(value)));
    }
    assert_eq!(json_to_value(b" null ", &limits), Ok(None));
    assert_eq!(
        value_to_json(&Number(f64::NAN)).get(),
        "null",
        "no json has it, and an answer must not fail on it"
    );
    assert_eq!(value_to_json(&Json("{".into())).get(), "\"{\"");
    assert_eq!(compact_json(b" { \"a\" : 1.0 } ", &limits), Ok(r#"{"a":1.0}"#.into()));
}
