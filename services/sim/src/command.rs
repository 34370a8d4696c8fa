//! What a simulated boiler can be told to do.

use serde_json::{Map, Value, json};
use stoker_domain::payload::{PayloadLimits, rpc_request};

use crate::fault::FAULTS;
use crate::model::{Boiler, SETPOINT_RANGE};

/// Carries out `{"method":…,"params":…}` and gives the answer as JSON.
///
/// * `write_setpoint {"value":55}` → `{"ok":true,"setpoint":55}`
/// * `read_temperature` → `{"t_supply":…,"t_return":…,"t_setpoint":…}`
/// * `reset_fault` → `{"ok":true,"cleared":"E42"}`, or `null` when there was none
/// * `trigger_fault {"code":"E42"}` → `{"ok":true,"raised":"E42"}`
///
/// Anything else is answered by `{"error":"…"}`.
pub fn execute(boiler: &mut Boiler, payload: &[u8]) -> String {
    let answer = match rpc_request(payload, &PayloadLimits::default()) {
        Ok(request) => {
            let params = serde_json::from_str(&request.params).unwrap_or(Value::Null);
            carry_out(boiler, &request.method, &params)
        }
        Err(error) => Err(error.to_string()),
    };
    answer.unwrap_or_else(|error| json!({ "error": error })).to_string()
}

fn carry_out(boiler: &mut Boiler, method: &str, params: &Value) -> Result<Value, String> {
    let empty = Map::new();
    let params = match params {
        Value::Object(params) => params,
        // What takes no params may be called with null, too.
        Value::Null => &empty,
        _ => return Err("params must be an object".to_owned()),
    };
    match method {
        "write_setpoint" => {
            let value = params.get("value").ok_or("params.value is missing")?;
            let celsius = value.as_f64().ok_or("params.value must be a number")?;
            if !boiler.write_setpoint(celsius) {
                let (low, high) = (SETPOINT_RANGE.start(), SETPOINT_RANGE.end());
                return Err(format!("params.value must be from {low} to {high}"));
            }
            Ok(json!({ "ok": true, "setpoint": value }))
        }
        "read_temperature" => {
            let hundredths = |celsius: f64| (celsius * 100.0).round() / 100.0;
            let seen = boiler.readings();
            Ok(json!({
                "t_supply": hundredths(seen.t_supply),
                "t_return": hundredths(seen.t_return),
                "t_setpoint": seen.t_setpoint,
            }))
        }
        "reset_fault" => Ok(json!({ "ok": true, "cleared": boiler.reset_fault().map(|fault| fault.code) })),
        "trigger_fault" => {
            let code = params.get("code").and_then(Value::as_str).ok_or("params.code is missing")?;
            let fault = FAULTS.into_iter().find(|fault| fault.code == code);
            let fault = fault.ok_or_else(|| {
                let known: Vec<&str> = FAULTS.iter().map(|fault| fault.code).collect();
                format!("params.code must be one of {}", known.join(", "))
            })?;
            boiler.raise_fault(fault);
            Ok(json!({ "ok": true, "raised": fault.code }))
        }
        // Long names stay readable in an answer.
        _ => Err(format!("unknown method {}", method.chars().take(64).collect::<String>())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::FaultPlan;

    fn boiler() -> Boiler {
        Boiler::new(1, 1, FaultPlan { per_hour: 0.0, mean_s: 600.0 })
    }

    #[test]
    fn a_setpoint_that_is_written_is_the_one_that_is_kept() {
        let mut boiler = boiler();
        let answer = execute(&mut boiler, br#"{"method":"write_setpoint","params":{"value":55}}"#);
        assert_eq!(answer, r#"{"ok":true,"setpoint":55}"#);
        assert_eq!(boiler.readings().t_setpoint, 55.0);
        boiler.step(7_200_000);
        assert!((47.0..61.0).contains(&boiler.readings().t_supply), "and the water follows it");
    }

    #[test]
    fn what_does_not_fit_is_answered_with_an_error_and_changes_nothing() {
        let mut boiler = boiler();
        let before = boiler.setpoint();
        for (order, error) in [
            (r#"{"method":"write_setpoint","params":{"value":900}}"#, "params.value must be from 20 to 85"),
            (r#"{"method":"write_setpoint","params":{"value":"55"}}"#, "params.value must be a number"),
            (r#"{"method":"write_setpoint","params":{}}"#, "params.value is missing"),
            (r#"{"method":"write_setpoint","params":[55]}"#, "params must be an object"),
            (
                r#"{"method":"trigger_fault","params":{"code":"E1"}}"#,
                "params.code must be one of E42, E17, E09, E31",
            ),
            (r#"{"method":"self_destruct"}"#, "unknown method self_destruct"),
            (r#"{"params":{}}"#, "a method expected (byte 0, key \"method\")"),
        ] {
            let answer: Value = serde_json::from_str(&execute(&mut boiler, order.as_bytes())).unwrap();
            assert_eq!(answer, json!({ "error": error }), "{order}");
        }
        assert_eq!((boiler.setpoint(), boiler.fault()), (before, None));
    }

    #[test]
    fn temperatures_can_be_read() {
        let answer: Value =
            serde_json::from_str(&execute(&mut boiler(), br#"{"method":"read_temperature","params":null}"#))
                .unwrap();
        for key in ["t_supply", "t_return", "t_setpoint"] {
            assert!(answer.get(key).and_then(Value::as_f64).is_some(), "{answer}");
        }
    }

    #[test]
    fn a_fault_can_be_triggered_and_reset() {
        let mut boiler = boiler();
        let trigger = br#"{"method":"trigger_fault","params":{"code":"E17"}}"#;
        assert_eq!(execute(&mut boiler, trigger), r#"{"ok":true,"raised":"E17"}"#);
        let reset = br#"{"method":"reset_fault"}"#;
        assert_eq!(execute(&mut boiler, reset), r#"{"cleared":"E17","ok":true}"#);
        assert_eq!(execute(&mut boiler, reset), r#"{"cleared":null,"ok":true}"#);
        let changes: Vec<_> =
            std::iter::from_fn(|| boiler.next_change()).map(|c| (c.fault.code, c.cleared)).collect();
        assert_eq!(changes, [("E17", false), ("E17", true)]);
    }
}
