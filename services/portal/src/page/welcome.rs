//! What a newcomer sees: how to connect the first device.

use maud::{Markup, html};

use super::names::name;

/// How a device reports and fails, ready to be copied, for devices that come to this name; with the token where it is known.
pub(super) fn snippets(name: &str, secret: Option<&str>) -> Markup {
    let (shell, python) = match secret {
        // Tokens that the platform makes are of letters, digits, `-` and `_`.
        Some(secret) => (secret.to_owned(), format!("\"{secret}\"")),
        None => ("\"$TOKEN\"".to_owned(), "TOKEN".to_owned()),
    };
    html! {
        section.snippets {
            h2 { "Let it report" }
            p { "With Mosquitto's client, the token being the user name:" }
            pre tabindex="0" { code {
                "mosquitto_pub -h " (name) " -p 1883 -q 1 -u " (shell) " \\\n"
                "  -t v1/devices/me/telemetry -m '{\"t_supply\":71.2}'"
            } }
            p { "or with Python's paho-mqtt:" }
            pre tabindex="0" { code {
                "import json, paho.mqtt.publish as publish\n"
                "publish.single(\"v1/devices/me/telemetry\", json.dumps({\"t_supply\": 71.2}), qos=1,\n"
                "    hostname=\"" (name) "\", auth={\"username\": " (python) "})"
            } }
            h2 { "Let it fail" }
            pre tabindex="0" { code {
                "mosquitto_pub -h " (name) " -p 1883 -q 1 -u " (shell) " -t v1/devices/me/events \\\n"
                "  -m '{\"kind\":\"fault\",\"code\":\"E42\",\"severity\":\"critical\",\"text\":\"flame lost\"}'"
            } }
        }
    }
}

/// The steps, for whoever reached this portal as `host` (with its port where it has one), by HTTPS or not. `form` makes a device.
pub(super) fn welcome(https: bool, host: &str, form: &Markup) -> Markup {
    let scheme = if https { "https" } else { "http" };
    html! {
        section.welcome {
            h1 { "Connect your first device" }
            p { "Nothing is here yet. A device needs an id of your choice and a token; then anything that speaks MQTT "
                "can be one." }
            (form)
            p { "or by the command line, or the API; the answer holds the device's token, this once:" }
            pre tabindex="0" { code { "stoker device add boiler-7 --model K200 --site north" } }
            pre tabindex="0" { code {
                "curl " (scheme) "://" (host) "/api/v1/devices \\\n"
                "  -H \"Authorization: Bearer $STOKER_TOKEN\" \\\n"
                "  -H 'Content-Type: application/json' \\\n"
                "  -d '{\"id\":\"boiler-7\",\"model\":\"K200\",\"site\":\"north\"}'"
            } }
            // Devices come to the same name, at a port of their own.
            (snippets(name(host), None))
            p { "The alarm stands on this page a moment later; "
                a href=(super::SUBSCRIPTIONS) { "subscriptions" } " say who else is to know." }
            p { "No device at hand? " code { "stoker up --demo" } " brings a simulated fleet. "
                a href="/docs/" { "All of the API" } " is described here." }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_shown_the_name_without_the_portals_port() {
        for (host, name) in [
            ("127.0.0.1:8080", "127.0.0.1"),
            ("stoker.example", "stoker.example"),
            ("[::1]:8080", "[::1]"),
            ("[::1]", "[::1]"),
        ] {
            let text = welcome(false, host, &html! {}).into_string();
            assert!(text.contains(&format!("mosquitto_pub -h {name} -p 1883")), "{host}");
            assert!(text.contains(&format!("curl http://{host}/api/v1/devices")), "{host}");
            let text = welcome(true, host, &html! {}).into_string();
            assert!(text.contains(&format!("curl https://{host}/api/v1/devices")), "{host}");
        }
    }

    #[test]
    fn a_name_from_the_request_brings_no_markup() {
        assert!(!welcome(true, "<script>", &html! {}).into_string().contains("<script>"));
    }

    #[test]
    fn a_token_stands_where_it_is_needed() {
        let text = snippets("stoker.example", Some("stk_abc")).into_string();
        assert_eq!(text.matches("stk_abc").count(), 3, "{text}");
        assert!(!text.contains("TOKEN"), "{text}");
    }
}
