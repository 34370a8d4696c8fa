//! Through which ports a Gateway is reached: those behind which somebody serves. While one revision follows another
//! these are two sets, and each port leads to where it is served.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use stoker_crds::{GatewaySpec, Protocol};

use super::gateway::is_gone;
use crate::facts::Deployment;

/// A port at the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) number: i32,
    /// What it leads to, as pods name it.
    pub(crate) door: &'static str,
}

/// How a Gateway is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Of its Service.
    pub(crate) ports: Vec<Port>,
    /// All that pods of any revision serve.
    pub(crate) doors: BTreeSet<&'static str>,
}

/// Those of the listeners.
pub(super) fn wished(spec: &GatewaySpec) -> Vec<Port> {
    let port = |listener: &stoker_crds::Listener| Port {
        name: listener.name.clone(),
        number: listener.port,
        door: match listener.protocol {
            Protocol::Mqtt => "mqtt",
            Protocol::Mqtts => "mqtts",
            Protocol::Ws => "ws",
            Protocol::Wss => "wss",
        },
    };
    spec.listeners.iter().map(port).collect()
}

/// As it is noted on a Deployment: `devices=8883:mqtts,web=443:wss`.
pub(super) fn noted(spec: &GatewaySpec) -> String {
    let ports = wished(spec);
    let texts = ports.iter().map(|port| format!("{}={}:{}", port.name, port.number, port.door));
    texts.collect::<Vec<_>>().join(",")
}

/// What was noted; none when it is not understood.
fn read(text: &str) -> Option<Vec<Port>> {
    let port = |text: &str| {
        let (name, rest) = text.split_once('=')?;
        let (number, door) = rest.split_once(':')?;
        let door = ["mqtt", "mqtts", "ws", "wss"].into_iter().find(|known| *known == door)?;
        Some(Port { name: name.to_owned(), number: number.parse().ok()?, door })
    };
    text.split(',').map(port).collect()
}

/// Those of the Deployment that serves, as far as it is known: what is left of a Gateway whose listeners have no effect.
/// Which one that is does not depend on how many pods are ready just now.
pub(super) fn kept(there: &[&Deployment]) -> Vec<Port> {
    let known = there.iter().filter_map(|there| Some((there, read(there.ports.as_deref()?)?)));
    let serving = known.min_by_key(|(there, _)| (there.wanted == 0, !there.was_whole, there.name.clone()));
    serving.map(|(_, ports)| ports).unwrap_or_default()
}

/// How a Gateway of these listeners is reached. The ports of a revision come when all of it is ready, and go when its last
/// pod has ended; where two revisions have the same port, it leads to the one that serves. `whole`: that of the listeners
/// is.
pub(super) fn of(spec: &GatewaySpec, whole: bool, former: &[&Deployment]) -> Reach {
    let wished = wished(spec);
    let mut left: Vec<(&Deployment, Vec<Port>)> = former
        .iter()
        // One that is not whole yet may be the only one that serves, or that will before anybody looks again.
        .filter(|old| (old.was_whole || old.ready > 0 || old.wanted > 0) && !is_gone(old))
        .filter_map(|old| Some((*old, read(old.ports.as_deref()?)?)))
        .collect();
    left.sort_by_key(|(old, _)| (old.wanted == 0, !old.was_whole, Reverse(old.ready), &old.name));
    let another_serves = !whole && left.first().is_some_and(|(old, _)| old.wanted > 0);
    let mut reach = Reach { doors: wished.iter().map(|port| port.door).collect(), ..Reach::default() };
    if !another_serves {
        reach.ports.extend(wished);
    }
    for port in left.into_iter().flat_map(|(_, ports)| ports) {
        reach.doors.insert(port.door);
        add(&mut reach.ports, port);
    }
    reach
}

