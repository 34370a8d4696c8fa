use super::*;

fn refused(text: &str) -> String {
    read("connect.yaml", text).unwrap_err().to_string()
}

/// A story of one case with these steps in `then`.
fn then(steps: &str) -> String {
    format!(
        "story: Connect\ntext: a\ncases:\n  - case: it is seen\n    when:\n      - device: boiler\n    then:\n{steps}"
    )
}

#[test]
fn the_stories_of_the_project_are_read() {
    let stories = read_all(&shipped()).unwrap();
    let cases: usize = stories.iter().map(|story| story.cases.len()).sum();
    assert!(cases >= 33, "{cases} cases");
}

#[test]
fn an_unknown_kind_of_step_is_refused_with_file_and_line() {
    let said = refused(&then("      - get: /devices\n      - dances: boiler\n"));
    assert!(said.starts_with("connect.yaml: ") && said.contains("line 9 "), "{said}");
    assert!(said.contains("\"dances\" is no kind of step") && said.contains("device, connects"), "{said}");
}

#[test]
fn an_unknown_word_within_a_step_is_refused_with_file_and_line() {
    let said = refused(&then("      - get: /devices\n      - get: /events\n        give: {}\n"));
    assert!(said.starts_with("connect.yaml: ") && said.contains("line 9 "), "{said}");
    assert!(said.contains("unknown field `give`"), "{said}");
    let said = refused("story: Connect\ntext: a\ncase: []\n");
    assert!(said.contains("line 3 ") && said.contains("unknown field `case`"), "{said}");
}

#[test]
fn a_name_that_no_step_has_made_is_refused_with_case_and_step() {
    let said = refused(&then("      - get: /devices/{pump}\n"));
    assert!(said.contains("case \"it is seen\": step 2: {pump}"), "{said}");
    let said = refused(&then("      - publishes: boiler\n        topic: a\n        payload: {}\n"));
    assert!(said.contains("step 2: no step before has made or connected \"boiler\""), "{said}");
    let said = refused(&then("      - get: /devices\n        keep: {a: items/0}\n"));
    assert!(said.contains("step 2: a is kept from a JSON pointer"), "{said}");
}

#[test]
fn a_matcher_that_there_is_not_is_refused() {
    let said = refused(&then("      - get: /devices\n        gives: {items: {$any: 1}}\n"));
    assert!(said.contains("step 2: $any is no matcher"), "{said}");
}

#[test]
fn a_case_does_something_and_something_comes_of_it() {
    let said = refused("story: A\ntext: a\ncases: [{case: b, when: [{get: /a}], then: []}]\n");
    assert!(said.contains("case \"b\": nothing is done"), "{said}");
    let twice = "{case: b, when: [{get: /a}], then: [{get: /a}]}";
    let said = refused(&format!("story: A\ntext: a\ncases: [{twice}, {twice}]\n"));
    assert!(said.contains("another case"), "{said}");
    let long = "x".repeat(LONGEST_NAME + 1);
    assert!(refused(&format!("story: {long}\ntext: a\ncases: []\n")).contains("a name has 1 to"));
}
