//! The topics of the device API, and what MQTT says about names and filters.

use std::fmt;

/// Everything a device talks about stands under this.
const PREFIX: &str = "v1/devices/me/";

/// A topic that a device publishes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpTopic {
    /// `v1/devices/me/telemetry`
    Telemetry,
    /// `v1/devices/me/attributes`: client attributes.
    Attributes,
    /// `v1/devices/me/attributes/request/{n}`: the device asks for attributes.
    AttributesRequest(u64),
    /// `v1/devices/me/rpc/request/{n}`: the device asks for something.
    RpcRequest(u64),
    /// `v1/devices/me/rpc/response/{n}`: the device answers command `n`.
    RpcResponse(u64),
    /// `v1/devices/me/events`
    Events,
}

/// A topic that is published to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DownTopic {
    /// `v1/devices/me/attributes`: shared attributes that changed.
    Attributes,
    /// `v1/devices/me/attributes/response/{n}`: the answer to the device's attribute request `n`.
    AttributesResponse(u64),
    /// `v1/devices/me/rpc/request/{n}`: command `n`.
    RpcRequest(u64),
    /// `v1/devices/me/rpc/response/{n}`: the answer to the device's request `n`.
    RpcResponse(u64),
}

/// A filter that a device may subscribe to: a [`DownTopic`], or `+` in place of its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceFilter {
    /// `v1/devices/me/attributes`
    Attributes,
    /// `v1/devices/me/attributes/response/+`
    AttributesResponses,
    /// `v1/devices/me/rpc/request/+`
    RpcRequests,
    /// `v1/devices/me/rpc/response/+`
    RpcResponses,
    /// A topic with its number; [`DownTopic::Attributes`] is [`DeviceFilter::Attributes`] instead.
    One(DownTopic),
}

/// The families of numbered topics, before it is known which way they go.
enum Numbered {
    AttributesRequest,
    AttributesResponse,
    RpcRequest,
    RpcResponse,
}

/// Splits a numbered topic into its family and its last level.
fn numbered(rest: &str) -> Option<(Numbered, &str)> {
    let (family, last) = rest.rsplit_once('/')?;
    let family = match family {
        "attributes/request" => Numbered::AttributesRequest,
        "attributes/response" => Numbered::AttributesResponse,
        "rpc/request" => Numbered::RpcRequest,
        "rpc/response" => Numbered::RpcResponse,
        _ => return None,
    };
    Some((family, last))
}

/// A number as it is written: decimal, 1–20 digits, at most 2^64 − 1.
///
/// Leading zeros are not taken: the answer goes to the topic with the number in it, and a device that
/// asked as `007` would not find it under `7`.
fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = text == "0" || !text.starts_with('0');
    if digits && canonical { text.parse().ok() } else { None }
}

impl UpTopic {
    /// One of each, with that number where there is one.
    #[must_use]
    pub fn each(n: u64) -> [Self; 6] {
        [
            Self::Telemetry,
            Self::Attributes,
            Self::AttributesRequest(n),
            Self::RpcRequest(n),
            Self::RpcResponse(n),
            Self::Events,
        ]
    }

    /// The topic with this name; none when it is not one that devices publish to.
    pub fn parse(name: &str) -> Option<Self> {
        let rest = name.strip_prefix(PREFIX)?;
        match rest {
            "telemetry" => return Some(Self::Telemetry),
            "attributes" => return Some(Self::Attributes),
            "events" => return Some(Self::Events),
            _ => {}
        }
        match numbered(rest)? {
            (Numbered::AttributesRequest, last) => number(last).map(Self::AttributesRequest),
            (Numbered::RpcRequest, last) => number(last).map(Self::RpcRequest),
            (Numbered::RpcResponse, last) => number(last).map(Self::RpcResponse),
            (Numbered::AttributesResponse, _) => None,
        }
    }
}

impl fmt::Display for UpTopic {
    /// The topic name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        match self {
            Self::Telemetry => f.write_str("telemetry"),
            Self::Attributes => f.write_str("attributes"),
            Self::AttributesRequest(n) => write!(f, "attributes/request/{n}"),
            Self::RpcRequest(n) => write!(f, "rpc/request/{n}"),
            Self::RpcResponse(n) => write!(f, "rpc/response/{n}"),
            Self::Events => f.write_str("events"),
        }
    }
}