/// A Service has each number and each name once.
fn add(ports: &mut Vec<Port>, mut port: Port) {
    if ports.iter().any(|there| there.number == port.number) {
        return;
    }
    let taken = |name: &str| ports.iter().any(|there| there.name == name);
    if taken(&port.name) {
        port.name = format!("{}-{}", port.name, port.number);
    }
    while taken(&port.name) {
        port.name.push('x');
    }
    ports.push(port);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(listeners: &[(&str, &str, i32)]) -> GatewaySpec {
        let listeners: Vec<_> = listeners
            .iter()
            .map(|(name, protocol, port)| {
                serde_json::json!({"name": name, "protocol": protocol, "port": port, "tlsSecretName": "tls"})
            })
            .collect();
        let spec = serde_json::json!({
            "hostname": "devices.example.com",
            "listeners": listeners,
            "bus": {"secretName": "bus"},
        });
        serde_json::from_value(spec).unwrap()
    }

    fn old(ports: &str, wanted: i32) -> Deployment {
        Deployment {
            name: format!("edge-{ports}"),
            ports: Some(ports.to_owned()),
            was_whole: true,
            wanted,
            ready: wanted,
            running: 2,
            ..Deployment::default()
        }
    }

    fn texts(reach: &Reach) -> Vec<String> {
        reach.ports.iter().map(|port| format!("{}={}:{}", port.name, port.number, port.door)).collect()
    }

    #[test]
    fn what_is_noted_is_read() {
        let spec = spec(&[("a-b", "Mqtts", 8883), ("web", "Ws", 80)]);
        assert_eq!(noted(&spec), "a-b=8883:mqtts,web=80:ws");
        assert_eq!(read(&noted(&spec)), Some(wished(&spec)));
        for wrong in ["", "a", "a=1", "a=1:ftp", "a=x:ws", "a=1:ws,"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn ports_come_when_they_are_served_and_go_when_nobody_is_left() {
        let spec = spec(&[("mqtt", "Ws", 1883), ("web", "Wss", 443)]);
        let before = "mqtt=1883:mqtt,mqtts=8883:mqtts";
        let reach = |whole: bool, former: &[Deployment]| {
            let former: Vec<&Deployment> = former.iter().collect();
            of(&spec, whole, &former)
        };
        let new = ["mqtt=1883:ws", "web=443:wss"];
        assert_eq!(texts(&reach(false, &[])), new, "there was none before");
        let rolling = reach(false, &[old(before, 2)]);
        assert_eq!(texts(&rolling), ["mqtt=1883:mqtt", "mqtts=8883:mqtts"]);
        assert_eq!(rolling.doors, BTreeSet::from(["mqtt", "mqtts", "ws", "wss"]), "pods of both are let in");
        let draining = [new[0], new[1], "mqtts=8883:mqtts"];
        assert_eq!(texts(&reach(true, &[old(before, 2)])), draining);
        assert_eq!(
            texts(&reach(false, &[old(before, 0)])),
            draining,
            "one of the new pods is lost meanwhile"
        );
        let gone = Deployment { observed: true, running: 0, ..old(before, 0) };
        assert_eq!(texts(&reach(true, &[gone])), new);
    }

    #[test]
    fn who_never_served_has_no_port_and_of_who_has_noted_none_nothing_is_known() {
        let spec = spec(&[("web", "Ws", 80)]);
        let never = |wanted| Deployment { was_whole: false, ready: 0, ..old("mqtt=1883:mqtt", wanted) };
        assert_eq!(texts(&of(&spec, false, &[&never(0)])), ["web=80:ws"]);
        assert_eq!(
            texts(&of(&spec, false, &[&never(2)])),
            ["mqtt=1883:mqtt"],
            "its pods may be ready any moment"
        );
        let first = Deployment { was_whole: false, ready: 1, ..old("mqtt=1883:mqtt", 2) };
        assert_eq!(texts(&of(&spec, false, &[&first])), ["mqtt=1883:mqtt"], "nobody else serves");
        let unknown = Deployment { ports: None, ..old("", 2) };
        assert_eq!(texts(&of(&spec, false, &[&unknown])), ["web=80:ws"]);
    }

    #[test]
    fn names_are_told_apart() {
        let spec = spec(&[("mqtt", "Mqtt", 1884), ("mqtt-1883", "Ws", 80)]);
        let before = old("mqtt=1883:mqtt", 0);
        let expected = ["mqtt=1884:mqtt", "mqtt-1883=80:ws", "mqtt-1883x=1883:mqtt"];
        assert_eq!(texts(&of(&spec, true, &[&before])), expected);
    }
}
