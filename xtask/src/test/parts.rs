//! The table of parts. A new part is a new row.

use std::ffi::OsString;
use std::time::Duration;

use crate::install::{Need, foreign};
use crate::lab::Wish;
use crate::process::Step;
use crate::usecases;
use crate::workspace::Workspace;

/// How a part does its work.
pub(super) enum Work {
    /// The checks of `cargo xtask tidy`, in this process.
    Tidy,
    /// The check of `cargo xtask proto`, in this process.
    Proto,
    /// The checks of the chart and the inner loop, in this process.
    Chart,
    /// Commands; the part passes when all of them do.
    Steps(fn(&Workspace) -> Vec<Step>),
    /// Commands whose output counts tests the way `cargo test` does.
    Tests(fn(&Workspace) -> Vec<Step>),
    /// The fuzz targets, one after another.
    Fuzz,
    /// The lab itself.
    Lab,
}

/// One part of the tests.
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    /// It needs no outside process.
    pub(super) quick: bool,
    pub(super) needs: &'static [Need],
    /// For its commands together, without installing what they need. Several times what two busy cores take from
    /// a cold start: it is there to end what hangs.
    pub(super) deadline: Duration,
    pub(super) work: Work,
}

impl Part {
    /// What it needs of the lab with which it is run, if it is.
    pub(super) fn lab(&self) -> Option<Wish> {
        let kubernetes = self.needs.iter().any(|need| matches!(need, Need::Kubernetes));
        self.needs.iter().find_map(|need| match need {
            Need::Lab { nodes } => Some(Wish { nodes: *nodes, kubernetes }),
            _ => None,
        })
    }
}

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

