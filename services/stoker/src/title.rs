//! The process's title, as `ps -o comm` and `top` show it: which of our processes it is, and how many sessions it has.

use std::fs;

/// More bytes the kernel does not keep.
const MOST: usize = 15;
/// The title of the process as a whole, whichever thread writes it.
const FILE: &str = "/proc/self/comm";

/// What counts for the title.
pub(crate) type Count = Box<dyn Fn() -> u64 + Send + Sync>;

/// The title of this process.
pub(crate) struct Title {
    role: String,
    sessions: Option<Count>,
    shown: String,
}

impl Title {
    /// That of a process with this service in it, or `up`.
    pub(crate) fn of(service: &str) -> Self {
        let role = if service == "gateway" { "gw" } else { service };
        Self { role: role.to_owned(), sessions: None, shown: String::new() }
    }

    /// Shows so many sessions, too.
    pub(crate) fn count(&mut self, sessions: Count) {
        self.sessions = Some(sessions);
    }

    /// Shows how it is now.
    pub(crate) fn show(&mut self) {
        let text = text(&self.role, self.sessions.as_ref().map(|count| count()));
        if text == self.shown {
            return;
        }
        if let Err(error) = fs::write(FILE, &text) {
            tracing::debug!(%error, "the process has no title");
        }
        self.shown = text;
    }
}

fn text(role: &str, sessions: Option<u64>) -> String {
    let mut text = format!("stoker {role}");
    if let Some(count) = sessions {
        let whole = format!("{text} {count}");
        text = if whole.len() <= MOST { whole } else { format!("{text} {}k", count / 1_000) };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_has_room_for_every_count_there_may_be() {
        let titles = [0, 1, 99_999, 100_000, 1_000_000].map(|count| text("gw", Some(count)));
        assert_eq!(
            titles,
            ["stoker gw 0", "stoker gw 1", "stoker gw 99999", "stoker gw 100k", "stoker gw 1000k"]
        );
        assert!(titles.iter().all(|title| title.len() <= MOST));
        for role in ["core", "portal", "notifier"] {
            assert!(text(role, None).len() <= MOST, "{role}");
        }
    }
}
