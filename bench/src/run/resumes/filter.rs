//! What clients of the feed ask for, and what they are then to be told.

/// All types that there are. Without a choice, all but the last two are told.
pub(super) const TYPES: [&str; 7] =
    ["event", "alarm", "command", "connection", "telemetry", "device", "attributes"];
const USUAL: usize = 5;

/// What one asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter {
    /// For tables.
    pub(super) name: String,
    /// Of the types of items, where it chooses.
    types: Option<Vec<&'static str>>,
    /// Ids, or what ids begin with and a `*`; of all devices where there is none.
    devices: Vec<String>,
}

impl Filter {
    fn new(types: Option<&[&'static str]>, devices: &[String]) -> Self {
        let name = match (types, devices.first()) {
            (None, None) => "nothing chosen".to_owned(),
            (None, Some(device)) => format!("of {device}"),
            (Some(types), None) if types.len() == TYPES.len() => "everything".to_owned(),
            (Some(types), None) => types.join(","),
            (Some(types), Some(device)) => format!("{} of {device}", types.join(",")),
        };
        Self { name, types: types.map(<[_]>::to_vec), devices: devices.to_vec() }
    }

    /// Those of a run, everything first. `device` is an id, `many` a pattern of several; those of `ends` tell everybody
    /// where the end is.
    pub(super) fn all(device: &str, many: &str, ends: &str) -> Vec<Self> {
        let of = |pattern: &str| [pattern.to_owned(), ends.to_owned()];
        vec![
            Self::new(Some(&TYPES), &[]),
            Self::new(None, &[]),
            Self::new(Some(&["event"]), &[]),
            Self::new(Some(&["alarm", "command"]), &[]),
            Self::new(None, &of(device)),
            Self::new(Some(&["telemetry", "connection", "device"]), &of(many)),
        ]
    }

    /// The types that it is told.
    pub(super) fn types(&self) -> &[&'static str] {
        self.types.as_deref().unwrap_or_else(|| TYPES.split_at(USUAL).0)
    }

    /// Whether it is to be told of an item.
    pub(super) fn wants(&self, kind: &str, device: &str) -> bool {
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(begin) => device.starts_with(begin),
            None => device == pattern,
        };
        self.types().contains(&kind) && (self.devices.is_empty() || self.devices.iter().any(fits))
    }

    /// As parameters of the feed. Names and patterns are made of what needs no encoding.
    pub(super) fn parameters(&self, since: Option<&str>) -> String {
        let types = self.types.as_ref().map(|types| format!("types={}", types.join(",")));
        let devices = (!self.devices.is_empty()).then(|| format!("devices={}", self.devices.join(",")));
        let since = since.map(|since| format!("since={since}"));
        let all: Vec<String> = [types, devices, since].into_iter().flatten().collect();
        all.join("&")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_what_is_wanted() {
        let all = Filter::all("boiler-7", "boiler-1*", "end-*");
        let names: Vec<&str> = all.iter().map(|filter| filter.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "everything",
                "nothing chosen",
                "event",
                "alarm,command",
                "of boiler-7",
                "telemetry,connection,device of boiler-1*",
            ]
        );
        let wanted = |kind: &str, device: &str| -> Vec<bool> {
            all.iter().map(|filter| filter.wants(kind, device)).collect()
        };
        assert_eq!(wanted("event", "boiler-7"), [true, true, true, false, true, false]);
        assert_eq!(wanted("command", "boiler-70"), [true, true, false, true, false, false]);
        assert_eq!(wanted("device", "boiler-17"), [true, false, false, false, false, true]);
        assert_eq!(wanted("telemetry", "end-3"), [true, true, false, false, true, true]);
    }

    #[test]
    fn parameters_say_it() {
        let all = Filter::all("boiler-7", "boiler-1*", "end-*");
        let parameters = |number: usize, since| all[number].parameters(since);
        assert_eq!(parameters(1, None), "");
        assert_eq!(parameters(1, Some("abc")), "since=abc");
        assert_eq!(parameters(3, Some("abc")), "types=alarm,command&since=abc");
        assert_eq!(parameters(4, None), "devices=boiler-7,end-*");
    }
}
