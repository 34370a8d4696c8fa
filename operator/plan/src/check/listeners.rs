//! The ports of a Gateway: many at the address, one of each protocol in a pod.

use stoker_crds::{GatewaySpec, Listener, Protocol};

use super::Refusal;

/// A year, as the services have it.
const LONGEST_S: u64 = 31_536_000;

/// Which protocols the pods of a Gateway speak, and with which certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Doors<'a> {
    pub(crate) mqtt: bool,
    pub(crate) ws: bool,
    /// The Secret with the certificate.
    pub(crate) mqtts: Option<&'a str>,
    pub(crate) wss: Option<&'a str>,
}

impl<'a> Doors<'a> {
    /// Those of checked listeners.
    pub(crate) fn of(listeners: &'a [Listener]) -> Self {
        let mut doors = Self::default();
        for listener in listeners {
            let secret = listener.tls_secret_name.as_deref();
            match listener.protocol {
                Protocol::Mqtt => doors.mqtt = true,
                Protocol::Ws => doors.ws = true,
                Protocol::Mqtts => doors.mqtts = secret,
                Protocol::Wss => doors.wss = secret,
            }
        }
        doors
    }

    /// The encrypted ones: how the configuration names them, and their Secret.
    pub(crate) fn encrypted(&self) -> impl Iterator<Item = (&'static str, &'a str)> + use<'a> {
        [("mqtts", self.mqtts), ("wss", self.wss)]
            .into_iter()
            .filter_map(|(name, secret)| secret.map(|secret| (name, secret)))
    }
}

pub(super) fn refusal(spec: &GatewaySpec) -> Option<Refusal> {
    for (at, listener) in spec.listeners.iter().enumerate() {
        let name = &listener.name;
        if listener.proxy_protocol.is_some() {
            return Some(Refusal::new(
                "ProxyProtocolUnsupported",
                format!(
                    "listener {name}: gateways of this version do not understand the PROXY protocol; leave \
                     proxyProtocol out, and switch it off at the load balancer"
                ),
            ));
        }
        if listener.protocol.is_encrypted() && listener.tls_secret_name.is_none() {
            return Some(Refusal::new(
                "TlsSecretMissing",
                format!(
                    "listener {name} is encrypted and needs tlsSecretName, the Secret with its certificate"
                ),
            ));
        }
        let before = spec.listeners.get(..at).unwrap_or_default();
        let other = before.iter().find(|other| {
            other.protocol == listener.protocol && other.tls_secret_name != listener.tls_secret_name
        });
        if let Some(other) = other {
            return Some(Refusal::new(
                "ListenersDiffer",
                format!(
                    "listeners {} and {name} speak the same protocol with different certificates, and a gateway has \
                     one for each: name the same tlsSecretName, or make another Gateway",
                    other.name
                ),
            ));
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
