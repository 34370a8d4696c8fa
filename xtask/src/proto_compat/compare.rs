//! What must not change between two surfaces. Additions are fine.

use std::collections::BTreeMap;

use super::surface::{Numbered, Surface};

/// Everything that was promised before and isn't kept now, each with what to do.
pub(super) fn compare(before: &Surface, now: &Surface) -> Vec<String> {
    let mut broken = Vec::new();
    compare_all("message", "field", &before.messages, &now.messages, &mut broken);
    compare_all("enum", "value", &before.enums, &now.enums, &mut broken);
    for (service, calls) in &before.services {
        let Some(calls_now) = now.services.get(service) else {
            broken.push(format!("service {service} was removed; the other version still calls it: keep it"));
            continue;
        };
        for (call, signature) in calls {
            match calls_now.get(call) {
                None => broken.push(format!(
                    "rpc {service}.{call} was removed; the other version still calls it: keep it, answering UNIMPLEMENTED"
                )),
                Some(changed) if changed != signature => broken.push(format!(
                    "rpc {service}.{call} was `{signature}` and is `{changed}`: keep it and add another call"
                )),
                Some(_) => {}
            }
        }
    }
    broken
}

fn compare_all(
    kind: &str,
    entry: &str,
    before: &BTreeMap<String, Numbered>,
    now: &BTreeMap<String, Numbered>,
    broken: &mut Vec<String>,
) {
    for (name, old) in before {
        match now.get(name) {
            Some(new) => compare_one(entry, name, old, new, broken),
            None => broken.push(format!("{kind} {name} was removed or renamed: keep it under its name")),
        }
    }
}

fn compare_one(entry: &str, name: &str, old: &Numbered, new: &Numbered, broken: &mut Vec<String>) {
    for ((number, of), what) in &old.entries {
        if let Some(changed) = new.entries.get(&(*number, of.clone())) {
            if changed != what {
                broken.push(format!(
                    "{entry} {name}.{of} = {number} was `{what}` and is `{changed}`: keep it and add another {entry}"
                ));
            }
        } else if let Some((_, other)) = new.entries.keys().find(|(used, _)| used == number) {
            broken.push(format!(
                "{entry} {name}.{of} = {number} is now `{other}`: a number keeps its name and meaning; give `{other}` a new number"
            ));
        } else if let Some((moved, _)) = new.entries.keys().find(|(_, used)| used == of) {
            broken.push(format!(
                "{entry} {name}.{of} was renumbered from {number} to {moved}: give it back {number}, or `reserved {number};` and take another name"
            ));
        } else if !(new.reserves(*number..=*number) && new.reserved_names.contains(of)) {
            broken.push(format!(
                "{entry} {name}.{of} = {number} was removed: write `reserved {number}; reserved \"{of}\";` in its place"
            ));
        }
    }
    for (first, last) in &old.reserved_numbers {
        if !new.reserves(*first..=*last) {
            broken.push(format!(
                "{name}: {first} to {last} are no longer reserved, but had a meaning once: reserve them"
            ));
        }
    }
    for of in old.reserved_names.difference(&new.reserved_names) {
        broken.push(format!("{name}: \"{of}\" is no longer reserved, but had a meaning once: reserve it"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "\
message a.M
field a.M.id = 1: string
field a.M.hash = 4: bytes
reserved a.M = 7..8
reserved a.M.old
enum a.E
value a.E.NONE = 0
value a.E.LOW = 1
service a.S
rpc a.S.Call: a.M -> stream a.M
";

    /// What is found when these lines of BEFORE are replaced.
    fn found(replaced: &[(&str, &str)]) -> Vec<String> {
        let mut text = BEFORE.to_owned();
        for (old, new) in replaced {
            assert!(text.contains(old), "{old}");
            text = text.replace(old, new);
        }
        compare(&Surface::parse(BEFORE).unwrap(), &Surface::parse(&text).unwrap())
    }

    #[track_caller]
    fn bad(old: &str, new: &str, says: &str) {
        let found = found(&[(old, new)]);
        assert!(found.len() == 1 && found[0].contains(says), "{found:?}");
    }

    #[test]
    fn growing_is_compatible() {
        let more = "field a.M.id = 1: string\nfield a.M.new = 5: optional int32\n";
        assert!(found(&[("field a.M.id = 1: string\n", more)]).is_empty());
        assert!(found(&[("enum a.E\n", "enum a.E\nvalue a.E.HIGH = 2\nenum a.F\n")]).is_empty());
        assert!(found(&[("service a.S\n", "service a.S\nrpc a.S.More: a.M -> a.M\n")]).is_empty());
    }

    #[test]
    fn removing_needs_number_and_name_reserved() {
        let line = "field a.M.hash = 4: bytes\n";
        bad(line, "", "hash = 4 was removed: write `reserved 4; reserved \"hash\";`");
        bad(line, "reserved a.M = 4..4\n", "was removed");
        bad(line, "reserved a.M.hash\n", "was removed");
        assert!(found(&[(line, "reserved a.M = 4..4\nreserved a.M.hash\n")]).is_empty());
        bad("value a.E.LOW = 1\n", "", "value a.E.LOW = 1 was removed");
        assert!(found(&[("value a.E.LOW = 1\n", "reserved a.E = 1..1\nreserved a.E.LOW\n")]).is_empty());
    }

    #[test]
    fn changed_fields_are_named() {
        bad("hash = 4: bytes", "hash = 5: bytes", "renumbered from 4 to 5");
        bad("hash = 4: bytes", "hash = 4: string", "was `bytes` and is `string`");
        bad("hash = 4: bytes", "hash = 4: repeated bytes", "is `repeated bytes`");
        bad("hash = 4: bytes", "hash = 4: bytes in oneof x", "in oneof x");
        bad("a.M.hash = 4", "a.M.digest = 4", "a.M.hash = 4 is now `digest`");
        bad("a.E.LOW = 1", "a.E.LOW = 3", "renumbered from 1 to 3");
    }

    #[test]
    fn what_was_reserved_stays_so() {
        bad("reserved a.M = 7..8\n", "reserved a.M = 7..7\n", "7 to 8 are no longer reserved");
        bad("reserved a.M.old\n", "", "\"old\" is no longer reserved");
        assert!(found(&[("reserved a.M = 7..8\n", "reserved a.M = 7..7\nreserved a.M = 8..9\n")]).is_empty());
    }

    #[test]
    fn removed_types_and_calls_are_named() {
        bad("enum a.E\nvalue a.E.NONE = 0\nvalue a.E.LOW = 1\n", "", "enum a.E was removed");
        bad("service a.S\nrpc a.S.Call: a.M -> stream a.M\n", "", "service a.S was removed");
        bad("rpc a.S.Call: a.M -> stream a.M\n", "", "rpc a.S.Call was removed");
        bad("a.M -> stream a.M", "a.M -> a.M", "was `a.M -> stream a.M` and is `a.M -> a.M`");
        bad("a.M -> stream a.M", "stream a.M -> stream a.M", "rpc a.S.Call");
    }
}
