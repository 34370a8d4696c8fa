//! What the .proto files promise, as a text that a review can read: one line for each field, value and call.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use anyhow::{Context, Result, bail};
use protox::prost_reflect::{Cardinality, DescriptorPool, FieldDescriptor, MethodDescriptor};

const HEADER: &str = "\
# What the .proto files promise. Written by `cargo xtask proto --accept`, which refuses what isn't compatible.
";

/// A message or an enum: entries with numbers, and what must not be used again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbered {
    /// (number, name) → type; no type for values of an enum.
    pub(super) entries: BTreeMap<(i32, String), String>,
    /// As (first, last), both included.
    pub(super) reserved_numbers: BTreeSet<(i32, i32)>,
    pub(super) reserved_names: BTreeSet<String>,
}

impl Numbered {
    /// Whether all these numbers are reserved.
    pub(super) fn reserves(&self, numbers: RangeInclusive<i32>) -> bool {
        // Sorted by their first number, so one way through them tells.
        let mut next = i64::from(*numbers.start());
        for (first, last) in &self.reserved_numbers {
            if i64::from(*first) <= next {
                next = next.max(i64::from(*last) + 1);
            }
        }
        next > i64::from(*numbers.end())
    }
}

/// Everything that is promised, by full name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Surface {
    pub(super) messages: BTreeMap<String, Numbered>,
    pub(super) enums: BTreeMap<String, Numbered>,
    /// service → call → signature
    pub(super) services: BTreeMap<String, BTreeMap<String, String>>,
}

impl Surface {
    /// What the files that `own` accepts declare; imported ones are somebody else's promise.
    pub(super) fn of(pool: &DescriptorPool, own: impl Fn(&str) -> bool) -> Self {
        let mut surface = Self::default();
        let messages = pool.all_messages().filter(|message| own(message.parent_file().name()));
        // A map's entry is shown in the type of the map.
        for message in messages.filter(|message| !message.is_map_entry()) {
            let named = Numbered {
                entries: message
                    .fields()
                    .map(|field| ((number(field.number()), field.name().to_owned()), field_type(&field)))
                    .collect(),
                // the end of a message's range is excluded
                reserved_numbers: message
                    .reserved_ranges()
                    .map(|range| (number(range.start), number(range.end.saturating_sub(1))))
                    .collect(),
                reserved_names: message.reserved_names().map(str::to_owned).collect(),
            };
            surface.messages.insert(message.full_name().to_owned(), named);
        }
        for declared in pool.all_enums().filter(|declared| own(declared.parent_file().name())) {
            let named = Numbered {
                entries: declared
                    .values()
                    .map(|value| ((value.number(), value.name().to_owned()), String::new()))
                    .collect(),
                reserved_numbers: declared
                    .reserved_ranges()
                    .map(|range| (*range.start(), *range.end()))
                    .collect(),
                reserved_names: declared.reserved_names().map(str::to_owned).collect(),
            };
            surface.enums.insert(declared.full_name().to_owned(), named);
        }
        for service in pool.services().filter(|service| own(service.parent_file().name())) {
            let calls = service.methods().map(|call| (call.name().to_owned(), signature(&call))).collect();
            surface.services.insert(service.full_name().to_owned(), calls);
        }
        surface
    }

    /// One line for each promise.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (kind, entry, all) in [("message", "field", &self.messages), ("enum", "value", &self.enums)] {
            for (name, numbered) in all {
                lines.push(format!("{kind} {name}"));
                for ((number, of), what) in &numbered.entries {
                    let what = if what.is_empty() { String::new() } else { format!(": {what}") };
                    lines.push(format!("{entry} {name}.{of} = {number}{what}"));
                }
                let reserved = &numbered.reserved_numbers;
                lines.extend(
                    reserved.iter().map(|(first, last)| format!("reserved {name} = {first}..{last}")),
                );
                lines.extend(numbered.reserved_names.iter().map(|of| format!("reserved {name}.{of}")));
            }
        }
        for (name, calls) in &self.services {
            lines.push(format!("service {name}"));
            lines.extend(calls.iter().map(|(call, signature)| format!("rpc {name}.{call}: {signature}")));
        }
        lines
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = HEADER.to_owned();
        for line in self.lines() {
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    /// Reads what `to_text` wrote.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut surface = Self::default();
        for (index, line) in text.lines().enumerate() {
            if !line.is_empty() && !line.starts_with('#') {
                surface.add(line).with_context(|| format!("line {}: `{line}`", index + 1))?;
            }
        }
        Ok(surface)
    }

    fn add(&mut self, line: &str) -> Result<()> {
        let (kind, rest) = line.split_once(' ').context("one word only")?;
        match kind {
            "message" => {
                self.messages.entry(rest.to_owned()).or_default();
            }
            "enum" => {
                self.enums.entry(rest.to_owned()).or_default();
            }
            "service" => {
                self.services.entry(rest.to_owned()).or_default();
            }
            "field" | "value" => {
                let (path, rest) = rest.split_once(" = ").context("no number")?;
                let (number, what) = rest.split_once(": ").unwrap_or((rest, ""));
                let (owner, name) = path.rsplit_once('.').context("no name")?;
                let number = number.parse().context("not a number")?;
                self.numbered(owner)?.entries.insert((number, name.to_owned()), what.to_owned());
            }
            "reserved" => {
                if let Some((owner, range)) = rest.split_once(" = ") {
                    let (first, last) = range.split_once("..").context("no range")?;
                    let range =
                        (first.parse().context("not a number")?, last.parse().context("not a number")?);
                    self.numbered(owner)?.reserved_numbers.insert(range);
                } else {
                    let (owner, name) = rest.rsplit_once('.').context("no name")?;
                    self.numbered(owner)?.reserved_names.insert(name.to_owned());
                }
            }
            "rpc" => {
                let (path, signature) = rest.split_once(": ").context("no signature")?;
                let (service, call) = path.rsplit_once('.').context("no name")?;
                let calls = self.services.get_mut(service).context("its service is not above it")?;
                calls.insert(call.to_owned(), signature.to_owned());
            }
            _ => bail!("begins with no word that is known"),
        }
        Ok(())
    }

    /// The message or enum of that name, which stands above what it holds.
    fn numbered(&mut self, owner: &str) -> Result<&mut Numbered> {
        self.messages
            .get_mut(owner)
            .or_else(|| self.enums.get_mut(owner))
            .with_context(|| format!("{owner} is not above it"))
    }
}