/// All parts, the quick and telling ones first.
pub(super) static PARTS: [Part; 19] = [
    Part {
        name: "fmt",
        what: "the sources are formatted",
        quick: true,
        needs: &[Need::Component("rustfmt")],
        deadline: minutes(2),
        work: Work::Steps(|_| vec![Step::cargo("fmt --all --check -- --color never")]),
    },
    Part {
        name: "tidy",
        what: "the rules of the project that no compiler checks",
        quick: true,
        needs: &[],
        deadline: minutes(2),
        work: Work::Tidy,
    },
    Part {
        name: "proto",
        what: "the .proto files have only grown",
        quick: true,
        needs: &[],
        deadline: minutes(2),
        work: Work::Proto,
    },
    Part {
        name: "clippy",
        what: "no warning of the compiler or clippy",
        quick: true,
        needs: &[Need::Component("clippy")],
        deadline: minutes(25),
        work: Work::Steps(|_| {
            let clippy = |words| Step::cargo("clippy --workspace --locked").args(words);
            let deny = ["--", "-D", "warnings"];
            // `--all-targets` leaves out what is tested only when it is named.
            let alone = [&E2E[..], &CONSOLE, &SERVICES, &KUBERNETES].into_iter().flatten();
            let named = clippy(named(ADAPTERS.iter().chain(alone)));
            vec![clippy(vec!["--all-targets"]).args(deny), named.args(deny)]
        }),
    },
    Part {
        name: "deny",
        what: "licences, banned crates and sources of the dependencies",
        quick: true,
        needs: &[Need::CARGO_DENY],
        deadline: minutes(5),
        work: Work::Steps(|_| {
            // Without its warnings: thousands of lines on duplicate versions would bury the one that matters.
            vec![Step::cargo("deny --locked --log-level error check licenses bans sources")]
        }),
    },
    Part {
        name: "doc",
        what: "the API documentation builds without a warning",
        quick: true,
        needs: &[],
        deadline: minutes(25),
        work: Work::Steps(|_| {
            vec![Step::cargo("doc --workspace --no-deps --locked").env("RUSTDOCFLAGS", "-D warnings")]
        }),
    },
    Part {
        name: "unit",
        what: "unit, integration and documentation tests of all crates",
        quick: true,
        needs: &[],
        deadline: minutes(40),
        work: Work::Tests(|_| {
            // What needs more than itself runs only where it is named, so that this needs no choice of crates.
            vec![Step::cargo("test --workspace --locked --no-fail-fast")]
        }),
    },
    Part {
        name: "usecases",
        what: "the use cases touch every route, event kind, live frame and topic that there is",
        quick: true,
        needs: &[],
        deadline: minutes(25),
        work: Work::Steps(usecases::check),
    },
    Part {
        name: "chart",
        what: "the Helm chart, rendered, by kubeconform and kube-score; the Tiltfile, by Tilt; kind's configuration",
        quick: false,
        needs: &[Need::Go, Need::CxxCompiler],
        // To make the tools, at first, takes most of it.
        deadline: minutes(40),
        work: Work::Chart,
    },
    Part {
        name: "fuzz",
        what: "each fuzz target of the protocol for a while, from its corpus",
        quick: false,
        needs: &[Need::Nightly, Need::CxxCompiler, Need::CARGO_FUZZ],
        deadline: minutes(20),
        work: Work::Fuzz,
    },
    Part {
        name: "lab",
        what: "real Cassandra and RabbitMQ come up, and each goes and comes on its own",
        quick: false,
        needs: &[ONE_NODE],
        deadline: minutes(15),
        work: Work::Lab,
    },
    Part {
        name: "adapters",
        what: "the adapters to Cassandra and RabbitMQ, against the lab",
        quick: false,
        needs: &[ONE_NODE],
        deadline: minutes(40),
        work: Work::Tests(|_| vec![tests(&ADAPTERS)]),
    },
    Part {
        name: "build",
        what: "the binary as users build it",
        quick: false,
        needs: &[],
        deadline: minutes(30),
        work: Work::Steps(|_| vec![release_build()]),
    },
    Part {
        name: "e2e",
        what: "the platform from outside, with clients that nobody here wrote",
        quick: false,
        needs: &[Need::Python, Need::Node],
        deadline: minutes(40),
        work: Work::Tests(|workspace| {
            // Built here too, or `--only e2e` would test whatever was built last.
            vec![release_build(), from_outside(&E2E, 2, workspace)]
        }),
    },
    Part {
        name: "console",
        what: "the web console, as a person uses it: Chromium, with scripts and without, wide and narrow, and what axe finds",
        quick: false,
        needs: &[Need::Python, Need::Node, Need::Chromium],
        deadline: minutes(20),
        // One at a time: two browsers on two cores make each other wait.
        work: Work::Tests(|workspace| vec![release_build(), from_outside(&CONSOLE, 1, workspace)]),
    },
    Part {
        name: "services",
        what: "the platform in processes of its own, over Cassandra and RabbitMQ",
        quick: false,
        needs: &[ONE_NODE, Need::Python, Need::Node],
        deadline: minutes(30),
        work: Work::Tests(|workspace| vec![release_build(), from_outside(&SERVICES, 1, workspace)]),
    },
    Part {
        name: "kubernetes",
        what: "the custom resources and the operator on a real API server, and that the lab's Kubernetes runs pods and leads to them",
        quick: false,
        needs: &[ONE_NODE, Need::Kubernetes],
        deadline: minutes(30),
        work: Work::Tests(|_| vec![tests(&KUBERNETES)]),
    },
    Part {
        name: "fleet",
        what: "`credentials`, `events`, `first_device`, `kill`, `live`, `presence`, `traces` and `usecases` of `e2e` once more, on 3 cores, 2 gateways, 2 notifiers, 2 portals, over 3 nodes, behind HAProxy",
        quick: false,
        // Its lab is its own, so it comes last: what comes before needs one node, which is up sooner.
        needs: &[Need::Lab { nodes: 3 }, Need::HaProxy, Need::Python, Need::Node],
        deadline: minutes(60),
        work: Work::Tests(|workspace| {
            let tests = from_outside(&FLEET, 1, workspace).env("STOKER_E2E_PLATFORM", "several");
            vec![release_build(), tests]
        }),
    },
    Part {
        name: "history",
        what: "what a mistreated fleet of processes acknowledged is so: kills, freezes, a cut network, restarts; who is cut off from its live feed hears everything once",
        quick: false,
        needs: &[Need::Lab { nodes: 3 }, Need::HaProxy, Need::NfTables],
        deadline: minutes(30),
        work: Work::Steps(|workspace| {
            // Unoptimized: its devices are few, and all that it is made of has been built for the tests; naming one of
            // these has cargo build it with the same features.
            let bench = Step::cargo("build --workspace --locked --bin stoker-bench --test").args([E2E[0]]);
            // Half of the kinds of mistreatment, which the seed that it prints has drawn. Longer runs are for when something
            // has changed; see bench/README.md.
            let run = |words: &[&'static str]| {
                Step::new(workspace.target.join("debug/stoker-bench"))
                    .args(words)
                    .args([OsString::from("--stoker"), workspace.target.join("release/stoker").into()])
            };
            let history =
                run(&["history", "--rounds", "8", "--devices", "100", "--commands", "5", "--frozen", "8"]);
            let small = ["--processes", "2,1,1,2", "--clients", "20", "--devices", "60", "--interval", "1"];
            let resumes = run(&["resumes", "--several", "--cuts", "60", "--faults", "120"]).args(small);
            vec![release_build(), bench, history, resumes]
        }),
    },
];

const ONE_NODE: Need = Need::Lab { nodes: 1 };

/// The tests of the crates that speak to what the lab runs.
const ADAPTERS: [&str; 2] = ["cassandra", "rabbit"];

/// The end-to-end tests that start the platform by themselves: in one process, or a fleet of them.
const E2E: [&str; 16] = [
    "api_schema",
    "cli",
    "commands",
    "credentials",
    "events",
    "first_device",
    "hostile",
    "kill",
    "lanes",
    "live",
    "notifications",
    "presence",
    "start",
    "traces",
    "usecases",
    "websocket",
];

