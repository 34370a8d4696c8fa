//! What a newcomer sees: how to connect the first device.

use maud::{Markup, html};

use super::names::name;
use crate::App;

/// Where devices connect.
pub(super) struct Broker<'a> {
    host: &'a str,
    port: u16,
    tls: bool,
}

impl<'a> Broker<'a> {
    /// As it is configured; without a name there, the one by which the portal was reached (`host`, with its port).
    pub(super) fn of(app: &'a App, host: &'a str) -> Self {
        let mqtt = &app.mqtt;
        Self {
            host: bare(mqtt.host.as_deref().unwrap_or_else(|| name(host))),
            port: mqtt.port,
            tls: mqtt.tls,
        }
    }
}

/// A host as clients take it that have the port apart: the brackets of IPv6 are a URL's.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// How a device reports and fails, ready to be copied; with the token where it is known.
pub(super) fn snippets(broker: &Broker<'_>, secret: Option<&str>) -> Markup {
    let Broker { host, port, tls } = *broker;
    let by_tls = if tls { " --tls-use-os-certs" } else { "" };
    let mosquitto = format!("mosquitto_pub -h {host} -p {port}{by_tls} -q 1 -u");
    let (ssl, context) = if tls { ("ssl, ", ", tls=ssl.create_default_context()") } else { ("", "") };
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
                (mosquitto) " " (shell) " \\\n"
                "  -t v1/devices/me/telemetry -m '{\"t_supply\":71.2}'"
            } }
            p { "or with Python's paho-mqtt:" }
            pre tabindex="0" { code {
                "import json, " (ssl) "paho.mqtt.publish as publish\n"
                "publish.single(\"v1/devices/me/telemetry\", json.dumps({\"t_supply\": 71.2}), qos=1,\n"
                "    hostname=\"" (host) "\", port=" (port) ", auth={\"username\": " (python) "}" (context) ")"
            } }
            h2 { "Let it fail" }
            pre tabindex="0" { code {
                (mosquitto) " " (shell) " -t v1/devices/me/events \\\n"
                "  -m '{\"kind\":\"fault\",\"code\":\"E42\",\"severity\":\"critical\",\"text\":\"flame lost\"}'"
            } }
        }
    }
}

/// The steps, for whoever reached this portal as `host` (with its port where it has one). `form` makes a device.
pub(super) fn welcome(app: &App, host: &str, form: &Markup) -> Markup {
    steps(app.https, host, &Broker::of(app, host), form)
}

fn steps(https: bool, host: &str, broker: &Broker<'_>, form: &Markup) -> Markup {
    let scheme = if https { "https" } else { "http" };
    html! {
        // Somebody else may make the first device: then there is a fleet to be shown.
        section #welcome.welcome data-live="device" data-until {
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
            (snippets(broker, None))
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

    const PLAIN: Broker<'_> = Broker { host: "devices.example", port: 2883, tls: false };

    #[test]
    fn the_api_is_where_the_portal_was_reached() {
        for host in ["127.0.0.1:8080", "stoker.example", "[::1]:8080"] {
            let text = steps(false, host, &PLAIN, &html! {}).into_string();
            assert!(text.contains(&format!("curl http://{host}/api/v1/devices")), "{host}");
            let text = steps(true, host, &PLAIN, &html! {}).into_string();
            assert!(text.contains(&format!("curl https://{host}/api/v1/devices")), "{host}");
        }
    }

    #[test]
    fn devices_are_shown_their_own_port_and_what_is_spoken_there() {
        let plain = snippets(&PLAIN, None).into_string();
        assert!(plain.contains("mosquitto_pub -h devices.example -p 2883 -q 1"), "{plain}");
        assert!(plain.contains("hostname=&quot;devices.example&quot;, port=2883, auth="), "{plain}");
        assert!(!plain.contains("tls"), "{plain}");
        let tls = snippets(&Broker { tls: true, ..PLAIN }, None).into_string();
        assert_eq!(tls.matches("-p 2883 --tls-use-os-certs -q 1").count(), 2, "{tls}");
        assert!(
            tls.contains("import json, ssl, paho") && tls.contains("}, tls=ssl.create_default_context())"),
            "{tls}"
        );
    }

    #[test]
    fn a_name_from_the_request_brings_no_markup() {
        assert!(!steps(true, "<script>", &PLAIN, &html! {}).into_string().contains("<script>"));
    }

    #[test]
    fn a_token_stands_where_it_is_needed() {
        let text = snippets(&PLAIN, Some("stk_abc")).into_string();
        assert_eq!(text.matches("stk_abc").count(), 3, "{text}");
        assert!(!text.contains("TOKEN"), "{text}");
    }
}