/// Numbers of fields have 29 bits.
fn number(raw: u32) -> i32 {
    i32::try_from(raw).unwrap_or(i32::MAX)
}

fn field_type(field: &FieldDescriptor) -> String {
    let kind = format!("{:?}", field.kind());
    if field.is_map()
        && let Some(entry) = field.kind().as_message()
    {
        let part = |field: FieldDescriptor| format!("{:?}", field.kind());
        return format!(
            "map<{}, {}>",
            part(entry.map_entry_key_field()),
            part(entry.map_entry_value_field())
        );
    }
    if let Some(oneof) = field.containing_oneof()
        && !oneof.is_synthetic()
    {
        return format!("{kind} in oneof {}", oneof.name());
    }
    match field.cardinality() {
        Cardinality::Repeated => format!("repeated {kind}"),
        Cardinality::Required => format!("required {kind}"),
        // Messages know whether they are there without saying so.
        Cardinality::Optional if field.supports_presence() && field.kind().as_message().is_none() => {
            format!("optional {kind}")
        }
        Cardinality::Optional => kind,
    }
}

fn signature(call: &MethodDescriptor) -> String {
    let stream = |streaming| if streaming { "stream " } else { "" };
    format!(
        "{}{} -> {}{}",
        stream(call.is_client_streaming()),
        call.input().full_name(),
        stream(call.is_server_streaming()),
        call.output().full_name()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_promise_is_a_line_and_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let proto = r#"syntax = "proto3"; package t;
            import "google/protobuf/empty.proto";
            enum E { reserved 4, 7 to max; reserved "OLD"; E_NONE = 0; E_LOW = -2; }
            message M {
                reserved 9 to 11; reserved "gone";
                string a = 1; optional bytes b = 2; repeated E c = 3; map<string, In> d = 4;
                oneof kind { In e = 5; int64 f = 6; }
                message In {}
            }
            service S { rpc Call(M) returns (stream google.protobuf.Empty); rpc Up(stream M) returns (M); }"#;
        std::fs::write(dir.path().join("a.proto"), proto).unwrap();
        let mut compiler = protox::Compiler::new([dir.path()]).unwrap();
        compiler.open_file("a.proto").unwrap();
        let surface = Surface::of(&compiler.descriptor_pool(), |file| file == "a.proto");
        let expected = "\
message t.M
field t.M.a = 1: string
field t.M.b = 2: optional bytes
field t.M.c = 3: repeated t.E
field t.M.d = 4: map<string, t.M.In>
field t.M.e = 5: t.M.In in oneof kind
field t.M.f = 6: int64 in oneof kind
reserved t.M = 9..11
reserved t.M.gone
message t.M.In
enum t.E
value t.E.E_LOW = -2
value t.E.E_NONE = 0
reserved t.E = 4..4
reserved t.E = 7..2147483647
reserved t.E.OLD
service t.S
rpc t.S.Call: t.M -> stream google.protobuf.Empty
rpc t.S.Up: stream t.M -> t.M
";
        assert_eq!(surface.to_text(), format!("{HEADER}{expected}"));
        assert_eq!(Surface::parse(&surface.to_text()).unwrap(), surface);
    }

    #[test]
    fn a_line_that_is_not_understood_is_named() {
        let error = Surface::parse("message a.B\nfield a.C.d = 1: string\n").unwrap_err();
        assert!(format!("{error:#}").contains("line 2"), "{error:#}");
        assert!(Surface::parse("nonsense here\n").is_err());
    }

    #[test]
    fn reserved_ranges_are_taken_together() {
        let numbered =
            Numbered { reserved_numbers: [(1, 3), (4, 6), (8, i32::MAX)].into(), ..Default::default() };
        assert!(numbered.reserves(2..=5) && numbered.reserves(9..=i32::MAX));
        assert!(!numbered.reserves(5..=8) && !numbered.reserves(0..=1));
    }
}