impl DownTopic {
    /// One of each, with that number where there is one.
    #[must_use]
    pub fn each(n: u64) -> [Self; 4] {
        [Self::Attributes, Self::AttributesResponse(n), Self::RpcRequest(n), Self::RpcResponse(n)]
    }

    /// The topic with this name; none when it is not one that is published to devices.
    pub fn parse(name: &str) -> Option<Self> {
        let rest = name.strip_prefix(PREFIX)?;
        if rest == "attributes" {
            return Some(Self::Attributes);
        }
        match numbered(rest)? {
            (Numbered::AttributesResponse, last) => number(last).map(Self::AttributesResponse),
            (Numbered::RpcRequest, last) => number(last).map(Self::RpcRequest),
            (Numbered::RpcResponse, last) => number(last).map(Self::RpcResponse),
            (Numbered::AttributesRequest, _) => None,
        }
    }
}

impl fmt::Display for DownTopic {
    /// The topic name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        match self {
            Self::Attributes => f.write_str("attributes"),
            Self::AttributesResponse(n) => write!(f, "attributes/response/{n}"),
            Self::RpcRequest(n) => write!(f, "rpc/request/{n}"),
            Self::RpcResponse(n) => write!(f, "rpc/response/{n}"),
        }
    }
}

impl DeviceFilter {
    /// The filter written so; none when devices may not subscribe to it.
    pub fn parse(filter: &str) -> Option<Self> {
        let rest = filter.strip_prefix(PREFIX)?;
        match numbered(rest) {
            Some((Numbered::AttributesResponse, "+")) => Some(Self::AttributesResponses),
            Some((Numbered::RpcRequest, "+")) => Some(Self::RpcRequests),
            Some((Numbered::RpcResponse, "+")) => Some(Self::RpcResponses),
            _ => match DownTopic::parse(filter)? {
                DownTopic::Attributes => Some(Self::Attributes),
                topic => Some(Self::One(topic)),
            },
        }
    }

    /// Whether a publish to `topic` goes to a subscriber of this filter.
    pub fn matches(self, topic: DownTopic) -> bool {
        match (self, topic) {
            (Self::Attributes, DownTopic::Attributes)
            | (Self::AttributesResponses, DownTopic::AttributesResponse(_))
            | (Self::RpcRequests, DownTopic::RpcRequest(_))
            | (Self::RpcResponses, DownTopic::RpcResponse(_)) => true,
            (Self::One(one), topic) => one == topic,
            _ => false,
        }
    }
}

impl fmt::Display for DeviceFilter {
    /// The topic filter.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attributes => write!(f, "{PREFIX}attributes"),
            Self::AttributesResponses => write!(f, "{PREFIX}attributes/response/+"),
            Self::RpcRequests => write!(f, "{PREFIX}rpc/request/+"),
            Self::RpcResponses => write!(f, "{PREFIX}rpc/response/+"),
            Self::One(topic) => topic.fmt(f),
        }
    }
}

/// Whether it is a topic name that one can publish to: not empty, no wildcards (4.7). That it has no
/// U+0000 and at most 65,535 bytes follows from having been read as an MQTT string.
pub fn is_valid_name(name: &str) -> bool {
    !name.is_empty() && !name.bytes().any(|byte| matches!(byte, b'#' | b'+'))
}

/// Whether it is a topic filter (4.7): not empty, `+` alone in its level, `#` alone in the last one.
/// For a shared subscription the share name is checked too (MQTT 5, 4.8.2).
pub fn is_valid_filter(filter: &str) -> bool {
    let filter = match filter.strip_prefix(SHARE) {
        None => filter,
        Some(shared) => match shared.split_once('/') {
            Some((name, rest)) if is_valid_name(name) => rest,
            _ => return false,
        },
    };
    if filter.is_empty() {
        return false;
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let fine = match level {
            "+" => true,
            "#" => levels.peek().is_none(),
            _ => is_valid_name(level) || level.is_empty(),
        };
        if !fine {
            return false;
        }
    }
    true
}

/// Whether the filter asks for a shared subscription.
pub fn is_shared(filter: &str) -> bool {
    filter.starts_with(SHARE)
}