/// The end-to-end tests that need a browser.
const CONSOLE: [&str; 1] = ["console"];

/// The end-to-end tests of processes over the lab.
const SERVICES: [&str; 3] = ["growing_up", "running", "services"];

/// The tests that need Kubernetes: the operator's `cluster`, and the end-to-end tests.
const KUBERNETES: [&str; 2] = ["cluster", "custom_resources"];

/// The end-to-end tests that this part runs on a fleet. Each starts fleets of nine processes beside three nodes of Cassandra, one
/// fleet after the other: with more of them the part would take longer than its deadline.
const FLEET: [&str; 8] =
    ["credentials", "events", "first_device", "kill", "live", "presence", "traces", "usecases"];

fn named<'a>(tests: impl IntoIterator<Item = &'a &'static str>) -> Vec<&'static str> {
    tests.into_iter().flat_map(|test| ["--test", *test]).collect()
}

/// Tests by their names. Of the whole workspace, always: cargo gives a dependency the features that the chosen packages ask
/// for, and with other packages builds most of them once more.
fn tests(tests: &[&'static str]) -> Step {
    Step::cargo("test --workspace --locked --no-fail-fast").args(named(tests))
}

/// End-to-end tests, with the program that users build, so many of a file at a time.
fn from_outside(names: &[&'static str], at_once: u8, workspace: &Workspace) -> Step {
    tests(names)
        .args(["--".to_owned(), format!("--test-threads={at_once}")])
        .env("STOKER_BIN", workspace.target.join("release/stoker"))
        .env("STOKER_E2E_PYTHON", foreign::python(workspace))
        .env("STOKER_E2E_NODE_MODULES", foreign::node_modules(workspace))
}

fn release_build() -> Step {
    Step::cargo("build --release --locked")
}

/// The names, for the command line to check against.
pub(super) fn names() -> Vec<&'static str> {
    PARTS.iter().map(|part| part.name).collect()
}

/// The table for `--list`.
pub(super) fn listed() -> String {
    let mut text = String::new();
    for part in &PARTS {
        let quick = if part.quick { "quick" } else { "" };
        text.push_str(&format!("{:10} {quick:6} {}", part.name, part.what));
        if !part.needs.is_empty() {
            let needs: Vec<String> = part.needs.iter().map(ToString::to_string).collect();
            text.push_str(&format!(" (needs {})", needs.join(", ")));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const BY_HAND: &str =
        "dozens of fleets, which take longer than the part may: by hand, with STOKER_E2E_PLATFORM=several";

    /// Tests that are not run once more on a fleet, each with why.
    const ELSEWHERE: [(&str, &str); 12] = [
        (
            "api_schema",
            "thousands of requests that end in the portal: many minutes, and nothing that is not seen on one",
        ),
        ("cli", BY_HAND),
        ("console", "a browser beside nine processes and three nodes of Cassandra: by hand"),
        ("commands", BY_HAND),
        ("hostile", BY_HAND),
        ("lanes", BY_HAND),
        ("notifications", BY_HAND),
        ("websocket", BY_HAND),
        ("start", "starts of `stoker up` that fail, and its data directory"),
        ("growing_up", "from one process to several"),
        ("services", "stops processes one by one, in a part of its own"),
        ("running", "looks at the logs, queues and certificates of single processes, in a part of its own"),
    ];

    #[test]
    fn the_part_of_all_crates_starts_no_end_to_end_test() {
        let workspace = Workspace::find().unwrap();
        let manifest = std::fs::read_to_string(workspace.root.join("e2e/Cargo.toml")).unwrap();
        for name in [&E2E[..], &CONSOLE, &SERVICES, &KUBERNETES].into_iter().flatten() {
            let left_out = format!("name = \"{name}\"\ntest = false\n");
            assert!(manifest.contains(&left_out), "{name} is to have `test = false` in e2e/Cargo.toml");
        }
    }

    #[test]
    fn every_end_to_end_test_runs_on_a_fleet_or_says_why_not() {
        let workspace = Workspace::find().unwrap();
        let files = std::fs::read_dir(workspace.root.join("e2e/tests")).unwrap();
        let names = files.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned());
        let fleet = PARTS.iter().find(|part| part.name == "fleet").unwrap();
        for test in FLEET {
            assert!(fleet.what.contains(&format!("`{test}`")), "{test} is not named in `what`");
        }
        let mut listed: Vec<&str> =
            E2E.iter().chain(&CONSOLE).chain(&SERVICES).chain(&KUBERNETES).copied().collect();
        listed.sort_unstable();
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        assert_eq!(listed, names, "the files of e2e/tests, and those that a part runs");
        for name in E2E.iter().chain(&CONSOLE).chain(&SERVICES) {
            let elsewhere = ELSEWHERE.iter().any(|(other, _)| other == name);
            assert!(FLEET.contains(name) != elsewhere, "{name} is in both lists, or in none");
        }
    }
}
