//! Stories and what they touch, as a graph in the language of Mermaid, which GitHub and GitLab draw.

use std::fmt::Write as _;

use crate::coverage::Coverage;
use crate::model::Story;

/// A label: within quotes only quotes have a meaning.
fn label(text: &str) -> String {
    text.replace('"', "#quot;")
}

/// The graph. What no story touches is red.
#[must_use]
pub fn mermaid(stories: &[Story], coverage: &Coverage) -> String {
    let mut text =
        String::from("flowchart LR\n  classDef untouched fill:#fbdcdc,stroke:#c00000,color:#900000\n");
    for (index, story) in stories.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  s{index}([\"{} ({})\"])", label(&story.name), story.cases.len());
    }
    let mut family = "";
    for (index, (item, by)) in coverage.items.iter().enumerate() {
        if item.family() != family {
            if !family.is_empty() {
                text.push_str("  end\n");
            }
            family = item.family();
            let _ = writeln!(text, "  subgraph {} [\"{family}\"]", family.replace(' ', "_"));
        }
        let class = if by.is_empty() { ":::untouched" } else { "" };
        let _ = writeln!(text, "    i{index}[\"{}\"]{class}", label(&item.to_string()));
    }
    if !family.is_empty() {
        text.push_str("  end\n");
    }
    for (index, (_, by)) in coverage.items.iter().enumerate() {
        for (of, story) in stories.iter().enumerate() {
            if by.contains(&story.id) {
                let _ = writeln!(text, "  s{of} --> i{index}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::read;
    use crate::surface::{Item, Route, Surface};

    #[test]
    fn untouched_nodes_are_red() {
        let route = |method: &str, path: &str| {
            Item::Route(Route { method: method.to_owned(), path: path.to_owned() })
        };
        let items = vec![route("GET", "/a"), route("GET", "/b"), Item::Event("fault".to_owned())];
        let told = "story: Ask\ntext: a\ncases: [{case: a, when: [{get: /a}], then: [{get: /a}]}]\n";
        let stories = [read("ask.yaml", told).unwrap()];
        let graph = mermaid(&stories, &Coverage::of(&Surface { items }, &stories));
        let expected = r##"flowchart LR
  classDef untouched fill:#fbdcdc,stroke:#c00000,color:#900000
  s0(["Ask (1)"])
  subgraph routes ["routes"]
    i0["GET /a"]
    i1["GET /b"]:::untouched
  end
  subgraph event_kinds ["event kinds"]
    i2["fault"]:::untouched
  end
  s0 --> i0
"##;
        assert_eq!(graph, expected);
    }
}
