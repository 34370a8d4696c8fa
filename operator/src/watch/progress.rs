//! How far a store has come: whoever has written something plans again only when it is seen there.

/// What a store has seen so far. Versions of one kind of object grow with each change of any of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The greatest version of all events.
    newest: u64,
    /// And of a list that is not whole yet: its objects are not in the store.
    listed: u64,
    /// Lists that were begun.
    begun: u64,
    /// The last of these that is whole.
    whole: u64,
    /// The watch has failed, and does not go on yet: what happens now is not seen.
    lapsed: bool,
}

/// What a store is to have seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    version: u64,
    /// A list that was begun after this one has it, even if the object has gone since.
    begun: u64,
}

impl Progress {
    /// An object of this version was seen.
    pub(crate) fn saw(&mut self, version: Option<&str>) {
        self.newest = self.newest.max(number(version).unwrap_or(0));
    }

    /// All objects are asked for.
    pub(crate) fn lists(&mut self) {
        self.begun += 1;
        self.listed = 0;
    }

    /// An object of this version is in the list.
    pub(crate) fn lists_one(&mut self, version: Option<&str>) {
        self.listed = self.listed.max(number(version).unwrap_or(0));
    }

    /// All objects are there.
    pub(crate) fn listed(&mut self) {
        self.whole = self.begun;
        self.newest = self.newest.max(self.listed);
    }

    /// Whether all there is was seen once.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole > 0
    }

    /// The watch has failed.
    pub(crate) fn lapses(&mut self) {
        self.lapsed = true;
    }

    /// It goes on, from where it had come.
    pub(crate) fn goes_on(&mut self) {
        self.lapsed = false;
    }

    /// Whether it is known that something may have happened that is not seen.
    pub(crate) fn is_behind(&self) -> bool {
        self.lapsed
    }

    /// What was answered to a write now; none when versions are no numbers, and so cannot be compared.
    pub(crate) fn expect(&self, version: Option<&str>) -> Option<Expected> {
        Some(Expected { version: number(version)?, begun: self.begun })
    }

    /// Whether that has been seen.
    pub(crate) fn has(&self, expected: &Expected) -> bool {
        self.newest >= expected.version || self.whole > expected.begun
    }
}

fn number(version: Option<&str>) -> Option<u64> {
    version?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_seen_by_its_version_or_a_later_one_of_any_object() {
        let mut progress = Progress::default();
        progress.lists();
        progress.lists_one(Some("7"));
        progress.listed();
        assert!(progress.has(&progress.expect(Some("7")).unwrap()));
        let expected = progress.expect(Some("9")).unwrap();
        assert!(!progress.has(&expected));
        progress.saw(Some("8"));
        assert!(!progress.has(&expected));
        progress.saw(Some("10"));
        assert!(progress.has(&expected));
        progress.saw(Some("3"));
        assert!(progress.has(&expected), "nothing is forgotten");
    }

    #[test]
    fn a_list_that_was_begun_later_has_it_even_if_the_object_is_gone() {
        let mut progress = Progress::default();
        progress.lists();
        let expected = progress.expect(Some("9")).unwrap();
        progress.listed();
        assert!(!progress.has(&expected), "this list may be older");
        progress.lists();
        progress.lists_one(Some("12"));
        assert!(!progress.has(&expected), "it is not whole");
        progress.listed();
        assert!(progress.has(&expected));
    }

    #[test]
    fn versions_that_are_no_numbers_are_not_waited_for() {
        assert_eq!(Progress::default().expect(Some("abc")), None);
        assert_eq!(Progress::default().expect(None), None);
    }
}
