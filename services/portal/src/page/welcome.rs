//! What a newcomer sees: how to connect the first device.

use maud::{Markup, html};

use super::names::name;

/// The steps, for whoever reached this portal as `host` (with its port where it has one), by HTTPS or not.
pub(crate) fn welcome(https: bool, host: &str) -> Markup {
    let scheme = if https { "https" } else { "http" };
    // Devices come to the same name, at a port of their own.
    let name = name(host);
    html! {
        section.card.welcome {
            h1 { "Connect your first device" }
            p { "Nothing is here yet. A device needs an id of your choice and a token; then anything that speaks MQTT "
                "can be one." }
            ol {
                li {
                    h2 { "Make a device" }
                    pre { code { "stoker device add boiler-7 --model K200 --site north" } }
                    p { "or, without the command line tool," }
                    pre { code {
                        "curl " (scheme) "://" (host) "/api/v1/devices \\\n"
                        "  -H \"Authorization: Bearer $STOKER_TOKEN\" \\\n"
                        "  -H 'Content-Type: application/json' \\\n"
                        "  -d '{\"id\":\"boiler-7\",\"model\":\"K200\",\"site\":\"north\"}'"
                    } }
                    p { "The answer holds the device's token, this once." }
                }
                li {
                    h2 { "Let it report" }
                    p { "With Mosquitto's client, the token being the user name:" }
                    pre { code {
                        "mosquitto_pub -h " (name) " -p 1883 -q 1 -u \"$TOKEN\" \\\n"
                        "  -t v1/devices/me/telemetry -m '{\"t_supply\":71.2}'"
                    } }
                    p { "or with Python's paho-mqtt:" }
                    pre { code {
                        "import json, paho.mqtt.publish as publish\n"
                        "publish.single(\"v1/devices/me/telemetry\", json.dumps({\"t_supply\": 71.2}), qos=1,\n"
                        "    hostname=\"" (name) "\", auth={\"username\": TOKEN})"
                    } }
                }
                li {
                    h2 { "Let it fail" }
                    pre { code {
                        "mosquitto_pub -h " (name) " -p 1883 -q 1 -u \"$TOKEN\" -t v1/devices/me/events \\\n"
                        "  -m '{\"kind\":\"fault\",\"code\":\"E42\",\"severity\":\"critical\",\"text\":\"flame lost\"}'"
                    } }
                    p { "The alarm stands on this page a moment later; "
                        code { "stoker subscription add" } " says who else is to know." }
                }
            }
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
            let text = welcome(false, host).into_string();
            assert!(text.contains(&format!("mosquitto_pub -h {name} -p 1883")), "{host}");
            assert!(text.contains(&format!("curl http://{host}/api/v1/devices")), "{host}");
            let text = welcome(true, host).into_string();
            assert!(text.contains(&format!("curl https://{host}/api/v1/devices")), "{host}");
        }
    }

    #[test]
    fn a_name_from_the_request_brings_no_markup() {
        assert!(!welcome(true, "<script>").into_string().contains("<script>"));
    }
}
