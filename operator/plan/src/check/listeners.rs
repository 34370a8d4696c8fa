//! The ports of a Gateway: many at the address, one of each protocol in a pod.

use std::collections::BTreeSet;

use stoker_crds::{GatewaySpec, Listener, Protocol};

use super::Refusal;

/// A year, as the services have it.
const LONGEST_S: u64 = 31_536_000;

/// The port of a pod that speaks one protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Door<'a> {
    /// The Secret with the certificate; only of the encrypted ones.
    pub(crate) secret: Option<&'a str>,
    /// The networks of balancers that speak the PROXY protocol. In an order of its own: another one is no other configuration.
    pub(crate) trusted: BTreeSet<&'a str>,
}

impl<'a> Door<'a> {
    fn of(listener: &'a Listener) -> Self {
        let trusted = listener.proxy_protocol.iter().flat_map(|proxy| &proxy.trusted_cidrs);
        Self { secret: listener.tls_secret_name.as_deref(), trusted: trusted.map(String::as_str).collect() }
    }
}

/// Which protocols the pods of a Gateway speak.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Doors<'a> {
    pub(crate) mqtt: Option<Door<'a>>,
    pub(crate) mqtts: Option<Door<'a>>,
    pub(crate) ws: Option<Door<'a>>,
    pub(crate) wss: Option<Door<'a>>,
}

impl<'a> Doors<'a> {
    /// Those of checked listeners.
    pub(crate) fn of(listeners: &'a [Listener]) -> Self {
        let mut doors = Self::default();
        for listener in listeners {
            let door = match listener.protocol {
                Protocol::Mqtt => &mut doors.mqtt,
                Protocol::Mqtts => &mut doors.mqtts,
                Protocol::Ws => &mut doors.ws,
                Protocol::Wss => &mut doors.wss,
            };
            *door = Some(Door::of(listener));
        }
        doors
    }

    /// The encrypted ones: how the configuration names them, and their Secret.
    pub(crate) fn encrypted(&self) -> impl Iterator<Item = (&'static str, &'a str)> + use<'a> {
        let secret = |door: &Option<Door<'a>>| door.as_ref().and_then(|door| door.secret);
        [("mqtts", secret(&self.mqtts)), ("wss", secret(&self.wss))]
            .into_iter()
            .filter_map(|(name, secret)| secret.map(|secret| (name, secret)))
    }
}

pub(super) fn refusal(spec: &GatewaySpec) -> Option<Refusal> {
    for (at, listener) in spec.listeners.iter().enumerate() {
        let name = &listener.name;
        if listener.protocol.is_encrypted() && listener.tls_secret_name.is_none() {
            return Some(Refusal::new(
                "TlsSecretMissing",
                format!(
                    "listener {name} is encrypted and needs tlsSecretName, the Secret with its certificate"
                ),
            ));
        }
        let before = spec.listeners.get(..at).unwrap_or_default();
        for other in before.iter().filter(|other| other.protocol == listener.protocol) {
            if let Some((what, key)) = differs(&Door::of(other), &Door::of(listener)) {
                return Some(Refusal::new(
                    "ListenersDiffer",
                    format!(
                        "listeners {} and {name} speak the same protocol with different {what}, and a gateway has one \
                         port for it: name the same {key}, or make another Gateway",
                        other.name
                    ),
                ));
            }
        }
    }
    let grace = spec.drain.handover_grace.as_deref()?;
    seconds(grace).is_none().then(|| {
        Refusal::new(
            "DurationWrong",
            format!("drain.handoverGrace: {grace} is no duration of at most a year, such as 60s or 1m30s"),
        )
    })
}

/// What of two listeners differs, and the field.
fn differs(one: &Door<'_>, other: &Door<'_>) -> Option<(&'static str, &'static str)> {
    if one.secret != other.secret {
        Some(("certificates", "tlsSecretName"))
    } else if one.trusted != other.trusted {
        Some(("balancers in front", "proxyProtocol.trustedCIDRs"))
    } else {
        None
    }
}

/// The seconds of `1h2m3s`: each unit at most once, the greater first.
pub(crate) fn seconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut sum: u64 = 0;
    for (unit, length) in [('h', 3600), ('m', 60), ('s', 1)] {
        let Some((number, after)) = rest.split_once(unit) else { continue };
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        sum = sum.checked_add(number.parse::<u64>().ok()?.checked_mul(length)?)?;
        rest = after;
    }
    (rest.is_empty() && !text.is_empty() && sum <= LONGEST_S).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, read) in [
            ("60s", Some(60)),
            ("1m30s", Some(90)),
            ("2h", Some(7200)),
            ("1h1m1s", Some(3661)),
            ("", None),
            ("s", None),
            ("30", None),
            ("1s1m", None),
            ("1m1m", None),
            ("9000h", None),
            ("99999999999999999999s", None),
        ] {
            assert_eq!(seconds(text), read, "{text}");
        }
    }
}