const SHARE: &str = "$share/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_leaves_none_out() {
        // A new topic is not compiled here before it has a place, which it then needs in `each`, too.
        let place = |topic: &UpTopic| match topic {
            UpTopic::Telemetry => 0,
            UpTopic::Attributes => 1,
            UpTopic::AttributesRequest(_) => 2,
            UpTopic::RpcRequest(_) => 3,
            UpTopic::RpcResponse(_) => 4,
            UpTopic::Events => 5,
        };
        assert_eq!(UpTopic::each(1).iter().map(place).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
        let place = |topic: &DownTopic| match topic {
            DownTopic::Attributes => 0,
            DownTopic::AttributesResponse(_) => 1,
            DownTopic::RpcRequest(_) => 2,
            DownTopic::RpcResponse(_) => 3,
        };
        assert_eq!(DownTopic::each(1).iter().map(place).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }

    #[test]
    fn every_topic_is_parsed_from_its_own_name() {
        for n in [0, 1, 42, u64::MAX] {
            for topic in UpTopic::each(n) {
                assert_eq!(UpTopic::parse(&topic.to_string()), Some(topic));
            }
            for topic in DownTopic::each(n) {
                assert_eq!(DownTopic::parse(&topic.to_string()), Some(topic));
                let filter = DeviceFilter::parse(&topic.to_string()).unwrap();
                assert!(filter.matches(topic));
                assert_eq!(filter.to_string(), topic.to_string());
            }
        }
    }

    #[test]
    fn each_topic_goes_only_its_own_way() {
        for up_only in ["telemetry", "events", "attributes/request/1"] {
            let name = format!("{PREFIX}{up_only}");
            assert!(UpTopic::parse(&name).is_some());
            assert_eq!(DownTopic::parse(&name), None);
            assert_eq!(DeviceFilter::parse(&name), None);
        }
        assert_eq!(UpTopic::parse("v1/devices/me/attributes/response/1"), None);
    }

    #[test]
    fn a_number_is_one_to_twenty_digits_without_leading_zeros() {
        for bad in ["", "+1", "-1", "01", "00", "1a", " 1", "1 ", "18446744073709551616", "٣", "1/", "+", "#"]
        {
            assert_eq!(UpTopic::parse(&format!("v1/devices/me/rpc/response/{bad}")), None, "{bad}");
        }
        let greatest = "v1/devices/me/rpc/response/18446744073709551615";
        assert_eq!(UpTopic::parse(greatest), Some(UpTopic::RpcResponse(u64::MAX)));
    }

    #[test]
    fn no_other_name_and_no_other_filter_is_the_devices_own() {
        for other in [
            "",
            "telemetry",
            "v1/devices/me",
            "v1/devices/me/",
            "v1/devices/me/telemetry/",
            "/v1/devices/me/telemetry",
            "v1/devices/other/telemetry",
            "V1/devices/me/telemetry",
            "v1/devices/me/rpc/request",
            "v1/devices/me/rpc/request/1/2",
        ] {
            assert_eq!(UpTopic::parse(other), None, "{other}");
            assert_eq!(DownTopic::parse(other), None, "{other}");
        }
        for other in [
            "#",
            "+",
            "v1/#",
            "v1/devices/me/#",
            "v1/devices/me/+",
            "v1/devices/+/attributes",
            "v1/devices/me/rpc/+/+",
            "v1/devices/me/rpc/+/1",
            "v1/devices/me/rpc/request/#",
            "v1/devices/me/attributes/request/+",
            "v1/devices/me/attributes/#",
            "$share/g/v1/devices/me/rpc/request/+",
            "v1/devices/me/telemetry",
        ] {
            assert_eq!(DeviceFilter::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_plus_matches_every_number_of_its_family_and_nothing_else() {
        let filter = DeviceFilter::parse("v1/devices/me/rpc/request/+").unwrap();
        assert!(filter.matches(DownTopic::RpcRequest(1)) && filter.matches(DownTopic::RpcRequest(u64::MAX)));
        assert!(!filter.matches(DownTopic::RpcResponse(1)) && !filter.matches(DownTopic::Attributes));
        let one = DeviceFilter::parse("v1/devices/me/rpc/request/7").unwrap();
        assert!(one.matches(DownTopic::RpcRequest(7)) && !one.matches(DownTopic::RpcRequest(8)));
    }

    #[test]
    fn filters_keep_their_wildcards_in_whole_levels() {
        for good in ["a", "/", "#", "+", "a/#", "+/+", "+/a/#", "/+", "a//b", "$share/g/#", "$SYS/#"] {
            assert!(is_valid_filter(good), "{good}");
        }
        for bad in
            ["", "a#", "#/a", "a/#/b", "a+", "+a/b", "##", "$share/g", "$share//a", "$share/+/a", "$share/g/"]
        {
            assert!(!is_valid_filter(bad), "{bad}");
        }
    }
}
